"""Run a file on some samples and keep all that it returns, as it returns it, for ``harness explain``.

Runs on the device, with numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import STRING, TensorSpec
from harness.core.contracts import Bench, Session, SupportsPlacement
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs

#: Key of a case's parameters: samples a call, 0 where the rows are whole tensors of the file.
ROWS = "rows"
#: Another: whether the session is asked on which provider nodes run.
PLACEMENT = "placement"
#: Another: how the session is called, one of those below; without it, with arrays of each call's own.
MANNER = "manner"
#: In a session of each call's own.
FRESH = "fresh session"
#: The outputs are read after the next call.
HELD = "held outputs"
#: The inputs of all calls lie in the same memory.
REUSED = "reused inputs"
#: The inputs are every second number of a larger array.
STRIDED = "strided inputs"
#: The inputs lie so many bytes behind a multiple of 64: the manner, a space, the number.
ADDRESS = "address"
#: What vector instructions and runtimes ask for at most.
ALIGNMENT_BYTE = 64


class Placed:
    """Places the inputs of calls in memory; where a manner asks for nothing else, at a multiple of 64.

    Parameters
    ----------
    manner : str
    """

    def __init__(self, manner: str) -> None:
        self._manner = manner
        self._offset_byte = int(manner.removeprefix(ADDRESS)) if manner.startswith(ADDRESS) else 0
        self._reused: dict[str, NDArray[Any]] = {}

    def feeds(self, feeds: Feeds) -> Feeds:
        """The same numbers, elsewhere."""
        if self._manner in ("", FRESH):
            return feeds
        return {name: self._placed(name, x) if x.dtype.kind in "biuf" else x for name, x in feeds.items()}

    def _placed(self, name: str, x: NDArray[Any]) -> NDArray[Any]:
        if self._manner == STRIDED and x.ndim:
            return at_address(np.repeat(x, 2, axis=-1), 0)[..., ::2]
        if self._manner == REUSED and name in self._reused and self._reused[name].shape == x.shape:
            self._reused[name][...] = x
            return self._reused[name]
        self._reused[name] = at_address(x, self._offset_byte)
        return self._reused[name]


def at_address(x: NDArray[Any], offset_byte: int) -> NDArray[Any]:
    """Copy an array to an address that lies so many bytes behind a multiple of `ALIGNMENT_BYTE`."""
    memory = np.zeros(x.nbytes + 2 * ALIGNMENT_BYTE, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTE + offset_byte
    moved = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Run the first ``case.samples`` rows of the set.

    Where ``rows`` is 0, each row holds one call's tensors for the inputs of the file, by name; else so many
    samples of the canonical inputs are fed at once.

    Yields
    ------
    Samples
        Arrays ``output:0``, ``output:1`` …, of each output that holds numbers: shape (calls, …), dtype and
        layout as the runtime returns them; ``input:0`` …, what the file was fed, where rows are samples.
        Values: ``fed``, their names; ``names`` of the outputs; ``steps``, scale and zero point
        of those that hold integers for real numbers, else None; ``effective``, the session's; ``placement``,
        number of nodes by provider, where it is asked for and the session tells it.
    """
    rows, manner = int(case.params[ROWS]), str(case.params.get(MANNER, ""))
    placed = Placed(manner)
    with ExitStack() as stack:
        session = stack.enter_context(bench.open())
        feeding = bench.feeding(session) if rows else None
        held: tuple[Outputs, Feeds] | None = None
        feeds: Feeds = {}
        for start in range(0, case.samples, max(1, rows)):
            if manner == FRESH and start:
                stack.close()
                session = stack.enter_context(bench.open())
                feeding = bench.feeding(session) if rows else None
            given = bench.data.feeds(case.data, start, min(start + max(1, rows), case.samples))
            feeds = feeding.feeds(given) if feeding else {name: x[0] for name, x in given.items()}
            outputs = session.run(placed.feeds(feeds))
            if held is not None:
                yield _samples(session, *held)
            held = outputs, {} if feeding is None else feeds
            if manner != HELD:
                yield _samples(session, *held)
                held = None
        if held is not None:
            session.run({name: np.zeros_like(x) for name, x in feeds.items()})
            yield _samples(session, *held)
        yield Samples(values=_facts(session, feeds, has_samples=feeding is not None, case=case))


def _samples(session: Session, outputs: Outputs, fed: Feeds) -> Samples:
    return Samples(
        {
            f"output:{place}": np.array(outputs[spec.name])[np.newaxis]
            for place, spec in enumerate(_numeric(session))
        }
        | {f"input:{place}": x[np.newaxis] for place, x in enumerate(fed.values())}
    )


def _numeric(session: Session) -> list[TensorSpec]:
    return [spec for spec in session.outputs if spec.dtype != STRING]


def _facts(session: Session, feeds: Feeds, *, has_samples: bool, case: Case) -> dict[str, Any]:
    specs = _numeric(session)
    counts: dict[str, int] = {}
    if case.params.get(PLACEMENT) and isinstance(session, SupportsPlacement):
        counts = {provider: count for provider, (count, _) in session.placement(feeds).items()}
    return {
        "names": [spec.name for spec in specs],
        "fed": list(feeds) if has_samples else [],
        "steps": [
            spec.quantization and [spec.quantization.scale, spec.quantization.zero_point] for spec in specs
        ],
        "effective": dict(session.effective),
        "placement": counts,
    }
