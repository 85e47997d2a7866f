"""A comparison side by side, for people."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from harness.core.metric import TIMED
from harness.core.verdict import State
from harness.gates.judge import number_text
from harness.gates.timed import ratio_text
from harness.stats import side_by_side
from harness.timing import timing_files
from harness.timing.interleave import ARMS, Interleaved, figures

EXIT_CODES = {State.PASS: 0, State.FAIL: 1, State.INVALID: 3, State.INCONCLUSIVE: 4}


def text(live: Interleaved) -> str:
    """Every percentile, what the machine makes of no difference, and the verdict's sentence."""
    verdict = f"{live.state.value:<13}{timing_files.finding(live).sentence()}"
    if live.hopeless:
        return verdict
    look, n = live.looks[-1], len(live.times_ns["base"])
    lines = [
        f"base  {live.arms[0].label}   new  {live.arms[1].label}   "
        f"({live.arms[0].batch.variant}, {n} fresh processes a side, interleaved)",
        "",
        f"{'':<13}{'base':>10}{'new':>10}   ratio",
    ]
    for metric in TIMED:
        by_arm = {arm: figures(live.times_ns, arm, metric) for arm in ARMS}
        base = np.concatenate([by_arm["base"], by_arm["control"]])
        decides = metric == live.demand.metric
        ratio = look.ratio if decides else side_by_side.ratio(base, by_arm["new"])
        mean = [number_text(side_by_side.typical(part), "ns") for part in (base, by_arm["new"])]
        lines.append(f"{metric:<13}{mean[0]:>10}{mean[1]:>10}   {ratio_text(ratio)}" + "  decides" * decides)
    return "\n".join([*lines, "", f"the base against itself: {ratio_text(look.control)}", "", verdict])


def write(live: Interleaved, results: Path) -> Path:
    """Keep the facts of a comparison of its own; the folder."""
    now = datetime.now(UTC)
    folder = results / "live" / f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    timing_files.write(live, folder, created_utc=now.isoformat(timespec="seconds"))
    return folder
