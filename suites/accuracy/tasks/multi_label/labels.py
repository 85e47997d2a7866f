"""Labels that are 0 or 1 for each of several names."""

from __future__ import annotations

import math

import numpy as np

from harness.core.errors import DataError
from harness.data.labels import Indices, Labels, refuse_labels


def labels_of_flags(
    labels: Labels, n_scores: int | None = None, *, ids: Indices | None = None, where: str = ""
) -> Indices:
    """Read 0 or 1 for each of several labels, shape (n, k).

    Raises
    ------
    DataError
        They are something else, or the model has not k scores.
    """
    columns = math.prod(labels.shape[1:])
    if labels.dtype.kind not in "iubf" or labels.ndim < 2 or columns < 2:
        raise DataError(
            f"several labels a sample are columns of 0 and 1; these are {labels.dtype} of shape "
            f"{labels.shape}",
            where=where,
            next_step='give one column for each label, or set [model] task = "classification"',
        )
    flat = labels.reshape(len(labels), -1)
    positions = np.arange(len(labels)) if ids is None else ids
    refuse_labels(flat, positions, where, (flat != 0) & (flat != 1), "are neither 0 nor 1", "use 0 and 1")
    if n_scores is not None and columns != n_scores:
        raise DataError(
            f"the data have {columns} labels a sample, and the model has {n_scores} scores",
            where=where,
            next_step="give the labels that the model was trained for, in the order of its outputs",
        )
    return flat.astype(np.int64)
