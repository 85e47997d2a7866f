"""Many calls in one process with inputs and batch sizes that vary: what grows, changes, is not computed."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np

from harness.core.contracts import Clock, Session
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from harness.device.counters import Counters
from suites.performance.computed import computed
from suites.performance.loop import Answers, Place, Watch, facts, time_calls

#: Calls of each input before the first that counts: a runtime prepares itself for every new shape.
WARM_UP_ROUNDS = 3
#: Calls of the first batch size between two of another one: a change of the shape costs as much as several.
BETWEEN = 15


class Looks:
    """The answers of several inputs, each compared with the first one of its input."""

    def __init__(self, answers: Sequence[Answers], order: Sequence[int]) -> None:
        self._answers, self._order = answers, order

    def look(self, call: int, outputs: Outputs) -> bool:
        """Compare the answer of a call."""
        return self._answers[self._order[call]].look(call, outputs)


def varied(session: Session, feeds: Sequence[tuple[int, Feeds]], clock: Clock, case: Case) -> Samples:
    """Call `session` with each of `feeds` in turn.

    Parameters
    ----------
    session : Session
    feeds : sequence of (int, mapping)
        Batch size and inputs; most calls are of the first size.
    clock : callable
    case : Case
        ``params`` has ``calls`` and ``max_seconds``: fewer calls where those would take longer; and
        ``pairs``, those of `computed`.

    Returns
    -------
    Samples
        What `loop.facts` makes, and ``varied_ns``, int64, one entry a call in order of time. ``inputs``,
        int64: inputs, and those that were changed by a call. What `computed` measured, as ``…_ns``, and
        ``reread``, int64: its answers.
    """
    given = [{name: x.copy() for name, x in inputs.items()} for _, inputs in feeds]
    times_ns = []
    for _ in range(3):
        start = clock()
        session.run(feeds[0][1])
        times_ns.append(clock() - start)
    # A slow model is called with fewer inputs, so that the warm-up takes no longer than the calls that count.
    # The first call of a session may take seconds, and the process may lose its core in one of the others.
    room = int(case.params["max_seconds"] * 1e9 / (WARM_UP_ROUNDS * max(1, min(times_ns))))
    feeds, given = feeds[: max(1, room)], given[: max(1, room)]
    answers = [Answers(session.run(inputs)) for _, inputs in feeds]
    for _ in range(WARM_UP_ROUNDS - 1):
        for _, inputs in feeds:
            start = clock()
            session.run(inputs)
            times_ns.append(clock() - start)
    typical_ns = max(1, sorted(times_ns)[len(times_ns) // 4])  # the least disturbed ones
    n = max(1, min(case.params["calls"], int(case.params["max_seconds"] * 1e9 / typical_ns)))
    order = order_of([size for size, _ in feeds], n)
    turns = iter([feeds[index][1] for index in order])
    gc.collect()
    with Counters() as counters:
        watch = Watch(None, n, typical_ns, counters, Looks(answers, order))
        varied_ns, clocks = time_calls(lambda: session.run(next(turns)), clock, n, watch)
    place = Place(case.params["index"], feeds[0][0])
    samples = facts(place, answers, clocks, watch)
    # Bytes, because NaN is not equal to itself; text has none.
    changed = sum(
        any(x.dtype.kind not in "OUS" and x.tobytes() != inputs[name].tobytes() for name, x in was.items())
        for was, (_, inputs) in zip(given, feeds, strict=True)
    )
    arrays = {**samples.arrays, "varied_ns": varied_ns, "inputs": np.array([len(given), changed])}
    if (measured := computed(session, given[0], clock, case.params.get("pairs", 0))) is not None:
        arrays |= {f"{name}_ns": of for name, of in measured.times_ns.items()}
        arrays["reread"] = np.array(measured.answers)
    return Samples(arrays, samples.values)


def order_of(sizes: Sequence[int], n: int) -> list[int]:
    """Positions in `sizes` of `n` calls: those of the first size in turn, and of the others now and then."""
    usual = [index for index, size in enumerate(sizes) if size == sizes[0]]
    others = [index for index, size in enumerate(sizes) if size != sizes[0]]
    cycle = [usual[i % len(usual)] for i in range(BETWEEN)]
    order: list[int] = []
    while len(order) < n:
        order += cycle
        cycle = [usual[(usual.index(index) + BETWEEN) % len(usual)] for index in cycle]
        if others:
            order.append(others[0])
            others = others[1:] + others[:1]
    return order[:n]
