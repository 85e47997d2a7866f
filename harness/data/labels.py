"""Labels as a task takes them, whatever their dtype and shape; or what they really are."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.core.task import Truth

Labels = npt.NDArray[np.generic]
Indices = npt.NDArray[np.int64]

_FROM_0_OR_REGRESSION = 'use one class index per sample, from 0, or set [model] task = "regression"'


#: Names of the class that is no anomaly.
NORMAL = frozenset(("good", "inlier", "negative", "normal", "ok", "benign"))


def read_as(
    truth: Truth, labels: Labels, names: tuple[str, ...], n_scores: int | None, *, ids: Indices, where: str
) -> tuple[Indices, str]:
    """Read labels as a task takes them; see the functions below.

    Parameters
    ----------
    truth : Truth
    labels : ndarray, shape (n, …)
    names : tuple of str
        Of the classes; empty where they are numbers.
    n_scores : int, optional
        Number of scores of the model.
    ids : ndarray, shape (n,), int64
        Position of each sample in its source, for errors.

    Returns
    -------
    labels : ndarray, shape (n,) or (n, k), int64
    note : str
        How they were converted; empty if they were not.
    """
    if truth is Truth.LABELS:
        return labels_of_flags(labels, n_scores, ids=ids, where=where), ""
    if truth is Truth.ANOMALY:
        return anomalies_of_labels(labels, names, ids=ids, where=where)
    if truth is Truth.CLASS and n_scores is not None and len(names) > n_scores:
        raise DataError(
            f"the data have {len(names)} classes, and the model has {n_scores} outputs",
            where=where,
            cause=f"the classes are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}",
            next_step="use the data and the classes that the model was trained for",
        )
    classes, note = classes_of_labels(labels, ids=ids, where=where)
    if truth is Truth.CLASS and n_scores is not None:
        check_range(classes, n_scores, ids=ids, where=where)
    return classes, note


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
    _refuse(flat, positions, where, (flat != 0) & (flat != 1), "are neither 0 nor 1", "use 0 and 1")
    if n_scores is not None and columns != n_scores:
        raise DataError(
            f"the data have {columns} labels a sample, and the model has {n_scores} scores",
            where=where,
            next_step="give the labels that the model was trained for, in the order of its outputs",
        )
    return flat.astype(np.int64)


def anomalies_of_labels(
    labels: Labels, names: tuple[str, ...] = (), *, ids: Indices | None = None, where: str = ""
) -> tuple[Indices, str]:
    """Read 0 (normal) and 1 (anomaly) of each sample; of named classes one is called normal, good or so.

    Raises
    ------
    DataError
        They are something else.
    """
    classes, note = classes_of_labels(labels, ids=ids, where=where)
    if names:
        normal = [index for index, name in enumerate(names) if name.casefold() in NORMAL]
        if len(normal) != 1:
            raise DataError(
                f"which of the classes {', '.join(names[:12])} is normal is unknown",
                where=where,
                next_step="call it normal, or use the labels 0 (normal) and 1 (anomaly)",
            )
        return (classes != normal[0]).astype(np.int64), f"{names[normal[0]]!r} is normal, all else an anomaly"
    positions = np.arange(len(labels)) if ids is None else ids
    wrong = (classes != 0) & (classes != 1)
    _refuse(classes, positions, where, wrong, "are neither 0 nor 1", "use 0 for normal and 1 for anomalies")
    return classes, note


def classes_of_labels(labels: Labels, *, ids: Indices | None = None, where: str = "") -> tuple[Indices, str]:
    """Turn the labels of a classification into class indices.

    Parameters
    ----------
    labels : ndarray, shape (n,), (n, 1) or (n, k)
        Integers, booleans, or whole numbers as floating point; or k > 1 numbers per sample of which one is 1
        and the others are 0 (one-hot). Axes of length 1 after the first are ignored.
    ids : ndarray, shape (n,), int64, optional
        Position of each sample in its source, for errors.
    where : str
        Source of the labels, for errors.

    Returns
    -------
    indices : ndarray, shape (n,), int64
    note : str
        How the labels were converted; empty if they were class indices already.

    Raises
    ------
    DataError
        They are something else; the message says what, how often, and where first.
    """
    given = f"{labels.dtype} of shape {labels.shape}"
    if labels.ndim == 0 or labels.dtype.kind not in "iubf":
        raise DataError(
            f"labels of a classification must be numbers, one per sample; these are {given}",
            where=where,
            next_step="use class indices from 0",
        )
    n, rest = len(labels), [size for size in labels.shape[1:] if size != 1]
    positions = np.arange(n) if ids is None else ids
    refuse = partial(_refuse, labels, positions, where)
    if labels.dtype.kind == "f":
        refuse(~np.isfinite(labels), "are not finite", "fill or remove the samples")
    if not rest:
        flat = labels.reshape(n)
        if flat.dtype.kind == "f":
            refuse(flat != np.rint(flat), "are not whole numbers", _FROM_0_OR_REGRESSION)
        refuse(np.abs(flat.astype(np.float64)) > 2**53, "are too large for a class", _FROM_0_OR_REGRESSION)
        as_given = labels.ndim == 1 and labels.dtype.kind in "iu"
        return flat.astype(np.int64), "" if as_given else f"labels: {given}, read as class indices"
    if len(rest) > 1:
        raise DataError(
            f"labels have the shape {labels.shape}: {math.prod(rest)} numbers per sample",
            where=where,
            cause="a classification needs one class per sample; masks and boxes are not supported",
            next_step="use one class index per sample",
        )
    rows = labels.reshape(n, rest[0])
    _check_one_hot(rows, given, positions, where)
    return rows.argmax(axis=1).astype(np.int64), f"labels: one-hot, {given}, read as class indices"


def _check_one_hot(rows: Labels, given: str, ids: Indices, where: str) -> None:
    """Refuse rows that are not one-hot by what they are instead."""
    ones = (rows == 1).sum(axis=1)
    other = ((rows != 0) & (rows != 1)).any(axis=1)
    if not other.any() and (ones == 1).all():
        return
    wrong = other | (ones != 1)
    first = int(np.flatnonzero(wrong)[0])
    name = f"sample {ids[first]} (from 0)"
    values = rows.astype(np.float64)
    if not other.any():
        cause = f"{name} has {ones[first]} ones: several classes per sample (multi-label), or none"
    elif rows.dtype.kind == "f" and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        cause = "they are probabilities (each row sums to 1): soft labels"
    else:
        cause = f"{name} begins {', '.join(str(value) for value in rows[first, :4].tolist())}"
    raise DataError(
        f"labels are {given} and not one-hot: {int(wrong.sum())} of {len(rows)} samples, first {name}",
        where=where,
        cause=cause,
        next_step=_FROM_0_OR_REGRESSION,
    )


def _refuse(
    labels: Labels, ids: Indices, where: str, wrong: npt.NDArray[np.bool_], what: str, next_step: str
) -> None:
    """Raise if some labels are wrong, with the number of samples and the first one."""
    if wrong.any():
        samples = wrong.reshape(len(labels), -1).any(axis=1)
        first = int(np.flatnonzero(samples)[0])
        raise DataError(
            f"{int(samples.sum())} of {len(labels)} labels {what}: sample {ids[first]} (from 0) has "
            f"{labels[first].tolist()}",
            where=where,
            next_step=next_step,
        )


def check_range(indices: Indices, n_classes: int, *, ids: Indices, where: str) -> None:
    """Refuse class indices that are not outputs of a model.

    Parameters
    ----------
    indices : ndarray, shape (n,), int64
    n_classes : int
        Number of outputs of the model.
    ids : ndarray, shape (n,), int64
        Position of each sample in its source, for the message.
    """
    wrong = (indices < 0) | (indices >= n_classes)
    if not wrong.any():
        return
    first = int(np.flatnonzero(wrong)[0])
    low, high = int(indices.min()), int(indices.max())
    cause = f"the model has {n_classes} outputs"
    next_step = "use class indices from 0, or set another label_column"
    if low == 1:
        cause += f"; the labels are 1 to {high}: classes counted from 1?"
        next_step = "subtract 1 from every label"
    elif low == -1:
        cause += "; -1 often means that a sample has no label"
        next_step = "remove these samples, or give them a class"
    raise DataError(
        f"{int(wrong.sum())} of {len(indices)} labels are outside 0..{n_classes - 1}: sample {ids[first]} "
        f"(from 0) has {indices[first]}",
        where=where,
        cause=cause,
        next_step=next_step,
    )


def classes_of_text(text: Labels) -> tuple[Indices, tuple[str, ...]]:
    """Number the distinct texts: by value if all are whole numbers, and else in alphabetical order.

    Parameters
    ----------
    text : ndarray, shape (n, …), text or bytes

    Returns
    -------
    indices : ndarray, shape (n, …), int64
    names : tuple of str
        The texts by index; empty if the texts are whole numbers, which are the indices themselves.
    """
    texts = text.astype(str)
    if text.dtype.kind == "S":
        texts = np.char.decode(text.astype(np.bytes_), "utf-8", "replace")
    names, indices = np.unique(np.char.strip(texts), return_inverse=True)
    if all(name.lstrip("+-").isdecimal() and len(name) < 16 for name in names.tolist()):
        return np.array([int(name) for name in names.tolist()], np.int64)[indices].reshape(text.shape), ()
    return indices.astype(np.int64).reshape(text.shape), tuple(names.tolist())
