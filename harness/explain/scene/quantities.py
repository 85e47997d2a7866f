"""Which numbers of the outputs have one scale: pixels of boxes and scores of classes have not.

One root mean square over both would be that of the larger numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.explain.layers.errors import compare, gaps

Real = NDArray[np.float64]
Places = NDArray[np.int64]
#: Columns are two quantities where, in the order of their sizes, one is so many times the next.
APART = 30.0
#: So many of the columns of an output are of the smaller quantity at least: fewer are columns that are hardly
#: used, such as a feature that is nearly always 0.
LEAST_SHARE = 1 / 8


def quantities(outputs: Sequence[Real]) -> list[Places]:
    """Places of the numbers of each quantity, among those of a sample; one entry where all have one scale.

    Parameters
    ----------
    outputs : sequence of ndarray, shape (n, …)
        Of the reference.
    """
    whole: list[tuple[float, Places]] = []
    parts: list[Places] = []
    begin = 0
    for y in outputs:
        places = begin + np.arange(int(np.prod(y.shape[1:]))).reshape(y.shape[1:])
        begin += places.size
        columns = _columns(y, places)
        if len(columns) > 1:
            parts += columns
        else:
            whole.append((_size(y), places.ravel()))
    whole.sort(key=lambda one: one[0])
    joined = [places for _, places in whole]
    for at in range(len(whole) - 1, 0, -1):
        if not 0 < whole[at - 1][0] < whole[at][0] / APART:
            joined[at - 1 : at + 1] = [np.concatenate(joined[at - 1 : at + 1])]
    return [*parts, *joined]


def relative(first: Real, second: Real, groups: Sequence[Places]) -> float:
    """Root mean square over the quantities of the difference relative to the first, shape (n, numbers)."""
    errors = [compare(first[:, places], second[:, places]).relative for places in groups]
    return float(np.sqrt(np.mean(np.square(errors))))


def weighted(like: Real, one: Real, two: Real, groups: Sequence[Places]) -> Real:
    """Absolute differences, shape (n, numbers), in which each quantity counts the same.

    Parameters
    ----------
    like : ndarray, shape (n, numbers)
        Of which the sizes are taken; one quantity is left as it is.
    """
    if len(groups) == 1:
        return gaps(one, two)
    apart = np.empty(one.shape)
    for places in groups:
        size = (_size(like[:, places]) or 1.0) * np.sqrt(places.size)
        apart[:, places] = gaps(one[:, places], two[:, places]) / size
    return apart


def _columns(y: Real, places: Places) -> list[Places]:
    """Places of the columns of each size, along the axis along which sizes differ most."""
    finite = y[np.isfinite(y)]
    if not finite.size or (finite.min() >= 0 and finite.max() <= 1):
        return [places.ravel()]  # probabilities: a class that never occurs is no quantity of its own
    best, widest = [places.ravel()], APART
    for axis in range(1, y.ndim):
        columns = np.moveaxis(y, axis, 0)
        sizes = np.array([_size(column) for column in columns])
        order = np.argsort(sizes, kind="stable")
        used = order[sizes[order] > 0]
        ratios = sizes[used][1:] / sizes[used][:-1]
        cuts = [at + 1 for at in np.flatnonzero(ratios >= APART) if at + 1 >= LEAST_SHARE * len(sizes)]
        if cuts and ratios.max() >= widest:
            widest = float(ratios.max())
            # Columns of zeros have no size: they count with the smallest.
            groups = np.split(order, [cut + len(order) - len(used) for cut in cuts])
            best = [np.moveaxis(places, axis - 1, 0)[group].ravel() for group in groups]
    return best


def _size(y: Real) -> float:
    finite = y[np.isfinite(y)]
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
