"""Facts of calls → rows: is each one computed when it returns, and what does it leave behind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Reason
from harness.core.job import Samples
from harness.core.measurement import Measurement
from suites.performance.computed import ratio_at_least
from suites.performance.steadiness import bare, row, skipped

#: Each metric, the times whose ratio it is, and what it means.
RATIOS = {
    "new_input_ratio_at_least": (
        "new",
        "repeated",
        "a new input takes {:.3g} times as long as a repeated one",
    ),
    "late_ratio_at_least": ("read", "new", "reading the outputs takes {:.3g} times as long as the call"),
    "bound_ratio_at_least": ("new", "bound", "the bound call is {:.3g} times as fast as a new call of run"),
}
#: Handles that stay after calls: the metric, and the column of the readings.
HANDLES = {"descriptor_growth_at_least": 3, "thread_growth_at_least": 4}
#: Readings that are left out as a warm-up, as a share, and the growth that counts in each half of the others.
WARM_UP_SHARE, LEAST_GROWTH = 0.2, 2


def call_rows(samples: Samples, emulated: Reason | None) -> list[Measurement]:
    """Rows of the case `varied`; none for a run that did not measure these."""
    if "inputs" not in samples.arrays:
        return []
    inputs, changed = np.atleast_2d(samples.arrays["inputs"].reshape(-1, 2)).sum(axis=0).tolist()
    text = f"{changed} of {inputs} inputs are others after thousands of calls"
    return [
        row("timed_inputs_changed", "1", bare(changed, inputs), note=text),
        *_computed_rows(samples, emulated),
        *_handle_rows(samples),
    ]


def _computed_rows(samples: Samples, emulated: Reason | None) -> list[Measurement]:
    a = samples.arrays
    if "reread" not in a:
        why = "no input holds float32 numbers: no new content can be made"
        return [skipped(name, "1", why) for name in ("reused_buffer_wrong", *RATIOS)]
    looked, wrong = a["reread"].reshape(-1, 2).sum(axis=0).tolist()
    text = f"{wrong} of {looked} answers to a buffer that was written anew"
    rows = [row("reused_buffer_wrong", "1", bare(wrong, looked), note=text)]
    for name, (more, less, meaning) in RATIOS.items():
        if f"{less}_ns" not in a:
            rows.append(row(name, "1", bare(0.0, 0), invalid=emulated, note="the session has no bound call"))
            continue
        added = a["copied_ns"] if more == "read" else None
        overall, at_least = ratio_at_least(a[f"{more}_ns"], a[f"{less}_ns"], added)
        n = len(a[f"{less}_ns"])
        rows.append(row(name, "1", bare(at_least, n), invalid=emulated, note=meaning.format(overall)))
    return rows


def _handle_rows(samples: Samples) -> list[Measurement]:
    table = samples.arrays["handles"]
    if (table[:, 3:] < 0).any():
        return [skipped(name, "1", "there is no /proc to count in") for name in HANDLES]
    rows = []
    for name, column in HANDLES.items():
        growths = [
            _steady(table[table[:, 0] == process][:, [2, column]]) for process in np.unique(table[:, 0])
        ]
        calls = int(table[:, 2].max(initial=0))
        rows.append(
            row(name, "1", bare(min(growths, default=0.0), calls), note=f"a call, in {calls:,} calls")
        )
    return rows


def _steady(readings: NDArray[np.int64]) -> float:
    """More a call, in each half of the calls after the warm-up; 0 where one half has no growth."""
    after = readings[int(WARM_UP_SHARE * len(readings)) :]
    if len(after) < 3:
        return 0.0
    half = len(after) // 2
    parts = ((after[0], after[half]), (after[half], after[-1]))
    if any(end[1] - begin[1] < LEAST_GROWTH for begin, end in parts):
        return 0.0
    return min(float((end[1] - begin[1]) / max(1, end[0] - begin[0])) for begin, end in parts)
