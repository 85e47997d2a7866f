"""The order in which the rows of one array are nearest to those of another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

#: Squared distance to NaN or infinity.
FAR = 1e300
#: So many places are listed.
LISTED = 4


def nearest_order(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.intp]:
    """Order in which some rows are nearest to as many others, in the sum of squared distances.

    Parameters
    ----------
    rows, others : ndarray, shape (n, m)

    Returns
    -------
    ndarray of int, shape (n,)
        ``rows[order]`` is nearest to `others`.
    """
    # The squared distance of each pair, without a third axis.
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.square(others).sum(1)[:, None] + np.square(rows).sum(1)[None, :] - 2 * others @ rows.T
    _, order = linear_sum_assignment(np.nan_to_num(squares, nan=FAR, posinf=FAR, neginf=FAR))
    return np.asarray(order)


def moved(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places that an order changes."""
    return np.flatnonzero(order != np.arange(len(order)))


def order_text(order: NDArray[np.intp]) -> str:
    """The first places that an order changes."""
    places = moved(order)
    listed = ", ".join(f"{place} is {order[place]}" for place in places[:LISTED])
    return listed + (" …" if len(places) > LISTED else "")
