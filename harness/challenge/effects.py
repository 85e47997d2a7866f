"""The smallest effects that a set-up can see, from the rows of its healthy run. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.challenge.limits import Limit
from harness.core.job import Status
from harness.core.measurement import Row
from harness.core.metric import Declared, Role
from harness.stats import power
from harness.stats.difference import noise_factor
from harness.testing.faults import Fault

#: The planted faults that stand for the effects which are stated, and how the effect is called.
#: Unit of faults that occur once in so many calls.
CALLS = "calls"
WRONG_ANSWERS = "one-wrong-answer"
STATED = {
    "slower-10": ("latency", "latency +{:.2g} %", 100.0),
    "leak-per-call": ("leak", "a leak of {:,.0f} bytes a call", 1.0),
    "slow-load": ("load", "a load {:,.0f} ms longer", 1e3),
    "slow-first-call": ("first call", "a first call {:,.0f} ms longer", 1e3),
    "higher-peak": ("peak memory", "a peak {:,.0f} MB higher", 1e-6),
}
#: The units of a row and of a fault that a limit on the row looks for, and how much of the fault is 1 there.
SIZES = {("byte", "byte"): 1.0, ("ns", "s"): 1e9}
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


def smallest(
    rows: Sequence[Row], limits: Iterable[Limit], metrics: Declared, variant: str, faults: Mapping[str, Fault]
) -> list[Effect]:
    """What is seen of one variant: loss, slowdown, what grows, wrong answers.

    Parameters
    ----------
    rows : sequence of Row
        Of the healthy run.
    limits : iterable of Limit
    metrics : Declared
    variant : str
    faults : mapping of name to Fault
        The catalogue.
    """
    every = [row for row in rows if row.key.variant == variant]
    rows = [row for row in every if row.measurement.status is Status.OK]
    limits = [limit for limit in limits if limit.variant == variant and not limit.relaxed]
    sizes = smallest_sizes(every, limits, faults)
    return [
        *_loss(rows, metrics),
        *_compared(rows, limits, metrics),
        *(
            Effect(name, sizes[fault], faults[fault].unit, text.format(scale * sizes[fault]),
                   "the bound of the check, and what it is judged by in the run without a fault")
            for fault, (name, text, scale) in STATED.items()
            if fault in sizes
        ),
        *_wrong_answers(rows, limits),
    ]  # fmt: skip


def smallest_sizes(
    rows: Sequence[Row], limits: Iterable[Limit], faults: Mapping[str, Fault]
) -> dict[str, float]:
    """The smallest size of each planted fault that a check which declares it shows with 95 % power.

    Of faults whose size is measured by the row that the check looks at: seconds, bytes, a share of a ratio;
    of wrong answers in so many calls the largest number of calls, by the answers that are compared.

    Parameters
    ----------
    rows : sequence of Row
        Of one variant in the healthy run.
    limits : iterable of Limit
        Of that variant.
    faults : mapping of name to Fault
    """
    sizes: dict[str, float] = {}
    for limit in limits:
        for name in limit.faults:
            fault, most = faults.get(name), limit.gate.maximum
            if fault is not None and fault.unit == CALLS:
                if answers := _answers([limit], rows):
                    sizes[name] = max(1 / power.smallest_rate(answers), sizes.get(name, 0.0))
                continue
            if fault is None or most is None:
                continue
            for row in rows:
                if row.measurement.status is Status.OK and limit.gate.looks_at(row):
                    size = _smallest_size(row, rows, most, fault.unit)
                    if math.isfinite(size):
                        sizes[name] = min(size, sizes.get(name, math.inf))
    return sizes


def _smallest_size(row: Row, rows: Iterable[Row], most: float, unit: str) -> float:
    m = row.measurement
    is_ratio = (m.unit, unit) == ("1", "share") and most >= 1
    if not is_ratio and (m.unit, unit) not in SIZES:
        return math.nan
    spread = _with_interval(row, rows).measurement
    if is_ratio:
        return power.smallest_ratio_of_bound(m.value, spread.ci_low, spread.ci_high, most, m.n) - 1
    scale = SIZES[m.unit, unit]
    if spread is m:  # the whole interval has to be above the limit
        return power.smallest_slope(m.value, m.ci_low, m.ci_high, most) / scale
    return power.smallest_of_bound(m.value, spread.ci_low, spread.ci_high, most, m.n) / scale


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


def _compared(rows: Sequence[Row], limits: Iterable[Limit], metrics: Declared) -> Iterator[Effect]:
    """Times that a gate compares with an accepted run."""
    baselines = [limit.gate for limit in limits if limit.gate.baseline]
    for role, name in TIMED.items():
        row = _of_role(rows, metrics, role)
        if row is None or not any(gate.looks_at(row) for gate in baselines):
            continue
        m = row.measurement
        value = power.smallest_ratio(m.value, m.ci_low, m.ci_high, widen=noise_factor())
        if math.isfinite(value):
            how = "two runs, each with the spread of these processes"
            yield Effect(name, value, "x", f"{m.metric} {_more(value)} between two runs", how)


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


def is_below(fault: Fault, smallest: float) -> bool:
    """Whether a fault is smaller than the smallest that is seen; of one in so many calls, rarer."""
    return fault.size > smallest if fault.unit == CALLS else fault.size < smallest


def smallest_text(fault: Fault, smallest: float) -> str:
    """Say what is seen of such a fault."""
    if fault.unit == CALLS:
        return f"the rarest that is seen here with 95 % power is one in {smallest:,.0f} calls"
    return f"the smallest that is seen here with 95 % power is {smallest:.3g} {fault.unit}"


def _answers(limits: Iterable[Limit], rows: Sequence[Row]) -> int:
    """How many answers are compared where a wrong one is looked for."""
    counts = [
        row.measurement.n
        for limit in limits
        for row in rows
        if WRONG_ANSWERS in limit.faults and limit.gate.looks_at(row)
    ]
    return max(counts, default=0)


def _wrong_answers(rows: Sequence[Row], limits: Iterable[Limit]) -> Iterator[Effect]:
    most = _answers(limits, rows)
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
