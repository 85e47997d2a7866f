"""Repeats the same rows: again, in another order, in two sessions at once, in fresh sessions and processes.

Each call gets a copy of its inputs, so that a backend that writes into them spoils no other answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import file_hashes
from harness.core.contracts import Bench, Session
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from suites.reliability import process_state
from suites.reliability.rows import digest, every_way

Digests = NDArray[np.uint8]
#: Answers that are held until the end have so many bytes at most.
MOST_HELD_BYTE = 2**24


def determinism(bench: Bench, case: Case) -> Samples:
    """Run the rows in every way that must not change an answer.

    Returns
    -------
    Samples
        Digests, shape (k, 32), of the ``first`` answers and of those that repeat them: ``repeat``,
        ``order``, ``interleaved``, ``session``, ``process``, and ``idle``: of the first session, when all
        others have come and gone. ``held``, shape (n,), bool: an answer had the same bytes after the next
        call, or at the end. ``input``, shape (calls,), bool: the inputs were the same after it. ``sha256``,
        ``exit`` and ``changes``: the files as each fresh process had them, how each ended by itself, and
        what this process and they changed of what belongs to the whole process.
    """
    caller, before = _Caller(), process_state.read()
    if "fresh" in case.params:
        with process_state.standard_output() as written:
            digests = _fresh(bench, case, caller)
        changes = [*process_state.changes(before, process_state.read()), *written]
        return Samples({"process": digests}, {"sha256": file_hashes(bench.artifact), "changes": changes})
    child = replace(case, params={"fresh": True})
    exits = case.params.get("exits", False)  # runs that an earlier version began have none
    with bench.open() as session:
        feeds = every_way(bench, case, bench.feeding(session))
        first = caller.digests(session, feeds)
        repeat = [caller.digests(session, feeds) for _ in range(case.params["repeats"])]
        order = np.random.default_rng(case.params.get("seed", 0)).permutation(len(feeds))
        # Backwards no call follows the one that it followed at first; a shuffle may leave neighbours.
        orders = [caller.in_order(session, feeds, way) for way in (order, np.arange(len(feeds))[::-1])]
        held = [caller.holds(session, one, feeds[(i + 1) % len(feeds)]) for i, one in enumerate(feeds)]
        with bench.open() as other:
            interleaved = caller.interleaved(session, other, feeds)
        sessions = [_fresh(bench, case, caller) for _ in range(case.params["sessions"])]
        # This session is idle while fresh processes run, for a second or more.
        processes = [bench.spawn(child, exits=exits) for _ in range(case.params["processes"])]
        idle = caller.digests(session, feeds)
    return Samples(
        {
            "first": first,
            "repeat": np.concatenate(repeat),
            "order": np.concatenate(orders),
            "interleaved": interleaved,
            "session": np.concatenate(sessions),
            "process": np.concatenate([part.arrays["process"] for part in processes]),
            "idle": idle,
            "held": np.array([*held, *caller.later()]),
            "input": np.array(caller.unchanged),
        },
        {
            "sha256": [part.values["sha256"] for part in processes],
            "exit": [part.values["exit"] for part in processes] if exits else [],
            # Fresh processes inherit what this one has changed: its own changes count, too.
            "changes": [
                process_state.changes(before, process_state.read()),
                *(part.values["changes"] for part in processes),
            ],
        },
    )


def _fresh(bench: Bench, case: Case, caller: _Caller) -> Digests:
    with bench.open() as session:
        return caller.digests(session, every_way(bench, case, bench.feeding(session)))


class _Caller:
    """Calls sessions with copies of the inputs, and notes whether each copy is still what it was."""

    def __init__(self) -> None:
        self.unchanged: list[bool] = []
        self._answers: list[tuple[Outputs, bytes]] = []
        self._room_byte = MOST_HELD_BYTE

    def _digest(self, outputs: Outputs) -> bytes:
        """The digest of an answer, which is held while there is room: something may write into it later."""
        value = digest(outputs)
        self._room_byte -= sum(y.nbytes for y in outputs.values())
        if self._room_byte >= 0:
            self._answers.append((outputs, value))
        return value

    def later(self) -> list[bool]:
        """Whether each answer that is held still has the same bytes."""
        return [digest(outputs) == before for outputs, before in self._answers]

    def _run(self, session: Session, feeds: Feeds) -> Outputs:
        copies = {name: x.copy() for name, x in feeds.items()}
        outputs = session.run(copies)
        self.unchanged.append(digest(copies) == digest(feeds))
        return outputs

    def digests(self, session: Session, feeds: Sequence[Feeds]) -> Digests:
        """Digests of the answers, shape (len(feeds), 32)."""
        return _rows([self._digest(self._run(session, one)) for one in feeds])

    def in_order(self, session: Session, feeds: Sequence[Feeds], order: NDArray[np.int64]) -> Digests:
        """The same, called in another order."""
        answers = self.digests(session, [feeds[i] for i in order])
        return answers[np.argsort(order)]

    def interleaved(self, one: Session, other: Session, feeds: Sequence[Feeds]) -> Digests:
        """Answers of two sessions that take turns with different inputs: those of one, then of the other."""
        ones, others = [], []
        for i in range(len(feeds)):
            answer = self._run(one, feeds[i])
            others.append(digest(self._run(other, feeds[i - 1])))
            ones.append(digest(answer))  # read after the other session has run
        return _rows([*ones, *others[1:], others[0]])

    def holds(self, session: Session, feeds: Feeds, following: Feeds) -> bool:
        """Whether an answer has the same bytes after the next call."""
        answer = self._run(session, feeds)
        before = digest(answer)
        self._run(session, following)
        return digest(answer) == before


def _rows(answers: Sequence[bytes]) -> Digests:
    return np.frombuffer(b"".join(answers), np.uint8).reshape(len(answers), -1)
