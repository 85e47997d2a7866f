"""Opens damaged copies of the model file, in a fresh process, because a runtime may crash or hang on them.

The child writes a line before and after each copy. When it dies, the last line identifies the copy, and a new
child continues after it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.artifact import Artifact, verify
from harness.core.contracts import Bench, Session
from harness.core.errors import ModelError, WorkerError
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds
from suites.reliability.cases import SCRAMBLE
from suites.reliability.rows import digests, singles

REFUSED, CRASHED, HUNG = "refused", "crashed", "hung"
SAME, DIFFERENT = "loaded_same", "loaded_different"

#: Each copy answers for so many rows; a changed weight changes nearly every answer.
ROWS = 2
#: A copy hangs when it takes this long and so many times what the undamaged file took.
HANG_S, HANG_FACTOR = 10.0, 20.0
#: A damaged size must not take the device's memory: beyond so much more, allocations fail.
MEMORY_MARGIN_BYTE = 4 * 2**30
#: What the copies of one case take together, but for the least number: each is written, hashed, opened.
MOST_BYTE, LEAST_COPIES = 2 * 10**9, 5
PIECE_BYTE = 2**20


CUT = -1
#: Of a scrambled copy: the format is told by the first bytes.
HEAD_BYTE = 16


@dataclass(frozen=True, slots=True)
class Damage:
    """Cut at ``offset``, or flip ``bit`` of the byte there. All files count as one, in order.

    With the bit ``CUT`` the file ends there, with ``SCRAMBLE`` every byte of it is changed from there on.
    """

    offset: int
    bit: int


def truncated_file(bench: Bench, case: Case) -> Samples:
    """Cut the file at seeded places, and once by its last byte."""
    size = bench.artifact.size_byte
    offsets = np.random.default_rng(case.params["seed"]).integers(0, size, _copies(bench, case) - 1)
    return _damaged(bench, case, [Damage(int(offset), CUT) for offset in (*offsets, size - 1)])


def bit_flips(bench: Bench, case: Case) -> Samples:
    """Flip one seeded bit a copy; in the last copy, change every byte but the first few.

    A runtime may compute the same with a flipped bit, or with other weights where inputs are zero; it cannot
    with a copy of which nothing is left.
    """
    rng = np.random.default_rng(case.params["seed"])
    places = rng.integers(0, 8 * bench.artifact.size_byte, _copies(bench, case))
    flips = [Damage(int(place) // 8, int(place) % 8) for place in places]
    return _damaged(
        bench, case, [*flips, Damage(min(HEAD_BYTE, bench.artifact.files[0].size_byte // 4), SCRAMBLE)]
    )


def _damaged(bench: Bench, case: Case, damages: list[Damage]) -> Samples:
    if "journal" in case.params:
        _try_each(bench, case, damages)
        return Samples()
    journal = bench.scratch() / "journal.jsonl"
    journal.touch()
    entries_read: list[dict[str, Any]] = []
    while len(entries_read) < len(damages):
        child = replace(case, params={**case.params, "journal": str(journal), "start": len(entries_read)})
        try:
            bench.spawn(child)
        except WorkerError as death:
            entries = _read(journal)
            if len(entries) == len(entries_read) or "outcome" in entries[-1]:
                raise  # no copy was the cause
            # The harness's own alarm ended it.
            outcome = HUNG if "SIGALRM" in death.what else CRASHED
            _write(journal, {"outcome": outcome, "said": str(death)})
        entries_read = _read(journal)
    with bench.open() as session:
        answers = digests(session, singles(bench, case, bench.feeding(session))[:ROWS]).tobytes().hex()
    for entry in entries_read:
        # Where the process ended, the next one must give the same answers.
        entry.setdefault("recovered", entry["expected"] == answers)
    return Samples(
        {
            "offset": np.array([damage.offset for damage in damages], np.int64),
            "bit": np.array([damage.bit for damage in damages], np.int64),
            "caught": np.array([entry["caught"] for entry in entries_read]),
            "recovered": np.array([entry["recovered"] for entry in entries_read]),
        },
        {
            "outcomes": [entry["outcome"] for entry in entries_read],
            "said": [entry["said"] for entry in entries_read],
        },
    )


def _try_each(bench: Bench, case: Case, damages: list[Damage]) -> None:
    """Run in the child: open and run each copy from ``start`` on, beside an undamaged session."""
    journal = Path(case.params["journal"])
    start = bench.clock()
    with bench.open() as session:
        feeds = singles(bench, case, bench.feeding(session))[:ROWS]
        expected = digests(session, feeds).tobytes()
        limit_s = HANG_S + HANG_FACTOR * (bench.clock() - start) / 1e9
        _limit_memory()
        for index in range(case.params["start"], len(damages)):
            copy = damaged_copy(bench.artifact, damages[index], bench.scratch() / str(index))
            _write(journal, {"caught": _caught(copy), "expected": expected.hex()})
            # The default action ends the process, whatever the runtime is doing.
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            outcome, message = _outcome(bench, copy, feeds, expected)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _write(
                journal, {"outcome": outcome, "said": message, "recovered": _alive(session, feeds, expected)}
            )
            shutil.rmtree(copy.folder)


def damaged_copy(artifact: Artifact, damage: Damage, folder: Path) -> Artifact:
    """Write the artifact with one damage into a new folder; it still claims the undamaged hashes."""
    folder.mkdir()
    offset = damage.offset
    for file in artifact.files:
        copy = folder / file.name
        shutil.copyfile(artifact.folder / file.name, copy)  # by the kernel; models may be large
        if 0 <= offset < file.size_byte:
            _damage(copy, replace(damage, offset=offset))
        offset -= file.size_byte
    return replace(artifact, folder=folder)


def _damage(path: Path, damage: Damage) -> None:
    if damage.bit == CUT:
        os.truncate(path, damage.offset)
        return
    with path.open("r+b") as stream:
        stream.seek(damage.offset)
        if damage.bit == SCRAMBLE:
            while piece := stream.read(PIECE_BYTE):
                stream.seek(-len(piece), os.SEEK_CUR)
                stream.write((np.frombuffer(piece, np.uint8) ^ 0x55).tobytes())
        else:
            (byte,) = stream.read(1)
            stream.seek(damage.offset)
            stream.write(bytes([byte ^ 1 << damage.bit]))


def _copies(bench: Bench, case: Case) -> int:
    """Copies of a case: as many as it asks for, fewer of a large file."""
    return min(int(case.params["count"]), max(LEAST_COPIES, MOST_BYTE // max(1, bench.artifact.size_byte)))


def _outcome(bench: Bench, copy: Artifact, feeds: list[Feeds], expected: bytes) -> tuple[str, str]:
    try:
        with bench.open(copy) as session:
            answers = digests(session, feeds).tobytes()
    except Exception as error:  # noqa: BLE001 - any exception, at open or at run, refuses the file
        return REFUSED, f"{type(error).__name__}: {error}"[:300]
    return (SAME if answers == expected else DIFFERENT), ""


def _alive(session: Session, feeds: list[Feeds], expected: bytes) -> bool:
    try:
        return digests(session, feeds).tobytes() == expected
    except Exception:  # noqa: BLE001 - any error is the same finding: not recovered
        return False


def _caught(copy: Artifact) -> bool:
    try:
        verify(copy)
    except ModelError:
        return True
    return False


def _limit_memory() -> None:
    """Bound this child's address space; where the system does not say how large it is, there is no bound."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_MARGIN_BYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _write(journal: Path, entry: dict[str, Any]) -> None:
    with journal.open("a") as stream:
        stream.write(json.dumps(entry) + "\n")


def _read(journal: Path) -> list[dict[str, Any]]:
    """One entry a copy: the line before it, joined with the line after it where there is one."""
    entries: list[dict[str, Any]] = []
    for line in journal.read_text().splitlines():
        value = json.loads(line)
        if "caught" in value:
            entries.append(value)
        else:
            entries[-1] |= value
    return entries
