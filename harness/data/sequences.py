"""Rows of one sequence: fed in order, one at a time, with state that is reset where the sequence begins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.data.datasets import Dataset, stratified_order
from harness.data.readers import Array

Indices = npt.NDArray[np.int64]


def index_of(dataset: Dataset, column: str, where: str) -> Indices:
    """Return the sequence of each row, numbered in the order in which they begin, shape (n,)."""
    values = dataset.column(column, where)
    _, first, index = np.unique(values, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    of_row: Indices = number[index.reshape(-1)]
    return of_row


def order_of(
    index: Indices, strata: Array | None, ids: Indices, *, seed: int
) -> tuple[Indices, tuple[int, ...]]:
    """Order rows by sequence: whole sequences, each in the order of its rows.

    Parameters
    ----------
    index : ndarray, shape (n,), int64
        See `index_of`.
    strata : ndarray, shape (n,), optional
        Of each row; a sequence has that of its last row, before which its answer is not complete.
    ids : ndarray, shape (n,), int64

    Returns
    -------
    order : ndarray, shape (n,), int64
    lengths : tuple of int
        Rows of each sequence, in the order of the run.
    """
    rows = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    first, last = (np.array([of_sequence[place] for of_sequence in rows]) for place in (0, -1))
    chosen = stratified_order(None if strata is None else strata[last], ids[first], seed=seed)
    ordered = [rows[sequence] for sequence in chosen.tolist()]
    return np.concatenate(ordered), tuple(map(len, ordered))


def first_whole(index: Indices, rows: int, where: str) -> npt.NDArray[np.bool_]:
    """Whether each row belongs to a sequence that ends within the first `rows`."""
    ends = np.zeros(int(index.max(initial=-1)) + 1, np.int64)
    np.maximum.at(ends, index, np.arange(len(index)))
    inside: npt.NDArray[np.bool_] = ends[index] < rows
    if not inside.any():
        raise DataError(
            f"no sequence ends within the first {rows} rows, which are to be the calibration samples",
            where=where,
            next_step="set [data] calibration_samples to the rows of several sequences",
        )
    return inside
