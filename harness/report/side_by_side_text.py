"""A side-by-side timing as text."""

from __future__ import annotations

import numpy as np

from harness.gates.number_text import number_text
from harness.gates.timed import ratio_text
from harness.run import declared
from harness.stats import side_by_side
from harness.timing import records
from harness.timing.interleave import SERIES, InterleavedTiming, percentiles


def text(timing: InterleavedTiming) -> str:
    """Every percentile of both sides, the ratio of the base to itself, and the verdict."""
    verdict = f"{timing.state.value:<13}{records.summary(timing).sentence()}"
    if timing.mostly_disturbed:
        return verdict
    look, processes = timing.looks[-1], len(timing.times_ns["base"])
    base, new = timing.sides
    lines = [
        f"base  {base.label}   new  {new.label}   "
        f"({base.batch.variant}, {processes} fresh processes a side, interleaved)",
        "",
        f"{'':<13}{'base':>10}{'new':>10}   ratio",
    ]
    for metric in declared.installed().timed():
        values_ns = {series: percentiles(timing.times_ns, series, metric.percentile) for series in SERIES}
        base_ns = np.concatenate([values_ns["base"], values_ns["control"]])
        decides = metric == timing.criterion.metric
        ratio = look.ratio if decides else side_by_side.ratio(base_ns, values_ns["new"])
        means = [number_text(side_by_side.typical(part), "ns") for part in (base_ns, values_ns["new"])]
        line = f"{metric.name:<13}{means[0]:>10}{means[1]:>10}   {ratio_text(ratio)}"
        lines.append(f"{line}  decides" if decides else line)
    return "\n".join([*lines, "", f"the base against itself: {ratio_text(look.control)}", "", verdict])
