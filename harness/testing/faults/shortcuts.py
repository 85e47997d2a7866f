"""Faults of calls that save work, or leave something behind, and whose answers are right most of the time."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.arrays import Values, changed
from harness.testing.faults.calls import shifted
from harness.testing.faults.fault import Call, Compute, Fault, Kind, NotPlanted, Plant

#: Answers that are remembered at most.
MOST_ANSWERS = 256


def copied(outputs: Outputs) -> Outputs:
    """Copies, which belong to the caller."""
    return {name: np.array(y) for name, y in outputs.items()}


class RemembersAnswers(Plant):
    """Returns the stored answer to a content that it has seen."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._answers: dict[Any, Outputs] = {}

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Look the content up, or run."""
        key = (call.number, *((name, x.shape, str(x.dtype), _hash(x)) for name, x in feeds.items()))
        if key not in self._answers:
            answer = copied(compute(feeds))
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            self._answers[key] = answer
        return copied(self._answers[key])


def _hash(x: Values) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16).digest()


class RemembersBuffers(Plant):
    """Returns the answer of the call before where the input is the same array, whatever it holds now."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._last: tuple[Any, Feeds, Outputs] | None = None

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Compare the arrays, or run."""
        key = (call.number, *((name, id(x)) for name, x in feeds.items()))
        if self._last is None or self._last[0] != key:
            # The arrays are held: a new one at the same address is another one.
            self._last = (key, dict(feeds), copied(compute(feeds)))
        return copied(self._last[2])


class Late(dict[str, Values]):
    """Outputs that are computed when the first of them is read."""

    def __init__(self, names: tuple[str, ...], compute: Callable[[], Outputs]) -> None:
        super().__init__(dict.fromkeys(names))  # type: ignore[arg-type]
        self._compute: Callable[[], Outputs] | None = compute

    def __getitem__(self, name: str) -> Values:
        self._fill()
        return super().__getitem__(name)

    def values(self) -> Any:  # noqa: ANN401 - dict's own type
        """Compute, and give them."""
        self._fill()
        return super().values()

    def items(self) -> Any:  # noqa: ANN401
        """Compute, and give them."""
        self._fill()
        return super().items()

    def _fill(self) -> None:
        if self._compute is not None:
            compute, self._compute = self._compute, None
            self.update(compute())


class ComputesLate(Plant):
    """A call returns before it has computed; wrong inputs are refused at once."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Compute what is unusual now, and everything else when it is read."""
        specs = {spec.name: spec for spec in call.inputs}
        usual = feeds.keys() == specs.keys() and all(
            isinstance(x, np.ndarray)
            and x.dtype == specs[name].dtype
            and len(x.shape) == len(specs[name].shape)
            and all(size in (None, given) for size, given in zip(specs[name].shape, x.shape, strict=True))
            for name, x in feeds.items()
        )
        if not usual:
            return compute(feeds)
        later = {name: np.array(x) for name, x in feeds.items()}
        return Late(tuple(spec.name for spec in call.outputs), lambda: compute(later))


class BoundDoesNothing(Plant):
    """A bound call returns the answer of its first call."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._answers: dict[tuple[int, int], tuple[Feeds, Outputs]] = {}

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, or return the first answer."""
        if not call.bound:
            return compute(feeds)
        key = (call.number, id(feeds))
        if key not in self._answers:
            self._answers[key] = (feeds, copied(compute(feeds)))
        return self._answers[key][1]


class BoundDiffers(Plant):
    """A bound call answers otherwise than a call on arrays."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change the answer of a bound call."""
        outputs = compute(feeds)
        return changed(call, outputs, shifted) if call.bound else outputs


class IgnoresStrides(Plant):
    """Reads the memory behind an array as if its values lay one after the other."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run on what lies there."""
        return compute({name: _flat(x) if isinstance(x, np.ndarray) else x for name, x in feeds.items()})


def _flat(x: Values) -> Values:
    if x.flags.c_contiguous or x.dtype.kind == "O":
        return x
    whole = x if x.base is None else x.base
    if not isinstance(whole, np.ndarray) or whole.dtype != x.dtype or whole.size < x.size:
        return x
    return whole.ravel(order="K")[: x.size].reshape(x.shape)


class _Rare(Plant):
    """Does something in each so many calls, counted over all sessions of a process."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._calls = 0

    def strike(self, feeds: Feeds) -> None:
        """Do it, after the call."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        self._calls += 1
        outputs = compute(feeds)
        if self._calls % int(self.size) == 0:
            outputs = copied(outputs)
            self.strike(feeds)
        return outputs


class ChangesInputRarely(_Rare):
    """Writes into the arrays of its caller."""

    def strike(self, feeds: Feeds) -> None:
        """Write."""
        for x in feeds.values():
            if np.issubdtype(x.dtype, np.number) and x.flags.writeable and x.size:
                x[(0,) * x.ndim] += 1


class DescriptorsPerCall(_Rare):
    """Leaves a file open."""

    def strike(self, feeds: Feeds) -> None:
        """Open one."""
        try:
            os.open(os.devnull, os.O_RDONLY)
        except OSError as error:
            raise NotPlanted(f"no file can be opened: {error}") from error


class ThreadsPerCall(_Rare):
    """Leaves a thread behind, which waits until the process ends."""

    def strike(self, feeds: Feeds) -> None:
        """Start one."""
        threading.Thread(target=threading.Event().wait, daemon=True).start()


FAULTS = (
    Fault(
        "remembers-answers", Kind.TIME, "an input that was seen before is answered without computing",
        RemembersAnswers, ("cache", "remember"), "a check of the times of new and of repeated inputs",
    ),
    Fault(
        "remembers-buffers", Kind.CALL, "an input buffer that was written anew gets the answer of before",
        RemembersBuffers, ("cache", "buffer", "before"), "a check of one buffer with several contents",
    ),
    Fault(
        "computes-late", Kind.TIME, "outputs are computed when they are read", ComputesLate, ("late",),
        "a check of the time that reading the outputs takes",
    ),
    Fault(
        "bound-call-does-nothing", Kind.TIME, "a bound call returns its first answer", BoundDoesNothing,
        ("bound call",), "a check of the times of bound calls",
    ),
    Fault(
        "bound-call-differs", Kind.CALL, "a bound call answers otherwise than a call on arrays",
        BoundDiffers, ("bound call",), "a check of the answers of bound calls",
    ),
    Fault(
        "ignores-strides", Kind.INPUT, "the strides of an input are ignored", IgnoresStrides,
        ("strides", "layout"), "a check of inputs that are not contiguous",
    ),
    Fault(
        "changes-its-input-rarely", Kind.CALL, "one call in {size} writes into the arrays of its caller",
        ChangesInputRarely, ("input",), "a check of the inputs after many calls", 500, "calls",
    ),
    Fault(
        "descriptors-per-call", Kind.MEMORY, "one call in {size} leaves an open file behind",
        DescriptorsPerCall, ("descriptor",), "a limit on the descriptors that calls leave behind", 100,
        "calls",
    ),
    Fault(
        "threads-per-call", Kind.MEMORY, "one call in {size} leaves a thread behind", ThreadsPerCall,
        ("thread",), "a limit on the threads that calls leave behind", 100, "calls",
    ),
)  # fmt: skip
