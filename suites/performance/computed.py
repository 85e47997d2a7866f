"""Is every call computed, and done when it returns? Otherwise its time is that of something else.

Calls with a content that the session never saw take turns with calls whose input it has just answered, in one
buffer that is written before each: caches of the processor are the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Clock, Session, SupportsBinding
from harness.core.preprocess import Feeds, Outputs

#: For how long pairs of calls are made; at least so many, and these are compared.
SECONDS, FEWEST_PAIRS = 0.25, 3
#: Their times are divided into at most so many parts.
PARTS = 4
#: Fewer calls of a kind have no quantile.
PART_CALLS = 3
#: Of a part's times this quantile counts: other processes slow some calls, and hardly the fast ones.
QUANTILE = 0.25
#: Values are changed by a multiple of this, so that each content is new and the answers stay ordinary.
STEP = np.float32(2.0**-12)


@dataclass(frozen=True, slots=True)
class Computed:
    """What was measured.

    Parameters
    ----------
    times_ns : mapping of str to ndarray, shape (pairs,), int64
        ``repeated`` and ``new`` calls; ``read``, reading the outputs of new calls; ``copied``, the same of
        ordinary arrays; ``bound`` calls, where the session has some.
    answers : tuple of int
        Answers to a buffer with a new content that were compared with those to a fresh copy; wrong ones.
    """

    times_ns: Mapping[str, NDArray[np.int64]]
    answers: tuple[int, int]


def computed(session: Session, feeds: Feeds, clock: Clock, pairs: int) -> Computed | None:
    """Make at most so many pairs of calls; None where no input holds floats: no new content can be made."""
    floats = [name for name, x in feeds.items() if x.dtype == np.float32 and x.size]
    if not floats or not pairs:
        return None
    buffers = {name: x.copy() for name, x in feeds.items()}
    bound = session.bind(feeds) if isinstance(session, SupportsBinding) else None
    times: dict[str, list[int]] = {"repeated": [], "new": [], "read": [], "copied": [], "bound": []}
    looked = wrong = 0
    end_ns = clock() + int(SECONDS * 1e9)
    for pair in range(pairs):
        if pair >= FEWEST_PAIRS and clock() > end_ns:
            break
        _write(buffers, feeds, 0, floats)
        session.run(buffers)
        _write(buffers, feeds, 0, floats)
        start = clock()
        session.run(buffers)
        times["repeated"].append(clock() - start)
        _write(buffers, feeds, pair + 1, floats)
        start = clock()
        outputs = session.run(buffers)
        returned = clock()
        answer = _read(outputs)
        done = clock()
        _read(answer)
        times["new"].append(returned - start)
        times["read"].append(done - returned)
        times["copied"].append(clock() - done)
        if pair < FEWEST_PAIRS:
            looked += 1
            wrong += not _equal(answer, session.run({name: x.copy() for name, x in buffers.items()}))
        if bound is not None:
            bound()
            start = clock()
            bound()
            times["bound"].append(clock() - start)
    return Computed({name: np.array(of, np.int64) for name, of in times.items() if of}, (looked, wrong))


def _write(buffers: Feeds, feeds: Feeds, number: int, floats: list[str]) -> None:
    """Write content `number` into the buffers; 0 is that of `feeds`. Half of a float input stays."""
    for name, x in feeds.items():
        buffers[name][...] = x
        if name in floats and number:
            flat = buffers[name].reshape(-1)
            flat[flat.size // 2 :] = flat[flat.size // 2 :] * (1 + number * STEP) + number * STEP


def _read(outputs: Mapping[str, NDArray[np.generic]]) -> Outputs:
    return {name: np.array(outputs[name]) for name in list(outputs)}


def _equal(answer: Outputs, other: Outputs) -> bool:
    return answer.keys() == other.keys() and all(
        y.shape == np.shape(other[name]) and y.tobytes() == np.asarray(other[name]).tobytes()
        for name, y in answer.items()
        if y.dtype.kind not in "OUS"
    )


def ratio_at_least(
    more: NDArray[np.int64], less: NDArray[np.int64], added: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """Return how many times `more` takes as long as `less`: over all calls, and the least of their parts.

    Parameters
    ----------
    more, less : ndarray, shape (n,), int64, ns
        In order of time.
    added : ndarray, optional
        Taken off `more`, call by call.
    """
    net = more if added is None else np.maximum(0, more - added)
    parts = max(1, min(PARTS, len(net) // PART_CALLS))
    ratios = [
        _ratio(a, b) for a, b in zip(np.array_split(net, parts), np.array_split(less, parts), strict=True)
    ]
    return _ratio(net, less), min(ratios)


def _ratio(more: NDArray[np.int64], less: NDArray[np.int64]) -> float:
    return float(np.quantile(more, QUANTILE) / max(1.0, float(np.quantile(less, QUANTILE))))
