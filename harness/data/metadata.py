"""Columns and arrays that describe samples and are not fed to the model: sites, times, sequences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.config.schema import DataTable
from harness.core.errors import DataError
from harness.data.readers import Array

#: Kinds of NumPy dtypes that a column may have: numbers, texts, times.
KINDS = "iubfUSM"


def columns_of(table: DataTable) -> tuple[str | int, ...]:
    """Return the columns that a ``[data]`` table names, each once."""
    named = (table.group, table.time, table.sequence)
    return tuple(dict.fromkeys(column for column in named if column is not None))


def column_name(column: str | int) -> str:
    """Name of a column for people; one without a name is called by its position."""
    return column if isinstance(column, str) else f"column {column}"


def check(metadata: Mapping[str, Array], ids: npt.NDArray[np.int64], where: str) -> None:
    """Refuse columns that do not have one value a sample."""
    for name, values in metadata.items():
        if values.shape != (len(ids),) or values.dtype.kind not in KINDS:
            raise DataError(
                f"the column {name!r} has dtype {values.dtype} and shape {values.shape}; it must have one "
                f"number, text or time for each of {len(ids)} samples",
                where=where,
                next_step="give one value for each sample, in the order of the samples",
            )
        gaps = missing(values)
        if gaps.any():
            raise DataError(
                f"{gaps.sum()} of {len(gaps)} samples have no value in the column {name!r}; the first: "
                f"sample {ids[gaps.argmax()]} (from 0)",
                where=where,
                next_step='fill them, or leave the samples out: [data] missing = "drop"',
            )


def missing(values: Array) -> npt.NDArray[np.bool_]:
    """Whether each value is missing: NaN, NaT, or an empty text."""
    if values.dtype.kind == "f":
        return np.isnan(values.astype(np.float64))
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype.kind in "US":
        blank: npt.NDArray[np.bool_] = np.char.strip(values.astype(np.str_)) == ""
        return blank
    return np.zeros(len(values), bool)
