"""Sensors of this process and of its machine, read now and then in a long case.

One that is absent, or that vanishes in between, is not read again: `Sensors.na` says why, and its values are
NaN from then on.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.device import environment

PRESSURES = ("cpu", "memory", "io")


def _text(path: str) -> str:
    return (environment.ROOT / path).read_text()


def _rss_byte() -> float:
    return float(int(_text("proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE"))


def _pss_byte() -> float:
    for line in _text("proc/self/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return float(int(line.split()[1]) * 1024)
    raise ValueError("smaps_rollup has no line Pss")


def _entries(folder: str) -> Callable[[], float]:
    return lambda: float(len(os.listdir(environment.ROOT / folder)))  # noqa: PTH208 - only counted


def _each(folder: str, pattern: str) -> list[float]:
    """The number in every file; raises ``OSError`` where there is none."""
    paths = sorted((environment.ROOT / folder).glob(pattern))
    if not paths:
        raise FileNotFoundError(f"/{folder} has no {pattern}")
    return [float(path.read_text()) for path in paths]


def _clock_hz() -> float:
    numbers = _each("sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq")
    return 1000.0 * math.fsum(numbers) / len(numbers)


def _temperature_celsius() -> float:
    return max(_each("sys/class/thermal", "thermal_zone*/temp")) / 1000.0


def _fact(read: Callable[[], int | dict[str, str]]) -> Callable[[], float]:
    """A fact of the environment; raises ``FileNotFoundError`` with its reason where it is none."""

    def number() -> float:
        value = read()
        if not isinstance(value, int):
            raise FileNotFoundError(value["na"])
        return float(value)

    return number


def _pressure_ns(what: str) -> Callable[[], float]:
    """How long some task waited for it since boot."""

    def read() -> float:
        for line in _text(f"proc/pressure/{what}").splitlines():
            if line.startswith("some "):
                return 1000.0 * int(line.rpartition("total=")[2])
        raise ValueError(f"/proc/pressure/{what} has no line some")

    return read


#: Of the process, by name; the last ones take a microsecond each, the first ones longer.
PROCESS: dict[str, Callable[[], float]] = {
    "pss_byte": _pss_byte, "rss_byte": _rss_byte, "descriptors": _entries("proc/self/fd"),
    "threads": _entries("proc/self/task"),
}  # fmt: skip
MACHINE: dict[str, Callable[[], float]] = {
    "clock_hz": _clock_hz,
    "temperature_celsius": _temperature_celsius,
    "throttle_count": _fact(environment.throttle_count),
    "throttled_bits": _fact(environment.throttled),
    **{f"pressure_{what}_ns": _pressure_ns(what) for what in PRESSURES},
}


class Sensors:
    """Reads sensors until they vanish.

    Attributes
    ----------
    na : dict of str to str
        Why a sensor is not read, by its name.
    """

    def __init__(self) -> None:
        self.na: dict[str, str] = {}
        self._seen: set[str] = set()

    def of_process(self) -> dict[str, float]:
        """Memory, open files and threads."""
        return self._read(PROCESS)

    def of_machine(self) -> dict[str, float]:
        """Clock, temperature, throttling and pressure."""
        return self._read(MACHINE)

    def _read(self, sources: Mapping[str, Callable[[], float]]) -> dict[str, float]:
        return {name: self._one(name, source) for name, source in sources.items()}

    def _one(self, name: str, source: Callable[[], float]) -> float:
        if name in self.na:
            return math.nan
        try:
            value = source()
        except (OSError, ValueError, IndexError) as error:
            text = _reason(error)
            self.na[name] = f"it vanished while the case ran: {text}" if name in self._seen else text
            return math.nan
        self._seen.add(name)
        return value


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"/{Path(error.filename).relative_to(environment.ROOT)}: {error.strerror}"
    return str(error)
