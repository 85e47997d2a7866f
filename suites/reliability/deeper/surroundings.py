"""What surrounds a process and must not change an answer: locale, time zone, limits, cores, load.

Each is tried in a fresh process, which the model may not survive.
"""

from __future__ import annotations

import locale
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.contracts import Bench, Unsupported
from harness.core.errors import HarnessError, WorkerError
from harness.core.job import Case, Samples
from suites.reliability.rows import digest, digests, singles

#: Where /proc is; tests replace it.
ROOT = Path("/")
#: Answers are these where a process gives none.
REFUSED, DIED = "refused", "died"
LOCALES = ("de_DE.UTF-8", "fr_FR.UTF-8", "tr_TR.UTF-8", "en_US.UTF-8")
TIME_ZONE = "Asia/Kathmandu"
#: Descriptors that a process may open beyond those that it has.
FEW_DESCRIPTORS = 32
MEMORY = "memory"
#: Under memory pressure so much of what is free is taken, and written again and again.
MEMORY_SHARE, MOST_MEMORY_BYTE = 0.25, 2**30
WRITTEN_BYTE = 2**24
#: A planned load ends by itself, should nobody end it.
LONGEST_S = 120.0


class Missing(Exception):
    """What a condition needs is not on this machine; the message says what."""


def _other_locale(scratch: Path) -> None:
    for name in LOCALES:
        try:
            locale.setlocale(locale.LC_ALL, name)
            return
        except locale.Error:
            continue
    raise Missing(f"none of {', '.join(LOCALES)} is installed")


def _time_zone(scratch: Path) -> None:
    os.environ["TZ"] = TIME_ZONE
    time.tzset()


def _read_only_folder(scratch: Path) -> None:
    if os.geteuid() == 0:
        raise Missing("root may write in every folder")
    os.chdir(scratch)
    scratch.chmod(0o555)


def _deleted_folder(scratch: Path) -> None:
    folder = scratch / "deleted"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


def _one_core(scratch: Path) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise Missing("this system does not bind processes to cores")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.nice(19)


def _few_descriptors(scratch: Path) -> None:
    used = len(list((ROOT / "proc/self/fd").iterdir()))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + FEW_DESCRIPTORS, hard))


def _limit_memory(more_byte: int) -> None:
    pages = int((ROOT / "proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more_byte
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


CONDITIONS: Mapping[str, Callable[[Path], None]] = {
    "another locale": _other_locale,
    "another time zone": _time_zone,
    "a read-only working folder": _read_only_folder,
    "a working folder that was deleted": _deleted_folder,
    "one core at the lowest priority": _one_core,
    "few descriptors": _few_descriptors,
}


def surroundings(bench: Bench, case: Case) -> Samples:
    """Open the model and answer the rows under each condition, each in a fresh process.

    Returns
    -------
    Samples
        ``outcomes``: by condition ``same``, ``wrong``, ``refused …``, ``died …`` or ``missing …``.
    """
    if "condition" in case.params:
        return _in_child(bench, case)
    with bench.open() as session:
        expected = digests(session, singles(bench, case, bench.feeding(session))).tobytes().hex()
    conditions = [*CONDITIONS, *(f"{MEMORY} {size}" for size in case.params["memory_byte"])]
    outcomes = {name: _outcome(bench, case, name, expected) for name in conditions}
    return Samples({}, {"outcomes": outcomes})


def _outcome(bench: Bench, case: Case, condition: str, expected: str) -> str:
    try:
        values = bench.spawn(replace(case, params={"condition": condition})).values
    except Unsupported:
        raise
    except WorkerError as error:
        return f"{DIED}: {error.what.partition(chr(10))[0]}"
    except HarnessError as error:
        return f"{REFUSED}: {error.what.partition(chr(10))[0]}"
    return str(values["outcome"]) or ("same" if values["answers"] == expected else "wrong")


def _in_child(bench: Bench, case: Case) -> Samples:
    condition = case.params["condition"]
    folder, scratch = Path.cwd(), bench.scratch()
    try:
        _set_up(condition, scratch)
        with bench.open() as session:
            answers = digests(session, singles(bench, case, bench.feeding(session))).tobytes().hex()
    except Missing as why:
        return Samples({}, {"outcome": f"missing: {why}", "answers": ""})
    except Exception as error:  # noqa: BLE001 - whatever it raises, it gives no wrong answer
        return Samples({}, {"outcome": f"{REFUSED}: {type(error).__name__}: {error}"[:300], "answers": ""})
    finally:
        os.chdir(folder)
        scratch.chmod(0o755)
    return Samples({}, {"outcome": "", "answers": answers})


def _set_up(condition: str, scratch: Path) -> None:
    try:
        if condition.startswith(f"{MEMORY} "):
            _limit_memory(int(condition.removeprefix(f"{MEMORY} ")))
        else:
            CONDITIONS[condition](scratch)
    except (OSError, ValueError) as error:  # the model was not asked
        raise Missing(f"{condition} cannot be set up: {error}") from error


def pressure(bench: Bench, case: Case) -> Samples:
    """Call the model while all CPUs are busy, while memory is, and while files are written.

    Returns
    -------
    Samples
        By kind, ``quiet`` first: ``equal:…``, shape (calls,), bool: the answer had the bytes of the first
        call. ``call_ns:…``, shape (calls,), int64. Values: ``stalled``, by kind the share of the time in
        which a task waited for that resource, by the kernel (PSI), or why it is not known.
    """
    seconds, arrays = case.params["seconds"], {}
    stalled: dict[str, Any] = {}
    with bench.open() as session:
        feeds = singles(bench, case, bench.feeding(session))
        expected = [digest(session.run(one)) for one in feeds]
        for kind, load in LOADS.items():
            equal: list[bool] = []
            call_ns: list[int] = []
            with load(bench.scratch()):
                waited_us, begin_ns = _waited_us(kind), bench.clock()
                end_ns = begin_ns + int(seconds * 1e9)
                while bench.clock() < end_ns:
                    place = len(equal) % len(feeds)
                    start_ns = bench.clock()
                    outputs = session.run(feeds[place])
                    call_ns.append(bench.clock() - start_ns)
                    equal.append(digest(outputs) == expected[place])
                took_us = (bench.clock() - begin_ns) / 1e3
            arrays[f"equal:{kind}"] = np.array(equal)
            arrays[f"call_ns:{kind}"] = np.array(call_ns, np.int64)
            after_us = _waited_us(kind)
            stalled[kind] = (
                {"na": waited_us}
                if isinstance(waited_us, str) or isinstance(after_us, str)
                else {"share": min(1.0, (after_us - waited_us) / took_us)}
            )
    return Samples(arrays, {"stalled": stalled})


def _waited_us(kind: str) -> int | str:
    """Microseconds in which some task waited for the resource since the start; or why that cannot be read."""
    name = {"CPU": "cpu", "memory": "memory", "files": "io"}.get(kind, "cpu")
    try:
        text = (ROOT / f"proc/pressure/{name}").read_text()
    except OSError as error:
        return f"/proc/pressure/{name} cannot be read: {error.strerror}"
    return int(text.partition("total=")[2].split()[0])


@contextmanager
def _quiet(scratch: Path) -> Iterator[None]:
    yield


@contextmanager
def _busy_cpus(scratch: Path) -> Iterator[None]:
    code = f"import time\nend = time.monotonic() + {LONGEST_S}\nwhile time.monotonic() < end: pass"
    count = (os.cpu_count() or 1) + 1
    burners = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@contextmanager
def _in_thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _busy_memory(scratch: Path) -> Iterator[None]:
    free_byte = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    block = np.zeros(int(min(MOST_MEMORY_BYTE, MEMORY_SHARE * free_byte)), np.uint8)

    def work(ended: threading.Event) -> None:
        while not ended.is_set():
            block[::4096] += 1

    with _in_thread(work):
        yield


@contextmanager
def _busy_files(scratch: Path) -> Iterator[None]:
    content, path = os.urandom(WRITTEN_BYTE), scratch / "pressure.bin"

    def work(ended: threading.Event) -> None:
        while not ended.is_set():
            with path.open("wb") as stream:
                stream.write(content)
                os.fsync(stream.fileno())

    with _in_thread(work):
        yield


LOADS: Mapping[str, Callable[[Path], Any]] = {
    "quiet": _quiet, "CPU": _busy_cpus, "memory": _busy_memory, "files": _busy_files,
}  # fmt: skip
