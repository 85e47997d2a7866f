"""What is left of a soak that was interrupted, and what one that runs shows so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.core.job import Case, Samples
from suites.reliability.soak_rows import duration, trend_of
from suites.reliability.soak_slices import Slices


def rest(case: Case, parts: Samples) -> Case:
    """The case with the time that is left."""
    done_s = float(Slices.read(parts)["elapsed_ns"].sum()) / 1e9 if "slices" in parts.arrays else 0.0
    left_s = case.params["seconds"] - done_s
    left_s = left_s if left_s >= case.params["slice_s"] / 2 else 0.0
    deadline_s = case.deadline_s - case.params["seconds"] + left_s
    return replace(case, params={**case.params, "seconds": left_s}, typical_s=left_s, deadline_s=deadline_s)


def progress(case: Case, parts: Samples) -> Sequence[str]:
    """A line a metric, and the time left."""
    s = Slices.read(parts)
    left_s = max(0.0, case.params["seconds"] - float(s["elapsed_ns"].sum()) / 1e9)
    lines = [
        f"{duration(left_s)} left of {duration(case.params['seconds'])}; {s['calls'].sum():,.0f} calls, "
        f"{s['errors'].sum():.0f} errors, {s['wrong'].sum():.0f} wrong answers"
    ]
    shown: tuple[tuple[str, str, float, str, bool], ...] = (
        ("latency p50", "p50_ns", 1e-6, "ms", True), ("latency p99", "p99_ns", 1e-6, "ms", True),
        ("memory", "rss_byte_after", 1e-6, "MB", False), ("clock", "clock_hz", 1e-9, "GHz", True),
        ("temperature", "temperature_celsius", 1.0, "C", False),
    )  # fmt: skip
    for title, column, factor, unit, relative in shown:
        values = s[column]
        if not np.isfinite(values[-1]):
            continue
        trend = trend_of(s, values, 0.05, relative=relative)
        scale, per_hour = (1.0, "%/h") if relative else (factor, f"{unit}/h")
        text = f"{title:<12} {factor * float(values[-1]):.4g} {unit}"
        if math.isfinite(trend.value):
            text += f"  {_signed(scale * trend.value)} {per_hour}"
            text += f" [{_signed(scale * trend.low)}, {_signed(scale * trend.high)}]"
        lines.append(text)
    return lines


def _signed(value: float) -> str:
    return f"{value:+.3g}"
