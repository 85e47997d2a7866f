"""Facts of the machine, or the reason why there is none."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.device import environment


def test_static_facts() -> None:
    facts = environment.static_facts()
    assert facts["arch"] == platform.machine()
    assert facts["python"] == platform.python_version()
    assert facts["numpy"] == np.__version__
    assert facts["cpu_count"] == os.cpu_count()
    assert facts["cpu_affinity"] == len(os.sched_getaffinity(0))
    assert set(facts["isa"]) <= set(environment.ISA_FLAGS)
    assert facts["memory_byte"] > 10**8
    assert 0 < facts["clock_resolution_ns"] < 10**6
    assert facts["byte_order"] == sys.byteorder
    json.dumps(facts)


def test_state_facts() -> None:
    facts = environment.state_facts()
    assert facts["load_1min"] >= 0
    assert 0 < facts["memory_available_byte"] <= environment.static_facts()["memory_byte"]
    assert set(facts["cpu_time"]) == {"busy", "idle", "steal"}
    for name in ("governor", "frequency_khz", "temperature_millicelsius"):
        assert all(isinstance(value, str) for value in facts[name].values())
    json.dumps(facts)


def test_missing_facts_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError("no /proc")))
    for facts in (environment.static_facts(), environment.state_facts()):
        for name in ("memory_byte", "memory_available_byte", "cpu_model", "cpu_time", "governor"):
            if name in facts:
                assert set(facts[name]) == {"na"}, name
    monkeypatch.setattr(environment, "_cpu_features", dict)
    assert environment.static_facts()["isa"] == []


@pytest.mark.parametrize(
    ("cpuinfo", "asked", "isa"),
    [
        ("flags : avx2 avx512f avx512_vnni avx_vnni", {"AVX2": True, "AVX512F": False, "AVX512VNNI": False},
         ["avx2"]),
        ("flags : avx2 avx_vnni", {"AVX2": True, "AVX512F": False}, ["avx2", "avx_vnni"]),
        ("flags : avx2 sse4_1", {"AVX2": False, "ASIMD": True, "ASIMDDP": False}, ["asimd", "sse4_1"]),
        ("Features : asimd asimddp", {}, ["asimd", "asimddp"]),
    ],
)  # fmt: skip
def test_instruction_sets_are_those_that_the_cpu_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, asked: dict[str, bool], isa: list[str]
) -> None:
    """Under user-mode QEMU /proc/cpuinfo is that of the machine that emulates."""
    put(tmp_path, "proc/cpuinfo", cpuinfo)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "_cpu_features", lambda: asked)
    assert environment.static_facts()["isa"] == isa


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Raspberry Pi's /proc, /sys and firmware tool, in a folder."""
    put(tmp_path, "proc/stat", "cpu 10 20 30 400 50 6 7 80 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    for core, khz in enumerate((600000, 1800000)):
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{khz}\n")
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "ondemand\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    put(tmp_path, "bin/vcgencmd", "#!/bin/sh\necho throttled=0x50005\n")
    (tmp_path / "bin/vcgencmd").chmod(0o755)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_a_boards_sensors(board: Path) -> None:
    facts = environment.state_facts()
    assert facts["cpu_time"] == {"busy": 73, "idle": 450, "steal": 80}
    assert facts["frequency_khz"] == {"cpu0": "600000", "cpu1": "1800000"}
    assert facts["governor"] == {"cpu0": "ondemand", "cpu1": "ondemand"}
    assert facts["temperature_millicelsius"] == {"thermal_zone0": "48312"}
    assert facts["throttled"] == 0x50005


@pytest.mark.parametrize(
    ("script", "says"),
    [(None, "there is no vcgencmd"), ("exit 1", "CalledProcessError"), ("echo nonsense", "ValueError")],
)
def test_a_board_without_an_answer_of_the_firmware(board: Path, script: str | None, says: str) -> None:
    program = board / "bin/vcgencmd"
    program.unlink()
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    assert says in environment.state_facts()["throttled"]["na"]


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5), ({"cpu.max": "max 100000\n"}, "no quota is set"),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "no quota is set"),
        ({}, "no cgroup quota can be read"),
    ],
)  # fmt: skip
def test_a_containers_quota(board: Path, files: dict[str, str], quota: float | str) -> None:
    for name, text in files.items():
        put(board, f"sys/fs/cgroup/{name}", text)
    cpu_quota = environment.static_facts()["cpu_quota"]
    assert cpu_quota == (quota if isinstance(quota, float) else {"na": quota})


def test_peak_memory_grows_with_what_is_touched() -> None:
    # In a fresh process: the peak of this one may be higher already.
    script = """
import numpy as np
from harness.device.environment import peak_memory_byte
before = peak_memory_byte()
block = np.ones(2**26, np.uint8)
print(peak_memory_byte() - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0.9 * 2**26 < int(run.stdout) < 1.5 * 2**26


def test_time_that_all_threads_ran_and_waited(board: Path) -> None:
    assert "na" in environment.scheduling()
    for thread, text in enumerate(("100 7 3\n", "20 1 5\n", "")):
        put(board, f"proc/self/task/{thread}/schedstat", text)
    assert environment.scheduling() == {"ran_ns": 120, "waited_ns": 8}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max\n", 3_072_000), ("2500000\n", 1_500_000), ("900000\n", 0), (None, 3_072_000)],
)
def test_memory_that_is_left_is_that_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.available_memory_byte() is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {3_072_000 // 1024} kB\n")
    if limit is not None:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit)
        (tmp_path / "sys/fs/cgroup/memory.current").write_text("1000000\n")
    assert environment.available_memory_byte() == expected
