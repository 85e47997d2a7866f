"""A comparison side by side, for people, and its facts on disk."""

from __future__ import annotations

import io
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import write_atomically, writing
from harness.core.verdict import State
from harness.live import ARMS, METRICS, Live
from harness.report.gates import number_text
from harness.stats import side_by_side
from harness.stats.intervals import Interval

EXIT_CODES = {State.PASS: 0, State.FAIL: 1, State.INVALID: 3, State.INCONCLUSIVE: 4}


def text(live: Live) -> str:
    """Every percentile, what the machine makes of no difference, and the verdict's sentence."""
    if live.hopeless:
        return f"{live.state.value:<13}{sentence(live)}"
    question, look = live.question, live.looks[-1]
    n = len(live.times_ns["base"])
    lines = [
        f"base  {live.arms[0].label}   new  {live.arms[1].label}   "
        f"({question.variant}, {n} fresh processes a side, interleaved)",
        "",
        f"{'':<13}{'base':>10}{'new':>10}   ratio",
    ]
    for metric in METRICS:
        figures = {arm: live.figures(arm, metric) for arm in ARMS}
        base = np.concatenate([figures["base"], figures["control"]])
        decides = metric == question.metric
        ratio = look.ratio if decides else side_by_side.ratio(base, figures["new"])
        mean = [number_text(float(np.exp(np.log(part).mean())), "ns") for part in (base, figures["new"])]
        lines.append(f"{metric:<13}{mean[0]:>10}{mean[1]:>10}   {_ratio(ratio)}" + "  decides" * decides)
    lines += ["", f"the base against itself: {_ratio(look.control)}", ""]
    return "\n".join([*lines, f"{live.state.value:<13}{sentence(live)}"])


def sentence(live: Live) -> str:
    """The verdict in words."""
    question = live.question
    if live.hopeless:
        aside, kept = len(live.disturbed), sum(map(len, live.times_ns.values()))
        return (
            f"{question.metric} of {live.arms[1].label} against {live.arms[0].label} is not to be believed: "
            f"{aside} processes were disturbed and {kept} were not; {live.disturbed[-1]}"
        )
    look = live.looks[-1]
    said = (
        f"{question.metric} of {live.arms[1].label} against {live.arms[0].label} is {_ratio(look.ratio)}, "
        f"limit {question.limit:g}x, {len(live.times_ns['base'])} processes a side"
    )
    said += f" ({len(live.disturbed)} disturbed ones set aside)" * bool(live.disturbed)
    if look.state is State.INCONCLUSIVE:
        return f"{said}: undecided, {look.why}; more time may decide it: --decide-within"
    return said


def _ratio(interval: Interval) -> str:
    return f"{interval.value:.3f}x [{interval.low:.3f}x, {interval.high:.3f}x]"


def write(live: Live, results: Path) -> Path:
    """Keep the facts: every time of every process, and each look; the folder."""
    now = datetime.now(UTC)
    folder = results / "live" / f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    question = live.question
    facts: dict[str, Any] = {
        "schema_version": 1,
        "created_utc": now.isoformat(timespec="seconds"),
        "metric": question.metric, "limit": question.limit, "variant": question.variant,
        "state": live.state.value, "sentence": sentence(live), "seconds": round(live.seconds, 3),
        "disturbed": live.disturbed,
        "sides": {
            name: {
                "label": arm.label, "target": arm.batch.target, "backend": arm.batch.backend,
                "artifact_sha256": arm.batch.artifact.sha256, "effective": dict(live.effective[name]),
            }
            for name, arm in zip(("base", "new"), live.arms, strict=True)
        },
        "looks": [
            {
                "ratio": [look.ratio.value, look.ratio.low, look.ratio.high],
                "control": [look.control.value, look.control.low, look.control.high],
                "processes": look.ratio.n, "state": look.state.value, "why": look.why,
            }
            for look in live.looks
        ],
    }  # fmt: skip
    stream = io.BytesIO()
    arrays = {f"{arm}_{index}": times for arm in ARMS for index, times in enumerate(live.times_ns[arm])}
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    with writing(folder):
        write_atomically(folder / "samples.npz", stream.getvalue())
        write_atomically(folder / "live.json", json.dumps(facts, indent=1, sort_keys=True).encode())
    return folder
