"""Pixels by class of the truth and class that was predicted, and shares of them. Numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: A pixel that does not count.
IGNORED = -1


def confusions(predicted: NDArray[Any], truth: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return the pixels of each sample by class of the truth and class that was predicted.

    Parameters
    ----------
    predicted : ndarray, shape (n, height, width), integer
        A pixel without an answer, -1, is one that no class is right for.
    truth : ndarray, shape (n, height, width), integer
        `IGNORED` pixels are left out.
    classes : int

    Returns
    -------
    ndarray, shape (n, classes, classes + 1), int64
        The last column holds pixels without an answer.
    """
    n, columns = len(truth), classes + 1
    counted = truth != IGNORED
    answer = np.where(predicted < 0, classes, predicted)
    sample = np.broadcast_to(np.arange(n).reshape(-1, 1, 1), truth.shape)
    cell = (sample * classes + truth) * columns + answer
    counts = np.bincount(cell[counted].astype(np.int64), minlength=n * classes * columns)
    return counts.reshape(n, classes, columns).astype(np.int64)


def iou(confusion: NDArray[Any]) -> Floats:
    """Return the intersection over union of each class; NaN where it is neither there nor predicted.

    Source: M. Everingham et al., "The Pascal visual object classes challenge", IJCV 88 (2010), section 4.4.

    Parameters
    ----------
    confusion : ndarray, shape (…, classes, classes + 1)

    Returns
    -------
    ndarray, shape (…, classes)
    """
    both = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(axis=-1) + confusion[..., :-1].sum(axis=-2) - both
    shares: Floats = np.divide(both, union, out=np.full(both.shape, np.nan), where=union > 0)
    return shares


def mean_iou(confusion: NDArray[Any]) -> Floats:
    """Return the mean of `iou` over the classes that have one, shape (…,); NaN without any."""
    shares = iou(confusion)
    has = ~np.isnan(shares)
    total, count = np.where(has, shares, 0.0).sum(axis=-1), has.sum(axis=-1)
    means: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def pixel_accuracy(confusion: NDArray[Any]) -> Floats:
    """Return the share of right pixels, shape (…,); NaN without pixels."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1).sum(axis=-1).astype(np.float64)
    total = confusion.sum(axis=(-2, -1))
    share: Floats = np.divide(right, total, out=np.full(right.shape, np.nan), where=total > 0)
    return share
