"""Events in streams of frames: runs of one class, and which of two lists are the same events."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from harness.stats.intervals import Interval

Integers = NDArray[np.int64]
#: Class of a frame in which nothing happens.
BACKGROUND = 0


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of their streams and frames.

    Parameters
    ----------
    start, stop : ndarray, shape (n,), int64
        First frame, and the one behind the last, as positions among the frames of all streams.
    label, stream : ndarray, shape (n,), int64
    """

    start: Integers
    stop: Integers
    label: Integers
    stream: Integers

    def __len__(self) -> int:
        return len(self.start)


def events_of(classes: Integers, stream: Integers, *, hold: int = 0) -> Events:
    """Join frames of one class to events.

    Parameters
    ----------
    classes : ndarray, shape (n,), int64
        Class of each frame; `BACKGROUND`, and all below it, is no event.
    stream : ndarray, shape (n,), int64
        Stream of each frame; the frames of one stream follow each other.
    hold : int
        A frame of the same class, so many frames or fewer behind the end of an event, belongs to it, too.
    """
    active = np.flatnonzero(classes > BACKGROUND)
    label, of = classes[active], stream[active]
    same = (label[1:] == label[:-1]) & (of[1:] == of[:-1]) & (np.diff(active) <= hold + 1)
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(active)), bool), ~same]))
    last = np.append(first[1:] - 1, len(active) - 1)[: len(first)]
    return Events(active[first], active[last] + 1, label[first], of[first])


def matches(one: Events, other: Events, *, tolerance: int = 0) -> Integers:
    """Return the event of `other` that each of `one` is, -1 where there is none, shape (n,).

    Two events are the same if class and stream are, and they share a frame after each was made longer by
    `tolerance` frames at one of its ends. Each event is used once; as many as possible are matched (Hopcroft
    and Karp, SIAM Journal on Computing 2 (1973)).
    """
    rows, columns = [], []
    for index in range(len(one)):
        near = (
            (other.label == one.label[index])
            & (other.stream == one.stream[index])
            & (other.start < one.stop[index] + tolerance)
            & (one.start[index] < other.stop + tolerance)
        )
        columns.append(np.flatnonzero(near))
        rows.append(np.full(len(columns[-1]), index))
    if not columns or not sum(map(len, columns)):
        return np.full(len(one), -1, np.int64)
    pairs = (np.concatenate(rows), np.concatenate(columns))
    from scipy.sparse import csr_array  # slow to import
    from scipy.sparse.csgraph import maximum_bipartite_matching

    graph = csr_array((np.ones(len(pairs[0]), np.int8), pairs), shape=(len(one), len(other)))
    partner: Integers = maximum_bipartite_matching(graph, perm_type="column").astype(np.int64)
    return partner


def poisson_rate(count: int, exposure: float, *, alpha: float = 0.05) -> Interval:
    """Return a rate with its exact interval: F. Garwood, Biometrika 28 (1936), 437-442.

    Parameters
    ----------
    count : int
    exposure : float
        What the rate is relative to, above 0: seconds, for a rate in 1/s.
    alpha : float
        One-sided error of each bound.
    """
    low = float(gammaincinv(count, alpha)) if count else 0.0
    high = float(gammaincinv(count + 1, 1 - alpha))
    if not (exposure > 0 and math.isfinite(exposure)):
        raise ValueError(f"the exposure must be above 0, not {exposure}")
    return Interval(count / exposure, low / exposure, high / exposure, count)
