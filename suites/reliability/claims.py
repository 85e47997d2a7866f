"""Facts that prove or contradict what a session says about itself: of kernel, driver and numbers.

Nothing here asks the session. `suites.reliability.confirm` decides what the facts say.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench, Session, SupportsPlacement
from harness.core.errors import BackendError
from harness.core.feeding import Feeding
from harness.core.job import Case
from harness.core.preprocess import Feeds
from harness.core.target import DEVICE_ID
from harness.device import gpu, plugins
from harness.device.bare import RUNTIMES
from suites.reliability.model_file import has_half
from suites.reliability.rows import batch_feeds, digest, run_all, shortest_format, wider_feeds

#: Where /proc is; tests replace it.
ROOT = Path("/")
#: Calls are made for so long while the threads are counted, but at least so many. Small work is not shared
#: out (OpenVINO gives a second thread 2 % of 8 digits, 13 % of 64): the batch is up to so many times larger.
COUNTED_NS, FEWEST_CALLS, WIDEST = 60_000_000, 3, 16
#: Device files of NVIDIA's GPUs: the driver, Jetson, and Windows' subsystem for Linux.
GPU_FILES = ("/dev/nvidia", "/dev/nvhost", "/dev/nvgpu", "/dev/nvmap", "/dev/dxg")
#: Relative changes of an input whose values have 8 bits: the first is lost when it is rounded to float16 (and
#: to bfloat16), the second when it is rounded to bfloat16, the third in no float format.
CHANGES: Mapping[str, float] = {"beyond f16": 2.0**-13, "beyond bf16": 2.0**-10, "coarse": 2.0**-5}

Na = dict[str, str]


def claims(bench: Bench, case: Case, session: Session) -> dict[str, Any]:
    """Collect the facts while a session is open; JSON."""
    feeding = bench.feeding(session)
    feeds = batch_feeds(bench, case, feeding)
    session.run(feeds)
    provider = session.effective.get("provider", "")
    return {
        "threads": cpu_shares(bench, session, _wide(bench, case, session, feeding, feeds)),
        "libraries": libraries(),
        "version": versions(bench),
        "placement": _placement(session, feeds),
        "gpu": gpu_facts(provider, session.effective.get(DEVICE_ID, "0")),
        "precision": {
            **numbers(bench, case, session, feeding),
            "half_file": has_half(bench.artifact),
        },
    }


def _wide(bench: Bench, case: Case, session: Session, feeding: Feeding, feeds: Feeds) -> Feeds:
    """A batch that is large enough to be shared out, as far as the time allows."""
    start_ns = bench.clock()
    session.run(feeds)
    times = min(WIDEST, COUNTED_NS // (2 * FEWEST_CALLS * max(1, bench.clock() - start_ns)))
    if feeding.size or times < 2:
        return feeds
    wide = wider_feeds(bench, case, feeding, times)
    try:
        session.run(wide)
    except BackendError:  # it takes no batch of that size, and what is counted needs none
        return feeds
    return wide


def _placement(session: Session, feeds: Feeds) -> dict[str, list[int]] | None:
    """Nodes and their time in ns by provider; None where the runtime does not tell."""
    if not isinstance(session, SupportsPlacement):
        return None
    return {provider: list(counts) for provider, counts in session.placement(feeds).items()}


def cpu_shares(bench: Bench, session: Session, feeds: Feeds) -> list[float] | Na:
    """Shares of the CPU time that threads used during calls: the caller's, that of all that ended, the rest.

    The kernel brings the times of a running thread up to date every few ms only; those of the caller and of
    the process are exact.
    """
    before = _thread_ns()
    if not before:
        return {"na": "the kernel does not count the time of single threads (CONFIG_SCHED_INFO)"}
    caller_ns, all_ns = time.thread_time_ns(), time.process_time_ns()
    end_ns, calls = bench.clock() + COUNTED_NS, 0
    while calls < FEWEST_CALLS or bench.clock() < end_ns:
        session.run(feeds)
        calls += 1
    caller_ns, all_ns = time.thread_time_ns() - caller_ns, time.process_time_ns() - all_ns
    others = _thread_ns()
    others.pop(threading.get_native_id(), None)
    used = [max(0, ran - before.get(thread, 0)) for thread, ran in others.items()]
    ended = max(0, all_ns - caller_ns - sum(used))
    return [round(ran / max(1, all_ns), 4) for ran in (caller_ns, ended, *sorted(used, reverse=True))]


def _thread_ns() -> dict[int, int]:
    """CPU time of each thread so far."""
    times: dict[int, int] = {}
    for path in (ROOT / "proc/self/task").glob("*/schedstat"):
        try:
            times[int(path.parent.name)] = int(path.read_text().split()[0])
        except (OSError, IndexError, ValueError):
            continue  # it ended just now
    return times


def libraries() -> list[str] | Na:
    """Names of the shared libraries that are mapped into this process."""
    try:
        lines = (ROOT / "proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return {"na": "/proc/self/maps cannot be read"}
    names = {line.rpartition("/")[2] for line in lines if "/" in line}
    return sorted(name for name in names if ".so" in name)


def versions(bench: Bench) -> dict[str, Any]:
    """The version that the backend reports, and those of the distributions that it can be of.

    A wheel has a folder ``NAME-VERSION.dist-info`` beside its package, in which its libraries are.
    """
    installed = {}
    for folder, package in sorted(runtime_packages()):
        for info in sorted(folder.glob(f"{package}*.dist-info")):
            name, _, number = info.name.removesuffix(".dist-info").rpartition("-")
            installed[name] = number
            with contextlib.suppress(metadata.PackageNotFoundError):
                if (
                    imported := metadata.version(name)
                ) != number:  # one that wraps it comes first on the path
                    installed[f"{name} on the path"] = imported
    plugin = plugins.catalogue(plugins.BACKENDS).get(bench.backend)
    of_backend = {}
    if plugin is not None and plugin.distribution != plugins.HARNESS and plugin.entry.dist is not None:
        of_backend[plugin.distribution] = plugin.entry.dist.version
    return {"reported": bench.backend_version, "installed": installed, "of_backend": of_backend}


def runtime_packages() -> set[tuple[Path, str]]:
    """Folder and name of each package that has a library of a runtime in this process."""
    try:
        lines = (ROOT / "proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    packages = set()
    for path in {Path(f"/{line.partition('/')[2]}") for line in lines if ".so" in line and "/" in line}:
        if any(stem in path.name for _, stems in RUNTIMES.values() for stem in stems):
            below = next((folder for folder in path.parents if folder.name.endswith("-packages")), None)
            if below is not None:
                packages.add((below, path.relative_to(below).parts[0]))
    return packages


def gpu_facts(provider: str, device_id: str) -> dict[str, Any] | None:
    """What NVIDIA's driver says of this process; None where the provider uses none of its GPUs."""
    device = gpu.find(provider, device_id)
    if device is None:
        return None
    files = set()
    for link in (ROOT / "proc/self/fd").glob("*"):
        try:
            files.add(str(link.readlink()))
        except OSError:
            continue  # closed just now
    return {
        "missing": device.reason,
        "memory_byte": device.process_memory_byte(),
        "files": sorted(file for file in files if file.startswith(GPU_FILES)),
    }


def numbers(bench: Bench, case: Case, session: Session, feeding: Feeding) -> dict[str, Any]:
    """What the answers say of the precision.

    Returns
    -------
    dict
        ``answers``: the shorter format that all of them fit in. ``changed``: by the name of each change of
        the inputs, the share of calls whose answers are other ones; empty where no input is a float.
    """
    canonical = bench.data.feeds(case.data, 0, case.samples)
    size = feeding.size or 1
    batches = [
        {name: x[(start + np.arange(size)) % len(x)] for name, x in canonical.items()}
        for start in range(0, case.samples, size)
    ]
    feeds = [feeding.feeds(batch) for batch in batches]
    answers = run_all(session, feeding, feeds, size)
    changed: dict[str, float] = {}
    if any(x.dtype == np.float32 for x in feeds[0].values()):
        plain = [digest(session.run(changed_by(one, 0.0))) for one in feeds]
        for name, change in CHANGES.items():
            others = [digest(session.run(changed_by(one, change))) for one in feeds]
            changed[name] = float(np.mean([a != b for a, b in zip(plain, others, strict=True)]))
    return {"answers": shortest_format(answers), "changed": changed}


def changed_by(feeds: Feeds, change: float) -> Feeds:
    """Round float inputs to 8 bits, and then change each value by a share of itself."""
    return {
        name: np.float32(1 + change) * eight_bits(x) if x.dtype == np.float32 else x
        for name, x in feeds.items()
    }


def eight_bits(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the significand to the 8 bits that bfloat16 has."""
    return (np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
