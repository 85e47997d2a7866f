"""Order of scores: ranks, and the share of samples of the other kind that each is in the right order with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError


def worst(scores: NDArray[Any], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the scores, those that are no finite numbers at the wrong end of the order."""
    return np.where(np.isfinite(scores), scores, np.where(positive, -np.inf, np.inf)).astype(np.float64)


def placements(scores: NDArray[Any], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each sample the share of samples of the other kind that it is in the right order with.

    Ties count half. The mean over the positive samples, over the negative ones and over all is the AUC.
    Source: E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics 44 (1988), the structural components.

    Raises
    ------
    DataError
        All samples are of one kind.
    """
    require_both(positive)
    ordered = worst(scores, positive)
    places = np.empty(len(ordered))
    for kind in (True, False):
        others = np.sort(ordered[positive != kind])
        below, upto = (np.searchsorted(others, ordered[positive == kind], side) for side in ("left", "right"))
        share = (below + upto) / (2 * len(others))
        places[positive == kind] = share if kind else 1 - share
    return places


def require_both(positive: NDArray[np.bool_]) -> None:
    """Refuse labels of one kind.

    Raises
    ------
    DataError
        All samples are of one kind.
    """
    if positive.all() or not positive.any():
        kind = "an anomaly (1)" if positive.any() else "normal (0)"
        raise DataError(
            f"every one of {positive.size} samples is {kind}; the AUC needs both",
            cause="the labels are of another task, or there are too few samples",
            next_step="give labelled samples of both kinds",
        )


def mid_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank of each value from 0; equal values share their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True, equal_nan=False)
    first = np.cumsum(counts) - counts
    ranks: NDArray[np.float64] = (first + (counts - 1) / 2)[where]
    return ranks
