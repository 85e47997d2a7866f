"""Columns that describe samples and are not fed to the model, as groups and as windows of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from harness.config.schema import DataTable
from harness.core.errors import DataError
from harness.core.groups import Groups
from harness.data.datasets import Split
from harness.data.metadata import column_name
from harness.data.readers import Array

Indices = npt.NDArray[np.int64]

#: Most groups of a column: with more, no group of a usual test set has enough samples to decide anything.
MOST_GROUPS = 200


def groups_of(split: Split, table: DataTable, *, where: str) -> tuple[tuple[Groups, ...], tuple[str, ...]]:
    """Divide the test samples by the columns that ``[data] group`` and ``time`` name.

    Returns
    -------
    groups : tuple of Groups
        Of all test samples, in the order of `split`.
    notes : tuple of str

    Raises
    ------
    DataError
        The data have no such column, or it gives no groups.
    """
    test = split.test
    divided: list[Groups] = []
    notes: list[str] = []
    if table.group is not None:
        column = column_name(table.group)
        names, index = _groups(test.column(column, where), column, where)
        divided.append(Groups(column, names, index))
        if len(split.calibration) and column in split.calibration.metadata:
            seen = set(_texts(split.calibration.metadata[column])) - set(names)
            if seen:
                listed = ", ".join(sorted(seen)[:8])
                notes.append(f"{column} {listed}: only among the calibration samples, so it is not tested")
    if table.time is not None:
        column = column_name(table.time)
        times, text_of = _times(test.column(column, where), test.ids, column, where)
        names, index = _windows(times, text_of, table.windows, column, where)
        divided.append(Groups(column, names, index, is_time=True))
        if len(names) < table.windows:
            equal = "equal times are not divided"
            notes.append(f"{column}: {len(names)} windows instead of {table.windows}, because {equal}")
    return tuple(divided), tuple(notes)


def strata(labels: Array | None, groups: tuple[Groups, ...]) -> Array | None:
    """Return what the order of samples is stratified by: labels and groups together.

    The first samples, which a board may run alone, then have nearly the groups of the whole set.
    """
    if not groups:
        return labels
    parts = [one.index for one in groups]
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iub":
        parts.insert(0, labels.astype(np.int64))
    combined: Indices = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1]
    return combined.reshape(-1)


def _groups(values: Array, column: str, where: str) -> tuple[tuple[str, ...], Indices]:
    texts = _texts(values)
    names, index = np.unique(texts, return_inverse=True)
    if len(names) == 1:
        raise DataError(
            f"the column {column!r} has one value in all {len(texts)} test samples: {str(names[0])!r}",
            where=where,
            cause="there is nothing to compare groups by",
            next_step="name another column, or remove [data] group",
        )
    if len(names) > MOST_GROUPS:
        raise DataError(
            f"the column {column!r} has {len(names):,} values in {len(texts):,} test samples; at most "
            f"{MOST_GROUPS} groups are compared",
            where=where,
            cause="it numbers the samples or has times" if len(names) == len(texts) else "it is too fine",
            next_step="name a coarser column; a column of times is divided into windows by [data] time",
        )
    order = np.arange(len(names))
    if values.dtype.kind in "iuf":
        order = np.argsort([float(name) for name in names], kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return tuple(str(names[i]) for i in order), rank[index.reshape(-1)]


def _texts(values: Array) -> npt.NDArray[np.str_]:
    """Return values as printable texts, whole numbers without a point."""
    if values.dtype.kind == "f" and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    texts = (" ".join(str(value).split()) for value in values.tolist())
    printable = ["".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in t) for t in texts]
    return np.array(printable, dtype=np.str_)


def _times(values: Array, ids: Indices, column: str, where: str) -> tuple[Array, Callable[[np.generic], str]]:
    """Return values that can be ordered, and how one is written."""
    if values.dtype.kind == "b" or values.dtype.kind not in "iufMUS":
        raise DataError(
            f"the column {column!r} has no times: its dtype is {values.dtype}",
            where=where,
            next_step="give numbers, or dates such as 2024-03-31",
        )
    if values.dtype.kind in "iuf":
        return values, lambda value: f"{value:.10g}"
    if values.dtype.kind in "US":
        texts = values.astype(np.str_)
        try:
            return texts.astype(np.float64), lambda value: f"{value:.10g}"
        except ValueError:
            values = _dates(texts, ids, column, where)
    moments = values.astype("datetime64[ns]")
    days = (moments == moments.astype("datetime64[D]")).all()
    unit: Literal["D", "s"] = "D" if days else "s"
    return moments, lambda value: str(np.datetime_as_string(cast(Any, value), unit=unit))


def _dates(texts: npt.NDArray[np.str_], ids: Indices, column: str, where: str) -> Array:
    import pandas as pd

    parsed = pd.to_datetime(pd.Series(texts), format="ISO8601", utc=True, errors="coerce")
    wrong = parsed.isna().to_numpy(dtype=bool)
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{wrong.sum()} of {len(texts)} values of the column {column!r} are no times; the first, of "
            f"sample {ids[first]} (from 0): {str(texts[first])!r}",
            where=where,
            cause="a date that is written in another order",
            next_step="write dates as 2024-03-31 or 2024-03-31T14:05:00, or times as numbers",
        )
    moments: Array = parsed.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    return moments


def _windows(
    times: Array, text_of: Callable[[np.generic], str], count: int, column: str, where: str
) -> tuple[tuple[str, ...], Indices]:
    """Divide samples into windows of equal counts in time order; equal times stay together."""
    distinct, inverse, sizes = np.unique(times, return_inverse=True, return_counts=True)
    if len(distinct) < count:
        raise DataError(
            f"the column {column!r} has {len(distinct)} different times in {len(times)} test samples, fewer "
            f"than windows = {count}",
            where=where,
            next_step=f"set [data] group = {column!r} instead"
            + (f", or windows = {len(distinct)}" if len(distinct) > 1 else ""),
        )
    middle = np.cumsum(sizes) - sizes / 2  # the rank of a time is that of the middle of its samples
    window = np.minimum((middle * count / len(times)).astype(np.int64), count - 1)
    starts = np.flatnonzero(np.diff(window, prepend=-1))
    ends = [*(starts[1:] - 1), len(distinct) - 1]
    ranges = [(text_of(distinct[a]), text_of(distinct[b])) for a, b in zip(starts, ends, strict=True)]
    names = tuple(first if first == last else f"{first}..{last}" for first, last in ranges)
    position = np.searchsorted(starts, np.arange(len(distinct)), side="right") - 1
    return names, position[inverse.reshape(-1)].astype(np.int64)
