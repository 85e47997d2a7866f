"""Samples of the deeper cases → rows. On the host."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause
from harness.core.job import Case, Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise
from harness.core.suite import SummaryContext
from harness.stats.intervals import clopper_pearson
from suites.reliability.deeper import concurrent
from suites.reliability.deeper.cases import SURROUNDINGS
from suites.reliability.deeper.surroundings import MEMORY
from suites.reliability.rounding import explained, over

#: What the rows of `concurrent` are called, by the prefix of their arrays.
AT_ONCE = {
    concurrent.SESSIONS: "sessions_at_once_max_over_rounding",
    concurrent.THREADS: "threads_at_once_max_over_rounding",
}
METRICS: Mapping[str, Metric] = {
    **{name: Metric("1", "lower", Noise.SAMPLE) for name in AT_ONCE.values()},
    "unusual_values_repeat": Metric("1", "higher"),
    "recovered_after_unusual_values": Metric("1", "higher"),
    "answer_in_surroundings": Metric("1", "higher"),
    "least_memory": Metric("byte", noise=Noise.RUNS),
    "answer_under_pressure": Metric("1", "higher"),
    "slower_under_pressure": Metric("1", noise=Noise.RUNS),
}


def concurrent_rows(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    """The largest difference from a call alone, over what rounding explains."""
    rows = []
    for prefix, metric in AT_ONCE.items():
        a = {
            name.removeprefix(f"{prefix}_"): y
            for name, y in samples.arrays.items()
            if name.startswith(f"{prefix}_")
        }
        if not a:
            rows.append(_skipped(metric, "1", samples.values["threads_na"]))
            continue
        rows.append(_over_rounding(metric, prefix, a, samples.values, context))
    return rows


def _over_rounding(
    metric: str,
    prefix: str,
    a: Mapping[str, NDArray[Any]],
    values: Mapping[str, Any],
    context: SummaryContext,
) -> Measurement:
    n, wrong = len(a["bit_equal"]), int((~a["bit_equal"]).sum())
    at_most = clopper_pearson(wrong, n).high
    note = f"{values['at_once']} {prefix} at once: {wrong} of {n} answers have other bits than a call alone"
    note += f", at most {at_most:.2g} of all with 95 %"
    if not wrong:
        return Measurement(metric, "1", 0.0, n=n, reason=note)
    bounds, precision = explained(context, values["precision"], values["storage"])
    if not bounds:
        return _skipped(metric, "1", f"{note}; no bound is known: {context.no_rounding}")
    ratios, limits = over(a["by_output"], values["outputs"], bounds)
    row, output = np.unravel_index(ratios.argmax(), ratios.shape)
    if ratios[row, output] > 0:
        note = (
            f"the output {values['outputs'][output]} differs by {a['by_output'][row, output]:.3g}, rounding "
            f"in {precision} explains {limits[output]:.3g}; {note}"
        )
    return Measurement(metric, "1", float(ratios.max()), n=n, reason=note)


def unusual_rows(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    """Shares of the kinds of values."""
    kinds = np.array(samples.values["kinds"])
    refused = samples.values["refused"]
    rows = []
    for array, metric in (
        ("repeated", "unusual_values_repeat"),
        ("recovered", "recovered_after_unusual_values"),
    ):
        good = samples.arrays[array]
        note = "; ".join(filter(None, (
            f"not with {', '.join(kinds[~good])}" if not good.all() else "",
            f"refused: {', '.join(refused)}" if refused else "",
        )))  # fmt: skip
        rows.append(Measurement(metric, "1", float(good.mean()), n=good.size, reason=note))
    return rows


def surroundings_rows(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    """By condition whether no wrong answer was given, and the least memory with which one was."""
    outcomes: Mapping[str, str] = samples.values["outcomes"]
    rows = [
        _outcome_row(f"{SURROUNDINGS}/{condition}", outcome)
        for condition, outcome in outcomes.items()
        if not condition.startswith(f"{MEMORY} ")
    ]
    ladder = {
        int(condition.removeprefix(f"{MEMORY} ")): outcome
        for condition, outcome in outcomes.items()
        if condition.startswith(f"{MEMORY} ")
    }
    ladder = dict(sorted(ladder.items()))
    worst = "wrong" if "wrong" in ladder.values() else "same"
    steps = ", ".join(f"{size / 2**20:g} MB: {outcome.partition(':')[0]}" for size, outcome in ladder.items())
    rows.append(_outcome_row(f"{SURROUNDINGS}/{MEMORY}", worst, steps))
    enough = [size for size, outcome in ladder.items() if outcome == "same"]
    if enough:
        note = f"beyond what the process has when it opens the model; {steps}"
        rows.append(Measurement("least_memory", "byte", float(min(enough)), n=len(ladder), reason=note))
    else:
        rows.append(_skipped("least_memory", "byte", f"no limit that was tried is enough: {steps}"))
    return rows


def _outcome_row(case: str, outcome: str, note: str = "") -> Measurement:
    metric = "answer_in_surroundings"
    if outcome.startswith("missing"):
        made = _skipped(metric, "1", outcome.partition(": ")[2])
    else:
        text = note or (outcome if outcome != "same" else "")
        made = Measurement(metric, "1", float(outcome != "wrong"), n=1, reason=text)
    return _of_case(made, case)


def pressure_rows(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    """By kind of pressure the share of right answers, and the median call over that of a quiet machine."""
    rows = []
    quiet_ns = float(np.median(samples.arrays["call_ns:quiet"]))
    for kind, stalled in samples.values["stalled"].items():
        if kind == "quiet":
            continue
        equal = samples.arrays[f"equal:{kind}"]
        waited = (
            f"tasks waited in {stalled['share']:.1%} of the time" if "share" in stalled else stalled["na"]
        )
        at_most = clopper_pearson(int((~equal).sum()), equal.size).high
        note = (
            f"{int((~equal).sum())} of {equal.size} wrong, at most {at_most:.2g} of all with 95 %; {waited}"
        )
        right = Measurement("answer_under_pressure", "1", float(equal.mean()), n=equal.size, reason=note)
        calls_ns = samples.arrays[f"call_ns:{kind}"]
        slower = Measurement(
            "slower_under_pressure",
            "1",
            float(np.median(calls_ns)) / quiet_ns,
            n=calls_ns.size,
            reason=waited,
        )
        rows += [_of_case(right, f"{case.name}/{kind}"), _of_case(slower, f"{case.name}/{kind}")]
    return rows


def _of_case(row: Measurement, case: str) -> Measurement:
    return replace(row, case=case)


def _skipped(metric: str, unit: str, reason: str) -> Measurement:
    return Measurement(
        metric, unit, math.nan, status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_ABILITY
    )
