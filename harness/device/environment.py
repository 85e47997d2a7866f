"""Facts of the machine and its state: versions, instruction sets, clocks, heat, load.

A missing sensor is ``{"na": reason}``, never a guess.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

#: CPU flags that decide which integer kernels run.
ISA_FLAGS = (
    "sse4_1", "avx", "avx2", "f16c", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "neon",
)  # fmt: skip
#: What numpy calls those that it asks the CPU for.
FEATURES = {
    "avx": "AVX", "avx2": "AVX2", "f16c": "F16C", "fma": "FMA3", "avx512f": "AVX512F", "avx512bw": "AVX512BW",
    "avx512_vnni": "AVX512VNNI", "avx512_bf16": "AVX512BF16", "asimd": "ASIMD", "asimddp": "ASIMDDP",
    "asimdhp": "ASIMDHP", "sve": "SVE",
}  # fmt: skip
#: numpy does not ask for these; a CPU that has them has AVX-512, or AVX2 without it.
UNASKED = frozenset(("amx_int8", "amx_bf16", "avx_vnni"))
#: Of x86: products of uint8 and int8 are added in 32 bits.
VNNI = frozenset(("avx512_vnni", "avx_vnni"))
#: Where /proc and /sys are; tests replace it.
ROOT = Path("/")


def static_facts() -> dict[str, Any]:
    """Return what does not change while a batch runs."""
    cpuinfo = _read(ROOT / "proc/cpuinfo") or ""
    flags = _present(set(_cpuinfo_field(cpuinfo, "flags", "Features").split()))
    return {
        "device": platform.node(),
        "arch": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()) or _na("libc is not glibc"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu_model": _cpuinfo_field(cpuinfo, "model name", "Model", "Hardware")
        or _na("/proc/cpuinfo has none"),
        "cpu_count": os.cpu_count() or 1,
        "cpu_affinity": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else _na("no affinity"),
        "isa": sorted(flags.intersection(ISA_FLAGS)),
        "memory_byte": _memory("MemTotal"),
        "cpu_quota": _cpu_quota(),
        "clock_resolution_ns": round(_clock_resolution_s() * 1e9),
        "byte_order": sys.byteorder,
    }


def _present(flags: set[str]) -> set[str]:
    """What the CPU itself says: user-mode QEMU shows the /proc/cpuinfo of the machine that emulates."""
    asked = _cpu_features()
    reported = {flag: asked[feature] for flag, feature in FEATURES.items() if feature in asked}
    absent = {flag for flag in flags if reported.get(flag) is False}
    return (flags - absent - (UNASKED if absent else set())) | {flag for flag, has in reported.items() if has}


def _cpu_features() -> Mapping[str, bool]:
    """What numpy found when it asked the CPU; empty in versions that keep it elsewhere."""
    try:
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return {}
    return {str(name): bool(value) for name, value in features.items()}


def saturates(facts: Mapping[str, Any]) -> bool:
    """Whether kernels add products of int8 weights in 16 saturating bits: x86 without VNNI.

    Parameters
    ----------
    facts : mapping
        ``arch`` and ``isa``, as `static_facts` returns them. Without a list of instruction sets: false.
    """
    isa = facts.get("isa") or ()
    return facts.get("arch") in ("x86_64", "AMD64", "i686") and bool(isa) and not VNNI.intersection(isa)


def wraps(facts: Mapping[str, Any]) -> bool:
    """Whether kernels add products of int8 numbers in 16 wrapping bits: ARM without dotprod."""
    isa = facts.get("isa") or ()
    return facts.get("arch") in ("aarch64", "arm64", "armv7l") and "asimd" in isa and "asimddp" not in isa


def state_facts() -> dict[str, Any]:
    """Return what can change: read before, during and after every batch."""
    return {
        "load_1min": _or_na(lambda: os.getloadavg()[0], "no load average"),
        "memory_available_byte": _memory("MemAvailable"),
        "cpu_time": _cpu_time(),
        "governor": _sensors("sys/devices/system/cpu", "cpu*/cpufreq/scaling_governor"),
        "frequency_khz": _sensors("sys/devices/system/cpu", "cpu*/cpufreq/scaling_cur_freq"),
        "temperature_millicelsius": _sensors("sys/class/thermal", "thermal_zone*/temp"),
        "throttled": throttled(),
        "throttle_count": throttle_count(),
    }


def scheduling() -> dict[str, int] | dict[str, str]:
    """Return how long the threads of this process ran so far, and how long they waited for a core.

    The kernel counts both, in ns (``/proc/PID/task/*/schedstat``); threads that ended are not included.
    """
    ran_ns = waited_ns = 0
    for path in (ROOT / "proc/self/task").glob("*/schedstat"):
        words = (_read(path) or "").split()  # a thread may have ended just now
        if len(words) >= 2:
            ran_ns, waited_ns = ran_ns + int(words[0]), waited_ns + int(words[1])
    if not ran_ns:
        return _na("the kernel does not count how long a thread waited (CONFIG_SCHED_INFO)")
    return {"ran_ns": ran_ns, "waited_ns": waited_ns}


def thread_waited_ns() -> int:
    """Return how long this thread waited for a core so far; 0 where the kernel does not count it."""
    words = (_read(ROOT / "proc/thread-self/schedstat") or "").split()
    return int(words[1]) if len(words) >= 2 else 0


def peak_memory_byte() -> int:
    """Return the peak resident memory of this process.

    ``VmHWM`` is reset at exec; on Linux ``ru_maxrss`` would include the parent's peak.
    """
    status = _read(ROOT / "proc/self/status") or ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def reset_peak_memory() -> bool:
    """Set the peak resident memory of this process to what it is now; whether the kernel does that."""
    try:
        (ROOT / "proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def available_memory_byte() -> int | None:
    """Return what this process can take without swapping, or its cgroup's limit; None where nothing says."""
    available = _memory("MemAvailable")
    left = [available] if isinstance(available, int) else []
    limit, used = (_read(ROOT / f"sys/fs/cgroup/memory.{name}") or "" for name in ("max", "current"))
    if limit.strip().isdecimal() and used.strip().isdecimal():
        left.append(max(0, int(limit) - int(used)))
    return min(left, default=None)


def _na(reason: str) -> dict[str, str]:
    return {"na": reason}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _sensors(folder: str, pattern: str) -> dict[str, str]:
    """Return the value of every sensor of a kind, by its folder (``cpu0``, ``thermal_zone0``)."""
    values = {}
    for path in sorted((ROOT / folder).glob(pattern)):
        text = _read(path)
        if text is not None:
            values[path.relative_to(ROOT / folder).parts[0]] = text.strip()
    return values or _na(f"/{folder} has no {pattern} that can be read")


def throttled() -> int | dict[str, str]:
    """Return the bits of a Raspberry Pi's firmware: 0 to 3 for now, 16 to 19 for the time since boot."""
    try:
        output = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
        return int(output.strip().partition("=")[2], 16)
    except FileNotFoundError:
        return _na("there is no vcgencmd: not a Raspberry Pi, or not its own system")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return _na(f"vcgencmd get_throttled: {type(error).__name__}")


def throttle_count() -> int | dict[str, str]:
    """Return how often the cores of an x86 machine were throttled by heat since boot, all together."""
    pattern = "cpu[0-9]*/thermal_throttle/core_throttle_count"
    counts = [_read(path) for path in sorted((ROOT / "sys/devices/system/cpu").glob(pattern))]
    numbers = [int(text) for text in counts if text is not None and text.strip().isdecimal()]
    return sum(numbers) if numbers else _na(f"/sys/devices/system/cpu has no {pattern}")


def _cpu_quota() -> float | dict[str, str]:
    """Return the number of processors that a container may use, from cgroup v2 or v1."""
    text = _read(ROOT / "sys/fs/cgroup/cpu.max")
    if text is None:
        parts = [_read(ROOT / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
        text = " ".join(part.strip() for part in parts if part is not None)
    quota, _, period = (text or "").strip().partition(" ")
    try:
        return int(quota) / int(period) if int(quota) > 0 else _na("no quota is set")
    except ValueError:
        return _na("no quota is set" if quota == "max" else "no cgroup quota can be read")


def _or_na(call: Callable[[], Any], reason: str) -> Any:  # noqa: ANN401 - a fact of any JSON type
    try:
        return call()
    except OSError:
        return _na(reason)


def _cpuinfo_field(cpuinfo: str, *names: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            return value.strip()
    return ""


def _memory(field: str) -> int | dict[str, str]:
    for line in (_read(ROOT / "proc/meminfo") or "").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return _na("/proc/meminfo cannot be read")


def _cpu_time() -> dict[str, int] | dict[str, str]:
    """Return ticks since boot; ``steal`` is the CPU steal, time that the hypervisor gave to other guests."""
    line = (_read(ROOT / "proc/stat") or "").partition("\n")[0].split()
    if len(line) < 9:
        return _na("/proc/stat cannot be read")
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) for word in line[1:9])
    return {"busy": user + nice + system + irq + softirq, "idle": idle + iowait, "steal": steal}


def _clock_resolution_s() -> float:
    import time

    return time.get_clock_info("perf_counter").resolution
