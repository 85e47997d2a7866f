"""Facts of a soak → rows: failures, latency, growth, stalls, memory, sensors of the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from harness.core.cause import Cause, Reason
from harness.core.job import Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise
from harness.stats import soak
from harness.stats.intervals import Interval, clopper_pearson
from suites.reliability.soak_slices import HOUR_NS, Slices, Values

CLOCK = Reason(Cause.EMULATED_CLOCK, "emulated clock: a time measured there says nothing of the device")
MEMORY = Reason(Cause.EMULATED_MEMORY, "emulated memory: the emulator's own memory is in the figure")
#: A call stalls if it takes longer than so many typical ones, and than one by so much.
FACTOR, LEAST_NS = 10, 1_000_000
PRESSURES = ("cpu", "memory", "io")
#: Bits of a Raspberry Pi's firmware that say that it is throttled now.
THROTTLED_NOW = 0b1110

_metric = partial(Metric, noise=Noise.RUNS, case="soak")
METRICS: Mapping[str, Metric] = {
    "soak_errors": _metric("1", "lower"),
    "soak_error_share": _metric("1", "lower"),
    "soak_wrong_answers": _metric("1", "lower"),
    "soak_wrong_share": _metric("1", "lower"),
    "soak_latency_p50": _metric("ns", "lower"),
    "soak_latency_p99": _metric("ns", "lower"),
    "soak_latency_p50_trend": _metric("%/h", 0.0),
    "soak_latency_p99_trend": _metric("%/h", 0.0),
    "soak_level_changes": _metric("1", "lower"),
    # A check judges the lower bounds, which depend on how long the soak was.
    "soak_uptime_growth": _metric("1"),
    "soak_uptime_growth_at_least": _metric("1"),
    "soak_time_growth": _metric("1"),
    "soak_stalls_at_least": _metric("1"),
    "soak_memory": _metric("byte", "lower"),
    "soak_memory_trend": _metric("byte/h", 0.0),
    "soak_memory_growth": _metric("byte"),
    "soak_memory_growth_at_least": _metric("byte"),
    "soak_descriptor_growth_at_least": _metric("1"),
    "soak_thread_growth_at_least": _metric("1"),
    "soak_clock_trend": _metric("%/h", 0.0),
    "soak_temperature": _metric("C", "lower"),
    "soak_temperature_trend": _metric("K/h", 0.0),
    "soak_throttled_share": _metric("1", "lower"),
    **{f"soak_pressure_{what}": _metric("1", "lower") for what in PRESSURES},
    "soak_time": _metric("ns", "higher"),
}


def rows(samples: Samples, alpha: float, *, emulated: bool) -> list[Measurement]:
    """Make every row of a soak."""
    if "slices" not in samples.arrays or not len(samples.arrays["slices"]):
        return [_skipped("soak_time", "ns", "no slice was measured", Cause.TOO_FEW_SAMPLES)]
    s = Slices.read(samples)
    clock, memory = (CLOCK, MEMORY) if emulated else (None, None)
    return [
        _time_row(s, clock),
        *_answer_rows(s, alpha),
        *_latency_rows(s, clock, alpha),
        *_growth_rows(s, clock, alpha),
        _stall_row(s, clock, alpha),
        *_memory_rows(s, memory, alpha),
        *_count_rows(s),
        *_machine_rows(s, clock, alpha),
    ]


def _time_row(s: Slices, invalid: Reason | None) -> Measurement:
    seconds, processes = float(s["elapsed_ns"].sum()) / 1e9, len(s.processes)
    note = f"{len(s)} slices, {s['calls'].sum():,.0f} calls"
    if processes > 1:
        gaps = ", ".join(f"{gap:.0f} s" for gap in s.gaps_s)
        note += f", in {processes} processes, with gaps of {gaps} between them"
    return _row("soak_time", "ns", _bare(1e9 * seconds, len(s)), invalid, note)


def _answer_rows(s: Slices, alpha: float) -> list[Measurement]:
    calls, errors = int(s["calls"].sum() + s["opens"].sum()), int(s["errors"].sum())
    looked, wrong = int(s["looked"].sum()), int(s["wrong"].sum())
    firsts = len(np.unique(s.samples.arrays["golden"]))
    error_share = clopper_pearson(min(errors, calls), calls, alpha=alpha)
    texts = "; ".join(map(str, s.samples.values.get("errors", ())))
    failed = (
        f"{errors:,} of {calls:,} calls and opened sessions failed: {texts}"
        if errors
        else _none("error", calls, error_share, "fails")
    )
    wrong_share = clopper_pearson(min(wrong, looked), max(1, looked), alpha=alpha)
    said = _wrong_text(s, wrong, looked) if wrong else _none("wrong answer", looked, wrong_share, "is wrong")
    if firsts > 1:
        wrong += firsts - 1
        said = f"the first answers of {firsts} processes differ; {said}"
    return [
        _row("soak_errors", "1", _bare(errors, calls), None, failed),
        _row("soak_error_share", "1", error_share, None, failed),
        _row("soak_wrong_answers", "1", _bare(wrong, looked), None, said),
        _row("soak_wrong_share", "1", wrong_share, None, said),
    ]


def _none(what: str, n: int, share: Interval, verb: str) -> str:
    """What `n` tries without a failure prove."""
    return f"no {what} in {n:,}: at most one in {1 / max(share.high, 1e-300):,.0f} {verb} (95 %)"


def _wrong_text(s: Slices, wrong: int, looked: int) -> str:
    calls = s.samples.arrays["wrong_calls"][:, 2].tolist()
    where = ", ".join(f"{call + 1:,}" for call in calls[:3])
    return f"{wrong:,} of {looked:,} answers that were compared are wrong, as in calls {where}"


def _latency_rows(s: Slices, invalid: Reason | None, alpha: float) -> list[Measurement]:
    made = []
    for name in ("p50", "p99"):
        values = s[f"{name}_ns"]
        low, high = np.quantile(values, (0.05, 0.95))
        note = "median of the slices; nine in ten of them lie in the interval"
        typical = Interval(float(np.median(values)), float(low), float(high), len(s))
        made.append(_row(f"soak_latency_{name}", "ns", typical, invalid, note))
        made.append(_trend(s, f"soak_latency_{name}_trend", "%/h", values, invalid, alpha, relative=True))
    changes = soak.level_changes(np.log(np.maximum(1.0, s["p50_ns"])))
    texts = [
        f"{math.expm1(one.after - one.before):+.0%} after {duration(3600 * float(s.hours[one.at]))}"
        for one in changes
    ]
    made.append(
        _row("soak_level_changes", "1", _bare(len(changes), len(s)), invalid,
             "of the median latency: " + (", ".join(texts) or "none"))
    )  # fmt: skip
    return made


def _growth_rows(s: Slices, invalid: Reason | None, alpha: float) -> list[Measurement]:
    ratio, uptime = s["old_ns"] / s["fresh_ns"], s["uptime_ns"] / HOUR_NS
    with_uptime, _ = soak.growth(s.by_process(uptime, ratio), alpha=alpha)
    with_time, _ = soak.growth(s.by_process(s.hours, s["fresh_ns"]), alpha=alpha)
    one = s.longest()
    _, at_least = soak.growth([(uptime[one], ratio[one])], alpha=alpha)
    names = ("soak_uptime_growth", "soak_uptime_growth_at_least", "soak_time_growth")
    if invalid is None and not math.isfinite(with_uptime.value):
        return [_too_few(name, "1", with_uptime.n, "comparisons with a fresh session") for name in names]
    note = (
        f"a session's calls take {with_uptime.value:+.1%} longer at its end, beside a fresh session; "
        f"those of fresh sessions {with_time.value:+.1%}"
    )
    if at_least > 0:
        note += f"; with uptime at least {at_least:+.1%}"
    return [
        _row(names[0], "1", with_uptime, invalid, note),
        _row(names[1], "1", _bare(at_least, with_uptime.n), invalid, note),
        _row(names[2], "1", with_time, invalid, note),
    ]


def _stall_row(s: Slices, invalid: Reason | None, alpha: float) -> Measurement:
    slow = s.samples.arrays["slow_calls"]
    place = dict(zip(dict.fromkeys(s["process"].tolist()), s.processes, strict=True))
    unexplained, longest_ns = np.zeros(len(s)), 0
    for process, number, _, elapsed_ns, waited_ns, steal_ns, faults in slow.tolist():
        part = place.get(float(process))
        if part is None or not 0 <= number < len(part):
            continue  # of a slice that was lost
        at = int(part[number])
        limit_ns = max(FACTOR * s["p50_ns"][at], s["p50_ns"][at] + LEAST_NS)
        if faults <= 0 and max(0, waited_ns) + max(0, steal_ns) < elapsed_ns - limit_ns:
            unexplained[at] += 1
            longest_ns = max(longest_ns, elapsed_ns)
    at_least = soak.proved_stalls(unexplained, s["calls"], alpha=alpha)
    count, calls = int(unexplained.sum()), float(s["calls"].sum())
    note = f"{int(s['slow'].sum()):,} slow calls in {calls:,.0f}"
    if count:
        note += (
            f"; {count:,} of them stalled for longer than the machine kept the process from running, for up "
            f"to {longest_ns / 1e6:.3g} ms, about one in {calls / count:,.0f} calls"
        )
    return _row("soak_stalls_at_least", "1", _bare(at_least, int(calls)), invalid, note)


def _memory_rows(s: Slices, invalid: Reason | None, alpha: float) -> list[Measurement]:
    names = ("soak_memory", "soak_memory_trend", "soak_memory_growth", "soak_memory_growth_at_least")
    units = ("byte", "byte/h", "byte", "byte")
    memory = s["rss_byte_after"]
    if not np.isfinite(memory).any():
        return [_absent(s, name, unit, "rss_byte") for name, unit in zip(names, units, strict=True)]
    there = np.flatnonzero(np.isfinite(memory))
    one = s.longest()
    calls = np.cumsum(s["calls"])
    by_calls = np.cumsum(np.nan_to_num(memory - s["rss_byte"]))
    by_calls[~np.isfinite(memory)] = np.nan
    at_least = soak.proved_byte(calls[one], memory[one], by_calls[one])
    per_call = soak.trend(s.by_process(calls, memory), alpha=alpha)
    pss = s["pss_byte_after"]
    note = "resident, at the end" + _vanished(s, "rss_byte")
    note += f"; {float(pss[-1]) / 1e6:.1f} MB are its share (PSS)" if np.isfinite(pss[-1]) else ""
    made = [_row(names[0], units[0], _bare(float(memory[there[-1]]), len(there)), invalid, note)]
    made.append(_trend(s, names[1], units[1], memory, invalid, alpha, sensor="rss_byte"))
    if invalid is None and not (math.isfinite(per_call.value) and math.isfinite(at_least)):
        return made + [_too_few(name, "byte", len(there), "readings of the memory") for name in names[2:]]
    text = f"memory grows by {at_least:.3g} bytes a call at least" if at_least > 0 else "no growth is proved"
    text += f" in {calls[-1]:,.0f} calls"
    if at_least <= 0:
        least_byte = soak.by_chance_byte(calls[one], memory[one])
        text += f"; a leak of less than {least_byte:,.0f} bytes a call would take a longer --duration"
    return [
        *made,
        _row(names[2], "byte", per_call, invalid, text),
        _row(names[3], "byte", _bare(at_least, int(calls[-1])), invalid, text),
    ]


def _count_rows(s: Slices) -> list[Measurement]:
    made = []
    for what, sensor in (("descriptor", "descriptors"), ("thread", "threads")):
        name = f"soak_{what}_growth_at_least"
        before, after = s[sensor], s[f"{sensor}_after"]
        if not np.isfinite(after).any():
            made.append(_absent(s, name, "1", sensor))
            continue
        one = s.longest()
        by_calls = soak.proved_count((after - before)[one], s["calls"][one])
        # What was there before a session was opened is what the slice before left.
        opened = (before[one][1:] - after[one][:-1], s["opens"][one][1:])
        by_opens = soak.proved_count(*opened)
        noun = "open files" if what == "descriptor" else "threads"
        if by_opens > 0:
            note = f"each session that is opened leaves {by_opens:.3g} {noun} behind"
        elif by_calls > 0:
            note = f"each call leaves {by_calls:.3g} {noun} behind"
        else:
            note = f"no growth: {after[np.isfinite(after)][-1]:.0f} {noun} at the end"
        value = max(by_opens, by_calls)
        n = int(s["opens"].sum())
        made.append(_row(name, "1", _bare(value, n), None, note + _vanished(s, sensor)))
    return made


def _machine_rows(s: Slices, invalid: Reason | None, alpha: float) -> list[Measurement]:
    made = [_sensor_trend(s, "soak_clock_trend", "%/h", "clock_hz", invalid, alpha, relative=True)]
    celsius = s["temperature_celsius"]
    if np.isfinite(celsius).any():
        note = "the highest of all zones and slices" + _vanished(s, "temperature_celsius")
        made.append(_row("soak_temperature", "C", _bare(float(np.nanmax(celsius)), len(s)), invalid, note))
    else:
        made.append(_absent(s, "soak_temperature", "C", "temperature_celsius"))
    made.append(_sensor_trend(s, "soak_temperature_trend", "K/h", "temperature_celsius", invalid, alpha))
    made.append(_throttled_row(s, invalid))
    for what in PRESSURES:
        name, sensor = f"soak_pressure_{what}", f"pressure_{what}_ns"
        waited = np.concatenate([np.diff(s[sensor][part]) for part in s.processes])
        seconds = np.concatenate([np.diff(s["uptime_ns"][part]) for part in s.processes])
        if not np.isfinite(s[sensor]).any():
            made.append(_absent(s, name, "1", sensor))
            continue
        there = np.isfinite(waited) & (seconds > 0)
        if not there.any():
            made.append(_too_few(name, "1", 1, "readings"))
            continue
        # Both clocks are read one after the other.
        share = min(1.0, float(waited[there].sum() / seconds[there].sum()))
        note = f"share of the time in which some task of the machine waited for {what}" + _vanished(s, sensor)
        made.append(_row(name, "1", _bare(share, int(there.sum())), invalid, note))
    return made


def _throttled_row(s: Slices, invalid: Reason | None) -> Measurement:
    name = "soak_throttled_share"
    bits, counts = s["throttled_bits"], s["throttle_count"]
    if np.isfinite(bits).any():
        there = np.isfinite(bits)
        throttled = (bits[there].astype(np.int64) & THROTTLED_NOW) > 0
        note = "slices at whose end the board was throttled" + _vanished(s, "throttled_bits")
    elif np.isfinite(counts).any():
        more = np.concatenate([np.diff(counts[part]) for part in s.processes])
        throttled = more[np.isfinite(more)] > 0
        note = "slices in which a core was throttled" + _vanished(s, "throttle_count")
    else:
        return _absent(s, name, "1", "throttle_count")
    if not throttled.size:
        return _too_few(name, "1", 0, "readings")
    return _row(name, "1", _bare(float(throttled.mean()), throttled.size), invalid, note)


def _sensor_trend(
    s: Slices, name: str, unit: str, sensor: str, invalid: Reason | None, alpha: float, **how: bool
) -> Measurement:
    if not np.isfinite(s[sensor]).any():
        return _absent(s, name, unit, sensor)
    return _trend(s, name, unit, s[sensor], invalid, alpha, sensor=sensor, **how)


def _trend(
    s: Slices, name: str, unit: str, values: Values, invalid: Reason | None, alpha: float,
    *, relative: bool = False, sensor: str = "",
) -> Measurement:  # fmt: skip
    trend = trend_of(s, values, alpha, relative=relative)
    if not math.isfinite(trend.value) and invalid is None:
        return _too_few(name, unit, trend.n, "slices")
    return _row(name, unit, trend, invalid, _vanished(s, sensor).removeprefix("; ") if sensor else "")


def trend_of(s: Slices, values: Values, alpha: float, *, relative: bool) -> Interval:
    """The slope an hour; in percent of the median where it is relative."""
    scale = 100.0 / float(np.nanmedian(values)) if relative else 1.0
    trend = soak.trend(s.by_process(s.hours, values), alpha=alpha)
    return Interval(scale * trend.value, scale * trend.low, scale * trend.high, trend.n)


def _vanished(s: Slices, sensor: str) -> str:
    return f"; {why}" if (why := s.na(sensor)) else ""


def _absent(s: Slices, name: str, unit: str, sensor: str) -> Measurement:
    return _skipped(name, unit, s.na(sensor) or "it was not read", Cause.MISSING_ABILITY)


def _too_few(name: str, unit: str, n: int, what: str) -> Measurement:
    why = f"{n} {what}, a trend needs {soak.LEAST_POINTS}: give a longer --duration"
    return _skipped(name, unit, why, Cause.TOO_FEW_SAMPLES)


def _skipped(name: str, unit: str, why: str, cause: Cause) -> Measurement:
    return Measurement(name, unit, math.nan, status=Status.SKIPPED, reason=why, cause=cause)


def _bare(value: float, n: int) -> Interval:
    return Interval(float(value), math.nan, math.nan, n)


def _row(name: str, unit: str, trend: Interval, invalid: Reason | None, note: str) -> Measurement:
    return Measurement(
        name, unit, trend.value, trend.low, trend.high, trend.n,
        status=Status.INVALID if invalid else Status.OK,
        reason=invalid.text if invalid else note, cause=invalid.cause if invalid else Cause.UNSPECIFIED,
    )  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds // 60)} m {int(seconds % 60):02d} s"
