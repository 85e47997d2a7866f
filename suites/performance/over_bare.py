"""A backend beside the runtime that it loads → rows: what it adds to a call, a load and the memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause, Reason
from harness.core.job import Samples
from harness.core.measurement import Measurement
from harness.stats.intervals import Interval
from suites.performance.bare import BATCH, Opened
from suites.performance.steadiness import bare, proved, row, skipped

#: Of the times of each side this quantile is compared: neighbours slow the fastest calls least.
QUANTILE = 0.1
#: A wrapper in Python takes so many empty calls: they count as the runtime's.
EMPTY_CALLS = 15
#: Of the load, the first call and the memory of the runtime alone so much counts: two openings of the same
#: file by the same code differ by this, and not by more in every process.
SPREAD = 1.25
LATENCY, BATCH_LATENCY, LOAD, FIRST_CALL, PEAK = "latency", "batch_latency", "load", "first_call", "peak"
UNITS = {LATENCY: "1", BATCH_LATENCY: "1", LOAD: "ns", FIRST_CALL: "ns", PEAK: "byte"}


def over_bare_rows(samples: Samples, file_byte: int, untimely: Reason | None) -> list[Measurement]:
    """Make ``…_over_bare`` with its range over processes, and ``…_over_bare_at_least``, the lowest of them.

    A backend that costs no more than the runtime is above it by chance in one process, and not in each.

    Parameters
    ----------
    samples : Samples
        Of one ``single_stream`` case.
    file_byte : int
        Size of the model: a backend may hold a copy of the file while it opens it.
    untimely : Reason, optional
        Why times say nothing.
    """
    arrays = samples.arrays
    if "bare_calls" not in arrays:
        why = samples.values.get("bare_na")
        if why is None:  # a run of an earlier version, or one that was told not to compare
            return []
        why = f"not compared with the runtime alone: {why}"
        return [skipped(f"{what}_over_bare{end}", unit, why) for what, unit in UNITS.items() for end in ENDS]
    rows = _of_calls(LATENCY, "", "a call", samples, untimely) + _of_calls(
        BATCH_LATENCY, "batch_", f"a call with {BATCH} rows", samples, untimely
    )
    ours, theirs = (
        {name: table[:, column] for column, name in enumerate(Opened._fields)}
        for table in (arrays["backend_opened"], arrays["bare_opened"])
    )
    for what, name, text in ((LOAD, "load", "opening the model"), (FIRST_CALL, "first", "the first call")):
        took_ns, alone_ns = ours[f"{name}_ns"], theirs[f"{name}_ns"]
        # What other programs took counts for the backend: all that its threads waited, and of the runtime's
        # time only what the thread that called did.
        waited_ns = theirs[f"{name}_waited_here_ns"]
        beyond_ns = took_ns - ours[f"{name}_waited_ns"] - SPREAD * (alone_ns - waited_ns)
        note = (
            f"{text} takes {np.median(took_ns) / 1e6:.3g} ms, and {np.median(alone_ns) / 1e6:.3g} ms in the "
        )
        rows += _rows(what, beyond_ns, untimely, note + "runtime alone")
    if min(ours["peak_byte"].min(), theirs["peak_byte"].min()) < 0:
        why = "the kernel does not reset the peak of a process's memory (/proc/self/clear_refs)"
        return rows + [skipped(f"{PEAK}_over_bare{end}", UNITS[PEAK], why) for end in ENDS]
    beyond_byte = ours["peak_byte"] - SPREAD * theirs["peak_byte"] - file_byte
    note = (
        f"opening the model and a call take {np.median(ours['peak_byte']) / 1e6:.3g} MB of memory, and "
        f"{np.median(theirs['peak_byte']) / 1e6:.3g} MB in the runtime alone"
    )
    emulated = untimely if untimely is not None and untimely.cause is Cause.EMULATED_CLOCK else None
    return rows + _rows(PEAK, beyond_byte, emulated, note)


ENDS = ("", "_at_least")


def _of_calls(
    what: str, infix: str, name: str, samples: Samples, untimely: Reason | None
) -> list[Measurement]:
    """Compare the times of one kind of calls."""
    arrays = samples.arrays
    if f"bare_{infix}calls" not in arrays:  # not in runs of earlier versions
        why = samples.values.get(f"bare_{infix}na", "")
        return [skipped(f"{what}_over_bare{end}", UNITS[what], why) for end in ENDS] if why else []
    parts = np.cumsum(arrays[f"bare_{infix}calls"])[:-1]
    backend, runtime = (
        np.array([np.quantile(times, QUANTILE) for times in np.split(arrays[f"{side}_{infix}ns"], parts)])
        for side in ("beside_bare", "bare")
    )
    allowed_ns = EMPTY_CALLS * arrays["bare_empty_ns"]
    return _rows(
        what, np.maximum(0, backend - allowed_ns) / np.maximum(1, runtime), untimely,
        f"{name} takes {np.median(backend) / 1e6:.4g} ms, and {np.median(runtime) / 1e6:.4g} ms in the "
        "runtime alone",
    )  # fmt: skip


def _rows(
    what: str, values: Sequence[float] | NDArray[np.float64], untimely: Reason | None, note: str
) -> list[Measurement]:
    """The median with its range, and the lowest."""
    name, unit, array = f"{what}_over_bare", UNITS[what], np.asarray(values, np.float64)
    low, middle, high = (float(value) for value in np.quantile(array, (0, 0.5, 1)))
    note += f", in {len(array)} processes"
    return [
        row(name, unit, Interval(middle, low, high, len(array)), invalid=untimely, note=note),
        proved(f"{name}_at_least", unit, bare(low, len(array)), untimely, note),
    ]
