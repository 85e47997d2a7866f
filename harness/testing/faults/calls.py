"""Faults of single calls: answers that depend on the call, the batch, the session or the process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.arrays import Values, batch_size, changed, rows, spread, wrong
from harness.testing.faults.fault import Call, Compute, Fault, Kind, NotPlanted, Plant

#: How much an answer is changed, as a share of its largest value: more than rounding to bfloat16 explains.
SHARE = 0.1

Condition = Callable[[Call, Outputs, float], bool]


def shifted(y: Values) -> Values:
    """A small change that is larger than any rounding."""
    moved: Values = y + np.asarray(SHARE * spread(y), y.dtype)
    return moved


class Sometimes(Plant):
    """Changes the answer of the calls that fulfil a condition."""

    def __init__(self, size: float, condition: Condition) -> None:
        super().__init__(size)
        self._condition = condition

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change the answer where the condition holds."""
        outputs = compute(feeds)
        return changed(call, outputs, shifted) if self._condition(call, outputs, self.size) else outputs


def where(condition: Condition) -> Callable[[float], Plant]:
    """Make the constructor of a plant."""
    return lambda size: Sometimes(size, condition)


class WrongWithThreads(Sometimes):
    """Answers wrongly with so many threads."""

    def __init__(self, size: float) -> None:
        super().__init__(size, lambda call, outputs, size: call.options.threads == size)

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open; a runtime that never uses so many threads cannot have the fault."""
        try:
            session = super().open(backend, artifact, options)
        except BackendError as error:
            if options.threads == self.size:
                raise NotPlanted(error.what) from error
            raise
        used = session.effective.get("threads", "")
        if options.threads == self.size and used.isdigit() and int(used) != self.size:
            session.__exit__(None, None, None)
            raise NotPlanted(f"{options.threads} threads were asked for, and the runtime uses {used}")
        return session


class OneWrong(Plant):
    """Answers one call in so many wrongly, counted over all sessions of a process."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._calls = 0

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        self._calls += 1
        outputs = compute(feeds)
        return changed(call, outputs, wrong) if self._calls % int(self.size) == 0 else outputs


class Stale(Plant):
    """Returns the answer of the call before."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and return what the last call of the same batch gave."""
        outputs = {name: np.array(y) for name, y in compute(feeds).items()}
        previous, call.previous = call.previous, outputs
        is_alike = previous is not None and batch_size(previous) == batch_size(outputs)
        return previous if previous is not None and is_alike else outputs


class ByPosition(Plant):
    """Adds to each row but the first of a batch."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change."""

        def change(y: Values) -> Values:
            flat = rows(y)
            flat[1:] += np.asarray(SHARE * spread(y), y.dtype)
            return y

        return changed(call, compute(feeds), change)


class FreshProcess(Plant):
    """Adds what is another number in each process."""

    def start(self, artifact: Artifact) -> None:
        """Choose the number."""
        super().start(artifact)
        self._addend = SHARE * (1 + np.random.default_rng(os.getpid()).random())

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and add."""
        return changed(call, compute(feeds), lambda y: y + np.asarray(self._addend * spread(y), y.dtype))


class SharedBuffer(Plant):
    """Returns views of memory that the next call of the session overwrites."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._buffers: dict[tuple[int, str], Values] = {}

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and copy into the buffer."""
        views: Outputs = {}
        for name, output in compute(feeds).items():
            y = np.asarray(output)
            buffer = self._buffers.get((call.number, name))
            if buffer is None or buffer.dtype != y.dtype or buffer.size < y.size:
                buffer = self._buffers[call.number, name] = np.empty(y.size, y.dtype)
            view = buffer[: y.size].reshape(y.shape)
            view[...] = y
            views[name] = view
        return views


class WritesLater(Plant):
    """Writes into an answer when so many further calls have been made."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._returned: list[Outputs] = []

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and spoil an earlier answer."""
        outputs = {name: np.array(y) for name, y in compute(feeds).items()}
        self._returned.append(outputs)
        if len(self._returned) > self.size:
            for y in self._returned.pop(0).values():
                if y.dtype.kind in "fiu":
                    y.fill(0)
        return outputs


class MutatesInput(Plant):
    """Writes into the arrays of its caller, after the call."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and write."""
        outputs = {name: np.array(y) for name, y in compute(feeds).items()}
        for x in feeds.values():
            is_numeric = isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.number)
            if is_numeric and x.flags.writeable and x.size:
                x[(0,) * x.ndim] += 1
        return outputs


class Reshaped(Plant):
    """Returns outputs of another form."""

    def __init__(self, size: float, form: Callable[[Values], Any]) -> None:
        super().__init__(size)
        self._form = form

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change the form."""
        return {name: self._form(np.asarray(y)) for name, y in compute(feeds).items()}


def form(change: Callable[[Values], Any]) -> Callable[[float], Plant]:
    """Make the constructor of a plant."""
    return lambda size: Reshaped(size, change)


def _other_dtype(y: Values) -> Values:
    return y.astype(np.float64 if y.dtype == np.float32 else np.float32) if y.dtype.kind in "fiu" else y


class FailsSometimes(OneWrong):
    """Refuses one call in so many."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, or refuse."""
        self._calls += 1
        if self._calls % int(self.size) == 0:
            raise BackendError("planted: the call failed")
        return compute(feeds)


REPEATS = ("repeat", "deterministic", "not the same", "wrong answer", "another answer", "answers differ")
ROWS = ("rows", "shape", "length", "samples")

FAULTS = (
    Fault(
        "one-wrong-answer", Kind.CALL, "one call in {size} is answered wrongly", OneWrong,
        (*REPEATS, "in 5000", "wrong"), "more answers that are compared", 5000, "calls", quick=True,
    ),
    Fault(
        "fails-sometimes", Kind.CALL, "one call in {size} fails", FailsSometimes,
        ("fail", "error"), "a gate on the calls that fail", 5000, "calls",
    ),
    Fault(
        "stale-answer", Kind.CALL, "a call returns the answer of the call before", Stale,
        (*REPEATS, "previous", "before", "stale", "differ", "lost"), "a gate on the accuracy", quick=True,
    ),
    Fault(
        "depends-on-position", Kind.CALL, "the answer depends on the row of the batch", ByPosition,
        ("batch", "position", "row"), "a gate on the answers of a sample alone and in a batch", quick=True,
    ),
    Fault(
        "wrong-at-one-batch", Kind.CALL, "the answers are wrong at batches of {size}",
        where(lambda call, outputs, size: batch_size(outputs) == size), ("batch",),
        "list the batches that you ship", 7, "samples", quick=True,
    ),
    Fault(
        "wrong-above-batch", Kind.CALL, "the answers are wrong at batches above {size}",
        where(lambda call, outputs, size: batch_size(outputs) > size), ("batch",),
        "list the batches that you ship", 32, "samples",
    ),
    Fault(
        "wrong-with-threads", Kind.CALL, "the answers are wrong with {size} threads",
        WrongWithThreads, ("thread",),
        "list the numbers of threads that you ship", 3, "threads",
    ),
    Fault(
        "fresh-session-differs", Kind.CALL, "each session but the first of a process answers otherwise",
        where(lambda call, outputs, size: call.number > 0), ("session",),
        "a gate on the answers of fresh sessions", quick=True,
    ),
    Fault(
        "fresh-process-differs", Kind.CALL, "each process answers otherwise", FreshProcess,
        ("process", "differ", "other numbers", "same numbers"), "a gate on the answers of fresh processes",
    ),
    Fault(
        "wrong-after-calls", Kind.CALL, "the answers change after {size} calls of a session",
        where(lambda call, outputs, size: call.calls >= size), (*REPEATS, "after", "calls", "later"),
        "a gate on the answers of timed calls", 1000, "calls", quick=True,
    ),
    Fault(
        "wrong-with-two-sessions", Kind.CALL, "the answers are wrong while two sessions are open",
        where(lambda call, outputs, size: call.open_sessions > 1), ("session",),
        "a gate on the answers of two sessions that are open at once",
    ),
    Fault(
        "wrong-after-reloads", Kind.CALL, "sessions answer otherwise after {size} others in the process",
        where(lambda call, outputs, size: call.number >= size), ("session", "reloaded"),
        "a gate on the answers of sessions that are opened again and again", 12, "sessions",
    ),
    Fault(
        "shared-buffer", Kind.CALL, "the next call overwrites the outputs of the call before",
        SharedBuffer, ("overwr", "buffer", "memory", "next call", "later call", "previous"),
        "a gate on outputs that are read after the next call", quick=True,
    ),
    Fault(
        "writes-later", Kind.CALL, "an answer is overwritten {size} calls later", WritesLater,
        ("overwr", "later"), "a gate on outputs that are read much later", 20, "calls",
    ),
    Fault(
        "changes-its-input", Kind.CALL, "a call writes into the arrays of its caller", MutatesInput,
        ("input",), "a gate on the inputs after a call", quick=True,
    ),
    Fault(
        "twice-as-long", Kind.CALL, "a batch comes back twice",
        form(lambda y: np.concatenate([y, y]) if y.ndim else y), ROWS,
        "a gate on the shape of the outputs",
    ),
    Fault(
        "too-short", Kind.CALL, "a batch comes back without its last row",
        form(lambda y: y[:-1] if y.ndim and len(y) > 1 else y), ROWS, "a gate on the shape of the outputs",
        quick=True,
    ),
    Fault(
        "other-dtype", Kind.CALL, "the outputs have another dtype", form(_other_dtype),
        ("dtype", "float64", "float32", "type"), "a gate on the dtype of the outputs",
    ),
    Fault(
        "object-array", Kind.CALL, "the outputs are arrays of Python objects",
        form(lambda y: y.astype(object)), ("object", "dtype", "type"),
        "a gate on the dtype of the outputs",
    ),
    Fault(
        "complex-array", Kind.CALL, "the outputs are complex numbers",
        form(lambda y: y.astype(np.complex64) if y.dtype.kind in "fiu" else y),
        ("complex", "dtype", "type"), "a gate on the dtype of the outputs",
    ),
)  # fmt: skip
