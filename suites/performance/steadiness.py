"""Facts of timed loops → rows: wrong answers, clocks, stalls, growth of latency and of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause, Reason
from harness.core.job import JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.stats import theil_sen
from harness.stats.intervals import Interval, clopper_pearson, over_processes
from harness.stats.latency import percentile
from harness.stats.stalls import Stalls, stalls

Integers = NDArray[np.int64]

#: Both clocks are read within microseconds, so loops of so much time compare them to a thousandth.
LEAST_CLOCK_NS = 20_000_000
#: The host's clock has the frames of start and result between it and the device's: so much is no difference,
#: and shorter cases show none.
FRAMES_NS, LEAST_HOST_NS = 300_000_000, 2_000_000_000
#: A process's times are divided into at most so many blocks of at least so many calls. Their lower quantiles
#: have the trend: a neighbour slows many calls, but hardly the fastest ones of every block.
BLOCKS, BLOCK_CALLS, QUANTILE = 60, 10, 0.1
#: Fewer calls of a process show no trend.
LEAST_CALLS = 120
#: Readings of memory that are left out as a warm-up, as a share; and the fewest that are left.
WARM_UP_SHARE, LEAST_READINGS = 0.2, 12
#: What an allocator may take once in a loop, by chance: so much, or so much of the process's memory. Healthy
#: loops of digits grew by up to 0.65 MB in all (ONNX Runtime), others by 0.02 MB.
ARENA_BYTE, ARENA_SHARE = 2_000_000, 0.01
#: A growth has to be seen in every part of a loop, of so many that overlap by half.
PARTS = 3


def answer_rows(samples: Samples, alpha: float) -> list[Measurement]:
    """Wrong answers of the calls of one case; none for a run that did not look at them."""
    if "answers" not in samples.arrays:
        return []
    if "answers_na" in samples.values:
        why = samples.values["answers_na"]
        return [skipped("timed_answers_wrong", "1", why), skipped("timed_answers_wrong_count", "1", why)]
    looked, wrong = (int(total) for total in samples.arrays["answers"][:, 2:].sum(axis=0))
    share = clopper_pearson(wrong, looked, alpha=alpha)
    text = _answers_text(samples, looked, wrong)
    return [
        row("timed_answers_wrong", "1", share, note=text),
        row("timed_answers_wrong_count", "1", bare(wrong, looked), note=text),
    ]


def _answers_text(samples: Samples, looked: int, wrong: int) -> str:
    if not wrong:
        return f"no wrong answer in {looked:,} calls"
    process, size, call = (int(value) for value in samples.arrays["wrong_calls"][0])
    largest = float(samples.arrays["wrong_difference"].max())
    where = f"call {call + 1:,}" if call >= 0 else "the first call"
    where += f" of process {process + 1}" if len(np.unique(samples.arrays["answers"][:, 0])) > 1 else ""
    where += f" at batch {size}" if len(np.unique(samples.arrays["answers"][:, 1])) > 1 else ""
    many = "1 wrong answer" if wrong == 1 else f"{wrong:,} wrong answers"
    return f"{many} in {looked:,} calls, the first in {where}; largest difference {largest:.3g}"


def clock_row(samples: Samples, emulated: Reason | None) -> list[Measurement]:
    """Time on the clock that times the calls, to the time on the raw monotonic clock.

    Other processes do not disturb it: both clocks are read within microseconds, or read again.
    """
    if "clocks" not in samples.arrays:
        return []
    elapsed = samples.arrays["clocks"][:, 2:]
    compared = elapsed[elapsed[:, 1] > 0]
    clock_ns, raw_ns, wall_ns = (int(total) for total in compared.sum(axis=0)) if len(compared) else (0, 0, 0)
    if emulated is None and raw_ns < LEAST_CLOCK_NS:
        why = f"{raw_ns / 1e6:.3g} ms are too short" if raw_ns else "there is no raw monotonic clock"
        return [skipped("clock_ratio", "1", f"no second clock to compare with: {why}")]
    ratio = clock_ns / raw_ns if raw_ns else math.nan
    wall = wall_ns / raw_ns if raw_ns else math.nan
    text = f"the clock of the calls ran {abs(1 - ratio):.3g} {'slow' if ratio < 1 else 'fast'}"
    text += f" against the raw monotonic clock, the wall clock {abs(1 - wall):.1g} off it"
    return [row("clock_ratio", "1", bare(ratio, len(compared)), invalid=emulated, note=text)]


def host_clock_row(result: JobResult, emulated: Reason | None) -> Measurement:
    """Time of the whole case on the device's clock, to the host's from its start to its result.

    What the frames may take on their way, either way, is no difference. Other processes make the case longer
    on both clocks.
    """
    if result.host_ns < LEAST_HOST_NS and emulated is None:
        seconds = result.host_ns / 1e9
        why = f"{seconds:.2g} s are too short" if result.host_ns else "the executor has not timed the case"
        return skipped("host_clock_ratio", "1", f"not compared with the host's clock: {why}")
    loops = result.samples.arrays.get("clocks")
    loops_ns = int(np.maximum(loops[:, 2], 0).sum()) if loops is not None else 0
    # Processes run one after the other: the timed loops are part of the case.
    device_ns = max(result.duration_ns, loops_ns)
    apart_ns = device_ns - result.host_ns
    beyond_ns = math.copysign(max(0, abs(apart_ns) - FRAMES_NS), apart_ns)
    text = f"the device counted {device_ns / 1e9:.3g} s, the host {result.host_ns / 1e9:.3g} s"
    ratio = 1 + beyond_ns / max(1, result.host_ns)
    return row("host_clock_ratio", "1", bare(ratio, 1), invalid=emulated, note=text)


def stall_rows(
    times: Sequence[Integers], samples: Samples, untimely: Reason | None, alpha: float
) -> list[Measurement]:
    """The slowest call, and calls that stalled."""
    n = sum(map(len, times))
    slowest = bare(max(int(part.max()) for part in times), n)
    rows = [row("latency_max", "ns", slowest, invalid=untimely)]
    if "slow_calls" not in samples.arrays:
        return rows
    slow = samples.arrays["slow_calls"]
    counted = stalls(times, [slow[slow[:, 0] == index][:, 2:] for index in range(len(times))], alpha=alpha)
    text = _stalls_text(counted, len(times))
    return [
        *rows,
        row("stall_share", "1", counted.share, invalid=untimely, note=text),
        row("stall_bursts", "1", bare(counted.bursts, n), invalid=untimely),
        proved("stalls_at_least", "1", bare(counted.unexplained_at_least, n), untimely, text),
    ]


def _stalls_text(counted: Stalls, processes: int) -> str:
    if not counted.count:
        return f"no stall in {counted.share.n:,} calls"
    many = f"{counted.count:,} of {counted.share.n:,} calls stalled"
    bursts = f"{counted.bursts:,} burst{'s' if counted.bursts > 1 else ''}"
    if not counted.unexplained:
        return f"{many}, in {bursts}, while the machine did not run the process"
    where = f"{counted.processes} of {processes} processes"
    return (
        f"{many}, in {bursts}, for up to {counted.longest_ns / 1e6:.3g} ms; {counted.unexplained:,} of them, "
        f"in {where}, for longer than the machine kept the process from running"
    )


def growth_rows(times: Sequence[Integers], untimely: Reason | None, alpha: float) -> list[Measurement]:
    """The latency's change from the first to the last third of a process, and from process to process."""
    fewest = min(map(len, times))
    if fewest < LEAST_CALLS and untimely is None:
        why = f"a process has {fewest} calls, and a trend needs {LEAST_CALLS}"
        return [skipped(name, "1", why) for name in ("latency_growth", "latency_growth_at_least")]
    ratios, bounds = [], []
    for part in times:
        third = max(1, len(part) // 3)
        ratios.append(np.median(part[-third:]) / max(1.0, np.median(part[:third])))
        blocks = min(BLOCKS, len(part) // BLOCK_CALLS)
        low = theil_sen.slope([theil_sen.block_quantiles(part, blocks, QUANTILE)], alpha=alpha).low
        # From the middle of the first third to that of the last one.
        bounds.append(low * (len(part) - third) / max(1.0, np.quantile(part[:third], QUANTILE)))
    ratio = over_processes(np.array(ratios), alpha=alpha)
    growth = Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1, len(times))
    at_least = min(bounds)
    text = f"{growth.value:+.1%} from the first to the last third of each process"
    text += f", at least {at_least:+.1%} in each of {len(times)}" if at_least > 0 else ""
    rows = [
        row("latency_growth", "1", growth, invalid=untimely, note=text),
        proved("latency_growth_at_least", "1", bare(at_least, len(times)), untimely, text, Cause.THROTTLING),
    ]
    typical = np.array([percentile(part, 0.5) for part in times], np.float64)
    if len(times) > 2:
        drift = theil_sen.slope([(np.arange(len(times), dtype=np.float64), typical)], alpha=alpha)
        scale = (len(times) - 1) / max(1.0, float(np.median(typical)))
        over_all = Interval(scale * drift.value, scale * drift.low, scale * drift.high, len(times))
        rows.append(row("latency_drift", "1", over_all, invalid=untimely))
    return rows


def memory_rows(samples: Samples, emulated: Reason | None, alpha: float) -> list[Measurement]:
    """Bytes by which the process's memory grows with a call."""
    if "memory" not in samples.arrays:
        return []
    table = samples.arrays["memory"].astype(np.float64)
    series = [_after_warm_up(table[table[:, 0] == process][:, 2:]) for process in np.unique(table[:, 0])]
    fewest = min(map(len, series), default=0)
    if emulated is None and fewest < LEAST_READINGS:
        why = f"a loop of few calls has {fewest} readings, a trend needs {LEAST_READINGS}"
        why = why if len(table) else "there is no /proc/self/statm"
        return [skipped(name, "byte", why) for name in ("memory_growth", "memory_growth_at_least")]
    growth = theil_sen.slope([(part[:, 0], part[:, 1]) for part in series], alpha=alpha)
    at_least = min(map(_proved_byte, series), default=math.nan)
    calls = int(sum(part[-1, 0] for part in series if len(part)))
    text = f"memory grows by {growth.value / 1e3:.3g} kB a call" if at_least > 0 else "no growth is proved"
    text += f" in {calls:,} calls"
    return [
        row("memory_growth", "byte", Interval(growth.value, growth.low, growth.high, calls), invalid=emulated,
            note=text),
        row("memory_growth_at_least", "byte", bare(at_least, calls), invalid=emulated, note=text),
    ]  # fmt: skip


def _after_warm_up(readings: NDArray[np.float64]) -> NDArray[np.float64]:
    return readings[math.ceil(WARM_UP_SHARE * len(readings)) :]


def _proved_byte(readings: NDArray[np.float64]) -> float:
    """Bytes a call that this loop proves: steady, and beyond what an allocator takes once; else below zero.

    How far below says what a leak has to be to be proved.
    """
    if len(np.unique(readings[:, 0])) < 2:
        return math.nan
    calls, memory_byte = readings[:, 0], readings[:, 1]
    arena_byte = max(ARENA_BYTE, ARENA_SHARE * float(memory_byte[-1]))
    steady = theil_sen.steady_slope(calls, memory_byte, PARTS)
    # Loops over several batch sizes lie one after the other, and each counts from zero.
    return steady - arena_byte / float(np.ptp(calls))


def proved(
    metric: str, unit: str, bound: Interval, untimely: Reason | None, text: str, *invalid: Cause
) -> Measurement:
    """A lower bound, which other processes make smaller and never larger: it is valid beside them.

    On an emulator, and with the causes `invalid`, it is not.
    """
    if untimely is not None and untimely.cause in (Cause.EMULATED_CLOCK, *invalid):
        return row(metric, unit, bound, invalid=untimely)
    return row(metric, unit, bound, note=f"{text}; {untimely.text}" if untimely is not None else text)


def bare(value: float, n: int) -> Interval:
    """A number without an interval."""
    return Interval(float(value), math.nan, math.nan, n)


def row(
    metric: str,
    unit: str,
    interval: Interval,
    *,
    n: int | None = None,
    invalid: Reason | None = None,
    note: str = "",
    case: str = "",
) -> Measurement:
    """Make a row: INVALID with its reason, else OK with a note on how it was measured."""
    return Measurement(
        metric,
        unit,
        interval.value,
        interval.low,
        interval.high,
        interval.n if n is None else n,
        status=Status.INVALID if invalid else Status.OK,
        reason=invalid.text if invalid else note,
        cause=invalid.cause if invalid else Cause.UNSPECIFIED,
        case=case,
    )


def skipped(metric: str, unit: str, why: str) -> Measurement:
    """Make a row that the device has no means for."""
    return Measurement(metric, unit, math.nan, status=Status.SKIPPED, reason=why, cause=Cause.MISSING_ABILITY)
