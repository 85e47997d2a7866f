"""Growth with every reload: slopes that a single jump does not move, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise

#: What grows: array, metric, unit, and the points that its slope needs. Memory varies, counts do not.
COUNTED = (
    ("memory_byte", "reload_memory_growth", "byte", 5),
    ("descriptors", "reload_descriptor_growth", "1", 2),
    ("threads", "reload_thread_growth", "1", 2),
    ("files", "reload_file_growth", "1", 2),
)
# They have no direction: checks judge them. What an allocator keeps differs from run to run by more than the
# interval says, and few reloads give a count by chance.
METRICS: Mapping[str, Metric] = {name: Metric(unit, noise=Noise.RUNS) for _, name, unit, _ in COUNTED}
#: The first reloads fill caches: a quarter of them, and at least so many, are left out.
WARM_UP_SHARE, WARM_UP = 0.25, 2


def rows(arrays: Mapping[str, NDArray[Any]], file_byte: int, *, emulated: bool) -> list[Measurement]:
    """Make a row of each slope: what is more after each reload.

    Parameters
    ----------
    arrays : mapping of name to ndarray, shape (n,)
        After each reload.
    file_byte : int
        Size of the model file, for the note.
    emulated : bool
        The memory of the process is that of an emulator.
    """
    n = len(arrays["memory_byte"])
    warm_up = max(WARM_UP, int(n * WARM_UP_SHARE))
    measurements = []
    for array, name, unit, fewest in COUNTED:
        if array not in arrays:  # runs from before did not count files
            continue
        if emulated and unit == "byte":
            text = "emulated memory: the emulator's own memory is in the figure"
            measurements.append(_without(name, unit, Status.INVALID, Cause.EMULATED_MEMORY, text))
            continue
        if n - warm_up < fewest:
            text = f"{n} reloads in the planned time, {WARM_UP + fewest} are needed: raise reload_seconds"
            measurements.append(_without(name, unit, Status.SKIPPED, Cause.TOO_FEW_SAMPLES, text))
            continue
        slope, low, high = theil_sen(arrays[array][warm_up:])
        note = f"a reload, over {n - warm_up} after {warm_up} to warm up"
        if unit == "byte":
            note += f"; the file has {file_byte} bytes"
            measurements.append(Measurement(name, unit, slope, low, high, n - warm_up, reason=note))
        else:
            measurements.append(Measurement(name, unit, slope, n=n - warm_up, reason=note))
    return measurements


def _without(name: str, unit: str, status: Status, cause: Cause, text: str) -> Measurement:
    return Measurement(name, unit, float("nan"), status=status, reason=text, cause=cause)


def theil_sen(values: NDArray[Any]) -> tuple[float, float, float]:
    """Median of the slopes between all pairs of points, with Sen's interval at one-sided 5 % each side.

    Sen 1968, "Estimates of the regression coefficient based on Kendall's tau".
    """
    from scipy.stats import theilslopes

    y = np.asarray(values, np.float64)
    slope, _, low, high = theilslopes(y, np.arange(len(y)), alpha=0.9)
    return float(slope), float(low), float(high)
