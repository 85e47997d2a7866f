"""Shifts of tables: errors of records, and other populations than that of the training data.

What a fault of one source does is the same for all samples: which columns it hits is drawn once, from the
number of columns alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.data.shifts.family import About, ChangeOne, Family, Kind, Values, one_by_one
from harness.data.shifts.features import spread

JENGA = "JENGA: Schelter, Rukat & Biessmann, EDBT 2021"


def columns_in_order_of_faults(count: int) -> NDArray[np.int64]:
    """Return the columns in the order in which faults hit them, the same for all samples."""
    order: NDArray[np.int64] = np.random.Generator(np.random.PCG64(0)).permutation(count)
    return order


def two_columns(about: About) -> str:
    """Why columns cannot change places."""
    if len(about.shape) != 1:
        return f"a sample of shape {about.shape} is no row of columns"
    return "" if about.shape[0] > 1 else "there is one column"


def _row(about: About) -> str:
    return "" if len(about.shape) == 1 else f"a sample of shape {about.shape} is no row of columns"


def _filled_missing(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    assert about.mean is not None
    share = (0.05, 0.1, 0.2, 0.35, 0.5)[severity - 1]
    return np.where(random.random(x.shape) < share, about.mean, x)


def _wrong_unit(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    if random.random() < (0.05, 0.1, 0.2, 0.35, 0.5)[severity - 1]:
        x[int(random.integers(len(x)))] *= 10.0 ** random.integers(1, 4)
    return x


def _swapped_columns(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    if random.random() < (0.05, 0.1, 0.2, 0.35, 0.5)[severity - 1]:
        one, other = random.permutation(len(x))[:2]
        x[[one, other]] = x[[other, one]]
    return x


def _stuck_columns(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    assert about.mean is not None
    count = math.ceil((0.05, 0.1, 0.2, 0.3, 0.4)[severity - 1] * len(x))
    stuck = columns_in_order_of_faults(len(x))[:count]
    x[stuck] = (about.mean + spread(about))[stuck]
    return x


def _covariate_shift(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    signs = np.where(columns_in_order_of_faults(len(x)) % 2, 1.0, -1.0)
    return x + (0.1, 0.25, 0.5, 0.75, 1.0)[severity - 1] * signs * spread(about)


def _family(
    change: ChangeOne, stands_for: str, source: str, loss_means: str, applies: Callable[[About], str] = _row
) -> Family:
    name = change.__name__.removeprefix("_")
    return Family(
        name, (Kind.TABLE,), one_by_one(change), stands_for, source, loss_means, applies=applies
    )  # fmt: skip


#: In the order in which they run.
TABLE_FAMILIES: tuple[Family, ...] = (
    _family(
        _filled_missing,
        "Missing values that are filled with the mean.",
        f"{JENGA}: missing values; Little & Rubin, Statistical Analysis with Missing Data",
        "The mean is no neutral value: train with filled values, or with a mark that they are missing.",
    ),
    _family(
        _wrong_unit,
        "A value that was entered in another unit: 10, 100 or 1,000 times too large.",
        f"{JENGA}: scaling",
        "Check the range of each column before the model.",
    ),
    _family(
        _swapped_columns,
        "Two values of a record that changed places.",
        f"{JENGA}: swapped columns",
        "Check the range of each column before the model.",
        two_columns,
    ),
    _family(
        _stuck_columns,
        "Sensors that give the same value for all samples.",
        "Ni et al., ACM Trans. Sensor Networks 2009: stuck-at fault",
        "Few columns decide: detect that one does not vary.",
    ),
    _family(
        _covariate_shift,
        "Another population: the mean of each column moves, in the same direction for all samples.",
        "Shimodaira, J. Stat. Planning and Inference 2000",
        "The model was fitted to one site or season: fit it to several, or weight the samples.",
    ),
)
