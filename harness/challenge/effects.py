"""The smallest effects that a set-up can see, from the rows of its healthy run. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.challenge.limits import Limit
from harness.core.job import Status
from harness.core.measurement import Row
from harness.core.metric import Declared, Role
from harness.stats import power
from harness.stats.difference import noise_factor

#: The planted faults whose checks say how many answers are compared, and how exact a slope is.
WRONG_ANSWERS, LEAK = "one-wrong-answer", "leak-per-call"
TIMED = {Role.LATENCY: "typical latency", Role.TAIL: "slow latency"}


@dataclass(frozen=True, slots=True)
class Effect:
    """The smallest effect of one kind that is seen with 95 % power.

    Parameters
    ----------
    name : str
    value : float
        NaN where nothing is known.
    unit : str
        ``pt``, ``x``, ``1``, or that of the row.
    text : str
        For people.
    how : str
        From what it follows.
    """

    name: str
    value: float
    unit: str
    text: str
    how: str


def smallest(rows: Sequence[Row], limits: Iterable[Limit], metrics: Declared, variant: str) -> list[Effect]:
    """What is seen of one variant: loss, slowdown, leak, wrong answers.

    Parameters
    ----------
    rows : sequence of Row
        Of the healthy run.
    limits : iterable of Limit
    metrics : Declared
    variant : str
    """
    rows = [row for row in rows if row.key.variant == variant and row.measurement.status is Status.OK]
    limits = [limit for limit in limits if limit.variant == variant and not limit.relaxed]
    return [
        *_loss(rows, metrics),
        *_slowdown(rows, metrics),
        *_leak(rows, limits),
        *_wrong_answers(rows, limits),
    ]


def _of_role(rows: Iterable[Row], metrics: Declared, role: Role) -> Row | None:
    """The row of a role in the case that stands for the whole."""
    for row in rows:
        metric = metrics.find(row.key.suite, row.measurement.metric)
        if metric is not None and metric.role is role and row.case == metric.case:
            return row
    return None


def _loss(rows: Sequence[Row], metrics: Declared) -> Iterator[Effect]:
    loss = _of_role(rows, metrics, Role.LOSS)
    flips = [_of_role(rows, metrics, role) for role in (Role.HARMFUL, Role.BENEFICIAL)]
    if loss is None or not loss.measurement.n:
        return
    n = loss.measurement.n
    share = sum(row.measurement.value for row in flips if row is not None)
    value = 100 * power.smallest_loss(n, min(share, 1 - 1 / n))
    how = f"{n} pairs, of which {share:.2%} differ without it"
    yield Effect("lost accuracy", value, "pt", f"accuracy -{value:.2g} pt", how)


def _slowdown(rows: Sequence[Row], metrics: Declared) -> Iterator[Effect]:
    for role, name in TIMED.items():
        row = _of_role(rows, metrics, role)
        if row is None:
            continue
        m = row.measurement
        value = power.smallest_ratio(m.value, m.ci_low, m.ci_high, widen=noise_factor())
        if math.isfinite(value):
            how = "two runs, each with the spread of these processes"
            yield Effect(name, value, "x", f"{m.metric} {_more(value)}", how)


def _leak(rows: Sequence[Row], limits: Iterable[Limit]) -> Iterator[Effect]:
    values = []
    for limit in limits:
        most = limit.gate.maximum
        judged = [row for row in rows if LEAK in limit.faults and limit.gate.looks_at(row)]
        for row in judged if most is not None else ():
            slope = _with_interval(row, rows).measurement
            values.append(power.smallest_slope(slope.value, slope.ci_low, slope.ci_high, most or 0.0))
    value = min((value for value in values if math.isfinite(value)), default=math.nan)
    if math.isfinite(value):
        how = "the interval of the slope, and the limit"
        yield Effect("leak", value, "byte", f"a leak of {value:,.0f} bytes a call", how)


def _with_interval(row: Row, rows: Iterable[Row]) -> Row:
    """The row itself, or the one that it is a bound of: its name begins with that one's."""
    if math.isfinite(row.measurement.ci_low):
        return row
    for other in rows:
        m = other.measurement
        begins = row.measurement.metric.startswith(m.metric) and m.metric != row.measurement.metric
        if begins and (other.key, other.case) == (row.key, row.case) and math.isfinite(m.ci_low):
            return other
    return row


def _wrong_answers(rows: Sequence[Row], limits: Iterable[Limit]) -> Iterator[Effect]:
    counts = [
        row.measurement.n
        for limit in limits
        for row in rows
        if WRONG_ANSWERS in limit.faults and limit.gate.looks_at(row)
    ]
    most = max(counts, default=0)
    if most:
        rate = power.smallest_rate(most)
        yield Effect(
            "wrong answers", rate, "1", f"1 wrong answer in {1 / rate:,.0f}", f"{most} answers are compared"
        )


def _more(ratio: float) -> str:
    """How much more a ratio above 1 is."""
    if ratio >= 10:
        return f"{ratio:,.0f}x"
    return f"+{100 * (ratio - 1):.0f} %" if ratio >= 1.1 else f"+{100 * (ratio - 1):.1f} %"
