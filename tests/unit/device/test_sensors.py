"""Sensors are read until they vanish; what is absent has its reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.device import environment
from harness.device.sensors import Sensors

FILES = {
    "proc/self/statm": "9 2 1 1 0 1 0",
    "proc/self/smaps_rollup": "55 - 7f ---p 0 00:00 0 [rollup]\nRss: 8 kB\nPss: 7 kB\n",
    "proc/self/fd/0": "",
    "proc/self/fd/1": "",
    "proc/self/task/1/stat": "",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2000000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/temp": "52500\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 total=3\n",
    "proc/pressure/io": "nonsense\n",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


def test_what_is_there_is_read_and_what_is_not_has_its_reason(root: Path) -> None:
    sensors = Sensors()
    process, machine = sensors.of_process(), sensors.of_machine()
    assert (process["pss_byte"], process["descriptors"], process["threads"]) == (7 * 1024, 2, 1)
    assert process["rss_byte"] % 4096 == 0
    assert (machine["clock_hz"], machine["temperature_celsius"], machine["throttle_count"]) == (
        1.5e9,
        52.5,
        3,
    )
    assert machine["pressure_cpu_ns"] == 12_000
    assert sensors.na["pressure_memory_ns"] == "/proc/pressure/memory: No such file or directory"
    assert sensors.na["pressure_io_ns"] == "/proc/pressure/io has no line some"
    assert "vcgencmd" in sensors.na["throttled_bits"]
    assert {name for name, value in machine.items() if math.isnan(value)} == set(sensors.na)


def test_one_that_vanishes_is_not_read_again(root: Path) -> None:
    sensors = Sensors()
    zones = [root / f"sys/class/thermal/thermal_zone{n}/temp" for n in (0, 1)]
    assert sensors.of_machine()["temperature_celsius"] == 52.5
    for zone in zones:
        zone.unlink()
    assert math.isnan(sensors.of_machine()["temperature_celsius"])
    why = "it vanished while the case ran: /sys/class/thermal has no thermal_zone*/temp"
    assert sensors.na["temperature_celsius"] == why
    for zone in zones:
        zone.write_text("1000")
    assert math.isnan(sensors.of_machine()["temperature_celsius"])
    assert sensors.of_machine()["clock_hz"] == 1.5e9
