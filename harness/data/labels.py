"""Labels as class indices, whatever their dtype and shape; or what they really are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.tasks.host import GivenLabels

Labels = npt.NDArray[np.generic]
Indices = npt.NDArray[np.int64]

FROM_0 = "use one class index per sample, from 0"


def joined(parts: Sequence[Labels]) -> Labels:
    """Join labels of several sets; those of several lengths, such as boxes, are filled up with -1.

    Parameters
    ----------
    parts : sequence of ndarray, shape (n, …)
    """
    if len({part.shape[1:] for part in parts}) > 1 and all(part.ndim > 1 for part in parts):
        longest = max(part.shape[1] for part in parts)
        parts = [
            np.pad(
                part, [(0, 0), (0, longest - part.shape[1]), *[(0, 0)] * (part.ndim - 2)], constant_values=-1
            )
            for part in parts
        ]
    whole: Labels = np.concatenate(parts)
    return whole


def classes(given: GivenLabels, hint: str = FROM_0) -> tuple[Indices, str]:
    """Read class indices that the model has scores for; see `classes_of_labels`.

    Raises
    ------
    DataError
        The labels are something else, or the model has fewer scores than the data have classes.
    """
    names, scores = given.names, given.scores
    if scores is not None and len(names) > scores:
        raise DataError(
            f"the data have {len(names)} classes, and the model has {scores} outputs",
            where=given.where,
            cause=f"the classes are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}",
            next_step="use the data and the classes that the model was trained for",
        )
    indices, note = classes_of_labels(given.labels, ids=given.ids, where=given.where, hint=hint)
    if scores is not None:
        check_range(indices, scores, ids=given.ids, where=given.where)
    return indices, note


def classes_of_labels(
    labels: Labels, *, ids: Indices | None = None, where: str = "", hint: str = FROM_0
) -> tuple[Indices, str]:
    """Turn labels into class indices.

    Parameters
    ----------
    labels : ndarray, shape (n,), (n, 1) or (n, k)
        Integers, booleans, or whole numbers as floating point; or k > 1 numbers per sample of which one is 1
        and the others are 0 (one-hot). Axes of length 1 after the first are ignored.
    ids : ndarray, shape (n,), int64, optional
        Position of each sample in its source, for errors.
    where : str
        Source of the labels, for errors.
    hint : str
        What to do with labels that are no classes.

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
    refuse = partial(refuse_labels, labels, positions, where)
    if labels.dtype.kind == "f":
        refuse(~np.isfinite(labels), "are not finite", "fill or remove the samples")
    if not rest:
        flat = labels.reshape(n)
        if flat.dtype.kind == "f":
            refuse(flat != np.rint(flat), "are not whole numbers", hint)
        refuse(np.abs(flat.astype(np.float64)) > 2**53, "are too large for a class", hint)
        as_given = labels.ndim == 1 and labels.dtype.kind in "iu"
        return flat.astype(np.int64), "" if as_given else f"labels: {given}, read as class indices"
    if len(rest) > 1:
        raise DataError(
            f"labels have the shape {labels.shape}: {math.prod(rest)} numbers per sample",
            where=where,
            cause="a classification needs one class per sample; masks and boxes are for other tasks",
            next_step="use one class index per sample",
        )
    rows = labels.reshape(n, rest[0])
    _check_one_hot(rows, given, positions, where, hint)
    return rows.argmax(axis=1).astype(np.int64), f"labels: one-hot, {given}, read as class indices"


def _check_one_hot(rows: Labels, given: str, ids: Indices, where: str, hint: str) -> None:
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
        next_step=hint,
    )


def refuse_labels(
    labels: Labels, ids: Indices, where: str, wrong: npt.NDArray[np.bool_], what: str, next_step: str
) -> None:
    """Raise ``DataError`` if some labels are wrong, with the number of samples and the first one."""
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
