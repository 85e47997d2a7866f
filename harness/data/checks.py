"""Checks of a data set that was read: lengths, dtypes, missing values and class indices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.core.detection import truth
from harness.core.errors import DataError
from harness.core.task import has_one_axis
from harness.data import metadata
from harness.data.datasets import Dataset, check_labels
from harness.data.readers import Array
from harness.data.table_values import Missing


def without_missing(dataset: Dataset, missing: Missing) -> Dataset:
    """Leave out the samples with NaN, or replace it, as configured; what is left `check` refuses."""
    labels = [] if dataset.labels is None else [dataset.labels]
    columns = dataset.metadata.values()
    if missing is None or any(
        a.shape[:1] != (len(dataset),) for a in (*dataset.inputs.values(), *labels, *columns)
    ):
        return dataset
    if missing != "drop":
        filled = {
            name: np.where(np.isnan(array), array.dtype.type(missing), array)
            if array.dtype.kind == "f"
            else array
            for name, array in dataset.inputs.items()
        }
        count = sum(int(np.isnan(a).sum()) for a in dataset.inputs.values() if a.dtype.kind == "f")
        note = f"{count} missing values (NaN) are read as {missing:g}"
        return replace(dataset, inputs=filled, notes=(*dataset.notes, *([note] if count else [])))
    out = np.zeros(len(dataset), bool)
    for array in (*dataset.inputs.values(), *labels):
        if array.dtype.kind == "f":
            out |= np.isnan(array).reshape(len(out), -1).any(axis=1)
    for values in columns:
        out |= metadata.missing(values)
    if not out.any() or out.all():
        return dataset
    first = dataset.ids[out.argmax()]
    note = f"{out.sum()} of {len(out)} samples with missing values (NaN) are left out; the first: {first}"
    remaining = dataset.take(np.flatnonzero(~out))
    return replace(remaining, notes=(*remaining.notes, note))


def check(dataset: Dataset, where: str) -> None:
    """Refuse a set that is empty, has different lengths, or values that are not finite numbers."""
    n = len(dataset.ids)
    arrays = {f"input {name!r}": array for name, array in dataset.inputs.items()}
    if dataset.labels is not None:
        arrays["labels"] = dataset.labels
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.kind not in "iubf":
            raise DataError(
                f"{name} has dtype {array.dtype} and shape {array.shape}; it must be numeric, with samples on"
                " the first axis",
                where=where,
                next_step="save it as an array of numbers: np.savez(path, image=images_uint8, labels=labels)",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _not_finite(name, array, dataset.ids, where)
    lengths = {name: len(array) for name, array in arrays.items()}
    if n == 0 or not dataset.inputs:
        raise DataError("the data set is empty", where=where, next_step="use data with samples")
    if set(lengths.values()) != {n}:
        raise DataError(
            f"{', '.join(f'{name} has {length}' for name, length in lengths.items())} samples; {n} ids",
            where=where,
            cause="inputs and labels belong to different sets, or an array has no sample axis",
            next_step="save as many labels as samples, with the samples on the first axis",
        )
    metadata.check(dataset.metadata, dataset.ids, where)
    if len(np.unique(dataset.ids)) != n:
        raise DataError("the ids of the samples are not unique", where=where)
    labels = dataset.labels
    # Boxes and masks are checked by their tasks.
    single = labels is not None and has_one_axis(labels.shape[1:]) and not truth.is_packed(labels)
    if dataset.class_names and single:
        check_labels(dataset, len(dataset.class_names), where=where)


def _not_finite(name: str, array: Array, ids: npt.NDArray[np.int64], where: str) -> DataError:
    """Say how many samples have values that are not finite, and what the first one is."""
    wrong = np.asarray(~np.isfinite(array))
    rows = wrong.reshape(len(array), -1).any(axis=1)
    first = int(rows.argmax())
    value = array[first].ravel()[wrong[first].ravel()][0]
    sample = ids[first] if len(ids) == len(array) else first
    missing = '; or leave them out: [data] missing = "drop" (harness init --missing drop)'
    return DataError(
        f"{name} of sample {sample} (from 0) is not finite: it has {value}; "
        f"{rows.sum()} of {len(array)} samples have such values",
        where=where,
        cause="missing values" if np.isnan(value) else "an overflow or a division by zero",
        next_step=f"fill or remove these samples{missing if np.isnan(value) else ''}",
    )
