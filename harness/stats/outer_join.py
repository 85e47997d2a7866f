"""Outer join of two tables on the columns of a key, by whole columns: faster than pandas' own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import take
from pandas.api.types import union_categoricals


def outer(base: pd.DataFrame, new: pd.DataFrame, key: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Join one to one; what ``merge(how="outer", suffixes=("_base", "_new"))`` gives, in the key's order.

    Parameters
    ----------
    base, new : DataFrame
        A text column may be categories; it is so in the result where both sides have them.
    key, columns : sequence of str
        Columns to join on; columns of each side that are kept, NaN where it has no such row.

    Returns
    -------
    DataFrame
        Sorted by the key.

    Raises
    ------
    MergeError
        A side has a key twice.
    """
    both = {name: _stacked(base[name], new[name]) for name in (*key, *columns)}
    ids = numbered([both[name] for name in key])
    rows, count = len(base), int(ids.max(initial=-1)) + 1
    places = np.full((2, count), -1, np.intp)
    places[0, ids[:rows]] = np.arange(rows)
    places[1, ids[rows:]] = np.arange(rows, len(ids))
    if (places >= 0).sum() != len(ids):
        raise pd.errors.MergeError("a side has rows that share a key")
    first = np.where(places[0] >= 0, places[0], places[1])
    data = {name: take(both[name].array, first, allow_fill=True) for name in key}
    for side, place in zip(("base", "new"), places, strict=True):
        data |= {f"{name}_{side}": take(both[name].array, place, allow_fill=True) for name in columns}
    return pd.DataFrame(data, copy=False)


def _stacked(base: pd.Series, new: pd.Series) -> pd.Series:
    if base.dtype.name == new.dtype.name == "category":
        return pd.Series(union_categoricals([base, new]), copy=False)
    return pd.concat([base, new], ignore_index=True)


def numbered(columns: Sequence[pd.Series]) -> NDArray[np.intp]:
    """Number the rows by their key, in its sort order, NaN last."""
    codes, size = _digits(columns)
    if size > 4 * len(codes):
        return pd.factorize(codes, sort=True)[0]
    used = np.zeros(size, np.bool_)
    used[codes] = True
    return (np.cumsum(used) - 1)[codes]


def first_rows(ids: NDArray[np.intp]) -> NDArray[np.intp]:
    """Position of the first row of each number that `numbered` gave."""
    rows = np.empty(int(ids.max(initial=-1)) + 1, np.intp)
    rows[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)  # the last one written stays
    return rows


def coded(columns: Sequence[pd.Series]) -> NDArray[np.int64]:
    """Encode each key as an integer, in its sort order, NaN last; the parts of a key are its digits."""
    return _digits(columns)[0]


def _digits(columns: Sequence[pd.Series]) -> tuple[NDArray[np.int64], int]:
    """The codes of `coded`, and a number that they are all less than."""
    whole, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        if column.dtype.name == "category":
            ranks = np.append(np.argsort(np.argsort(column.cat.categories)), len(column.cat.categories))
            codes, radix = ranks[column.cat.codes.to_numpy()], len(ranks)  # -1, which is NaN, is the last one
        else:
            codes, uniques = pd.factorize(column, sort=True)
            codes[codes < 0] = len(uniques)
            radix = len(uniques) + 1
        if size > np.iinfo(np.int64).max // radix:
            whole, size = pd.factorize(whole, sort=True)[0], len(whole)
        whole *= radix  # in place: for a million rows, new arrays cost more than the arithmetic
        whole += codes
        size *= radix
    return whole, size
