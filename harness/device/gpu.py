"""Facts of the GPU that a batch computes on, from NVIDIA's driver: NVML, by ``ctypes``.

Nothing is loaded unless a provider of NVIDIA's is used. Names, structures and constants are those of
``nvml.h``, as in ``pynvml.py`` of nvidia-ml-py 13.615. What the driver does not report is ``{"na": reason}``,
never a guess.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import byref, c_char_p, c_uint, c_ulonglong, c_void_p, create_string_buffer
from dataclasses import dataclass, field
from typing import Any

from harness.core.target import NVIDIA

#: The driver's two libraries; tests replace them.
NVML, DRIVER = "libnvidia-ml.so.1", "libcuda.so.1"

CLOCK_SM, CLOCK_MEMORY = 1, 2
TEMPERATURE_GPU = 0
#: ``nvmlPerfPolicyType_t``: reasons for lower clocks; each has a counter of time since the driver was loaded.
#: Without low utilization, which is idleness, and without the reliability of the voltage, which limits a
#: healthy GPU at its highest clock.
POLICIES = {"power": 0, "thermal": 1, "sync_boost": 2, "board_limit": 3}
INSUFFICIENT_SIZE = 7
NOT_AVAILABLE = 2**64 - 1

Na = dict[str, str]


class _NotReported(Exception):
    """The driver does not report a fact, for this reason."""


class _Memory(ctypes.Structure):
    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", c_uint), ("memory", c_uint)]


class _Violation(ctypes.Structure):
    _fields_ = [("reference_us", c_ulonglong), ("violation_ns", c_ulonglong)]


class _Process(ctypes.Structure):
    _fields_ = [
        ("pid", c_uint),
        ("used_byte", c_ulonglong),
        ("gpu_instance", c_uint),
        ("compute_instance", c_uint),
    ]


@dataclass(frozen=True)
class Gpu:
    """One GPU, or the reason why it has no facts."""

    reason: str = ""
    bus_id: str = ""
    _nvml: Any = None
    _handle: c_void_p = field(default_factory=c_void_p)

    def static_facts(self) -> dict[str, Any]:
        """Return what does not change: the name, the driver, the bus."""
        if self.reason:
            return {"gpu": {"na": self.reason}}
        facts = {
            "name": _or_na(lambda: self._text("nvmlDeviceGetName", self._handle)),
            "uuid": _or_na(lambda: self._text("nvmlDeviceGetUUID", self._handle)),
            "driver": _or_na(lambda: self._text("nvmlSystemGetDriverVersion")),
            "memory_byte": _or_na(lambda: self._memory().total),
        }
        return {"gpu": {"bus_id": self.bus_id, **facts}}

    def state_facts(self) -> dict[str, Any]:
        """Return what can change: clocks, heat, power, load, memory, and reasons for lower clocks.

        ``throttle_reasons`` are the bits now, ``throttled_ns`` the time that each policy has lowered the
        clocks since the driver was loaded.
        """
        if self.reason:
            return {"gpu_state": {"na": self.reason}}
        facts = {
            "clock_sm_mhz": _or_na(lambda: self._number("nvmlDeviceGetClockInfo", CLOCK_SM)),
            "clock_memory_mhz": _or_na(lambda: self._number("nvmlDeviceGetClockInfo", CLOCK_MEMORY)),
            "temperature_celsius": _or_na(lambda: self._number("nvmlDeviceGetTemperature", TEMPERATURE_GPU)),
            "power_milliwatt": _or_na(lambda: self._number("nvmlDeviceGetPowerUsage")),
            "utilization_percent": _or_na(
                lambda: self._fill("nvmlDeviceGetUtilizationRates", _Utilization()).gpu
            ),
            "memory_used_byte": _or_na(lambda: self._memory().used),
            "throttle_reasons": _or_na(
                lambda: self._fill("nvmlDeviceGetCurrentClocksEventReasons", c_ulonglong()).value
            ),
            "throttled_ns": {name: self._throttled_ns(policy) for name, policy in POLICIES.items()},
        }
        return {"gpu_state": facts}

    def process_memory_byte(self) -> int | Na:
        """Return the memory of the GPU that this process uses now, with its CUDA context."""
        return {"na": self.reason} if self.reason else _or_na(self._process_memory_byte)

    def _process_memory_byte(self) -> int:
        name, count = "nvmlDeviceGetComputeRunningProcesses_v3", c_uint(0)
        _call(self._nvml, name, self._handle, byref(count), None, may=INSUFFICIENT_SIZE)  # counts them
        count.value += 64  # more may begin in between
        processes = (_Process * count.value)()
        _call(self._nvml, name, self._handle, byref(count), processes)
        used_byte = [process.used_byte for process in processes[: count.value] if process.pid == os.getpid()]
        if not used_byte:
            raise _NotReported("NVML lists no process with this number: in a container it has other numbers")
        if NOT_AVAILABLE in used_byte:
            raise _NotReported("the driver does not count memory by process (Windows)")
        return sum(used_byte)

    def _throttled_ns(self, policy: int) -> int | Na:
        throttled_ns: int | Na = _or_na(
            lambda: self._fill("nvmlDeviceGetViolationStatus", _Violation(), policy).violation_ns
        )
        return throttled_ns

    def _memory(self) -> _Memory:
        memory: _Memory = self._fill("nvmlDeviceGetMemoryInfo", _Memory())
        return memory

    def _number(self, name: str, *which: int) -> int:
        return int(self._fill(name, c_uint(), *which).value)

    def _fill(self, name: str, structure: Any, *which: int) -> Any:  # noqa: ANN401 - one of ctypes' own types
        _call(self._nvml, name, self._handle, *which, byref(structure))
        return structure

    def _text(self, name: str, *handle: Any) -> str:  # noqa: ANN401 - a handle, or nothing
        text = create_string_buffer(96)  # NVML_DEVICE_UUID_V2_BUFFER_SIZE, the longest of them
        _call(self._nvml, name, *handle, text, c_uint(len(text)))
        return text.value.decode(errors="replace")


def find(provider: str, device_id: str = "0") -> Gpu | None:
    """Find the GPU that an execution provider computes on; None if the provider uses none of NVIDIA's.

    Parameters
    ----------
    provider : str
    device_id : str
        CUDA's number: CUDA orders GPUs by speed and leaves out hidden ones, NVML does neither.
    """
    if provider not in NVIDIA:
        return None
    try:
        bus_id, nvml, handle = _bus_id(device_id), _load(NVML), c_void_p()
        _call(nvml, "nvmlInit_v2")
        _call(nvml, "nvmlDeviceGetHandleByPciBusId_v2", bus_id, byref(handle))
    except _NotReported as error:
        return Gpu(str(error))
    return Gpu("", bus_id.decode(), nvml, handle)


def _bus_id(device_id: str) -> bytes:
    """Ask CUDA's driver for the bus; this makes no context on the GPU."""
    if not device_id.isdecimal():
        raise _NotReported(f"device_id {device_id!r} is not a number")
    driver, device, text = _load(DRIVER), ctypes.c_int(), create_string_buffer(32)
    _call(driver, "cuInit", 0)
    _call(driver, "cuDeviceGet", byref(device), int(device_id))
    _call(driver, "cuDeviceGetPCIBusId", text, len(text), device)
    return text.value


def _load(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        raise _NotReported(f"NVIDIA's driver is not here: {error}") from error


def _call(library: Any, name: str, *arguments: Any, may: int = 0) -> int:  # noqa: ANN401 - of a C library
    """Call a function that returns 0 on success; the code `may` is not a failure either."""
    try:
        function = getattr(library, name)
    except AttributeError as error:
        raise _NotReported(f"this driver has no {name}") from error
    code = int(function(*arguments))
    if code not in (0, may):
        raise _NotReported(f"{name}: {_error_text(library, name, code)}")
    return code


def _error_text(library: Any, name: str, code: int) -> str:  # noqa: ANN401 - of a C library
    if not name.startswith("nvml") or not hasattr(library, "nvmlErrorString"):
        return f"error {code}"
    library.nvmlErrorString.restype = c_char_p
    return bytes(library.nvmlErrorString(code)).decode(errors="replace")


def _or_na(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - a fact of any JSON type
    try:
        return call()
    except _NotReported as error:
        return {"na": str(error)}
