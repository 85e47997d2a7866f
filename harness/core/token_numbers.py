"""Numbers of tokens, made of logits block by block, so that a device need not keep or send logits.

All arithmetic is float64. A block has some rows of logits, small enough for the cache of a processor: memory
does not grow with the number of tokens, and hardly with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError

#: The target of a token that has none, such as one of a prompt.
NO_TARGET = -1
#: The target behind the end of a document: there is no token, and nothing counts.
PADDING = -2
#: The token that logits predict where none of them is the highest, because they are not finite numbers.
NO_TOKEN = -1
#: Of one float64 array of logits; four are held. A row of a large vocabulary may be longer than that.
BLOCK_BYTE = 2**18

Numbers = dict[str, NDArray[Any]]


def places_of(targets: NDArray[Any]) -> slice | NDArray[np.int64]:
    """Return where a document has tokens: a slice, which copies nothing, where nothing stands before them.

    Parameters
    ----------
    targets : ndarray, shape (length,), integer
    """
    inside = np.flatnonzero(targets != PADDING)
    is_first = not len(inside) or inside[-1] == len(inside) - 1
    return slice(0, len(inside)) if is_first else inside


def reduce_tokens(logits: NDArray[Any], targets: NDArray[Any]) -> Numbers:
    """Reduce the logits of tokens to what perplexity and the same top token need.

    Parameters
    ----------
    logits : ndarray, shape (t, vocabulary)
        Any real dtype; -inf is a token of probability 0.
    targets : ndarray, shape (t,), integer
        The token that follows; below 0: none.

    Returns
    -------
    dict of str to ndarray, shape (t,)
        ``top``, int64, the token with the highest logit, of equal ones the first, `NO_TOKEN` where logits
        are NaN or +inf, or all -inf; ``top_log_probability`` and ``log_probability`` (of the target, NaN
        without one), float64; NaN where there is no top.

    Raises
    ------
    DataError
        A target is no token of the vocabulary, or there is not one for each row.
    """
    numbers = _empty(logits, targets, ())
    for rows in _blocks(logits):
        x = logits[rows].astype(np.float64)
        _, _, total, top = _exponentials(x)
        _store(numbers, "", rows, x, total, top, targets[rows])
    return numbers


def reduce_pairs(reference: NDArray[Any], logits: NDArray[Any], targets: NDArray[Any]) -> Numbers:
    """Reduce the logits of tokens and those of a reference at the same places.

    Parameters
    ----------
    reference, logits : ndarray, shape (t, vocabulary)
    targets : ndarray, shape (t,), integer

    Returns
    -------
    dict of str to ndarray, shape (t,)
        Those of `reduce_tokens` for `logits`; the same with the prefix ``reference_``; and ``divergence``,
        float64, nats: the Kullback-Leibler divergence of `logits` from the reference, the sum over the
        vocabulary of p log(p / q), p the softmax of the reference and q that of `logits`. It is inf where q
        is 0 and p is not, NaN where one of both has no top, and never below 0.

    Raises
    ------
    DataError
        The shapes differ, or a target is no token of the vocabulary.
    """
    if reference.shape != logits.shape:
        raise DataError(
            f"logits of shape {list(logits.shape)} do not fit the reference's, {list(reference.shape)}",
            cause="the two models have other vocabularies, or other tokens",
        )
    numbers = _empty(logits, targets, ("", "reference_"))
    divergence = numbers["divergence"] = np.empty(len(logits))
    for rows in _blocks(logits):
        x, y = reference[rows].astype(np.float64), logits[rows].astype(np.float64)
        p, p_sum, x_total, x_top = _exponentials(x)
        q, _, y_total, y_top = _exponentials(y)
        _store(numbers, "reference_", rows, x, x_total, x_top, targets[rows])
        _store(numbers, "", rows, y, y_total, y_top, targets[rows])
        with np.errstate(invalid="ignore", over="ignore"):
            # q is not needed any more: its memory takes the differences.
            gaps = np.subtract(x, y, out=q)
            mean = np.einsum("ij,ij->i", p, gaps) / p_sum
            divergence[rows] = np.maximum(mean - x_total + y_total, 0.0)
        # A probability of 0: 0 · inf is not a number, and such a token counts nothing.
        unusual = np.flatnonzero(np.isnan(divergence[rows]) & (x_top >= 0) & (y_top >= 0))
        for row in unusual.tolist():
            possible = p[row] > 0
            with np.errstate(invalid="ignore"):
                mean = (p[row][possible] * (x[row] - y[row])[possible]).sum() / p_sum[row]
            divergence[rows.start + row] = max(0.0, float(mean - x_total[row] + y_total[row]))
    return numbers


def _blocks(logits: NDArray[Any]) -> Iterator[slice]:
    step = max(1, BLOCK_BYTE // (8 * max(1, logits.shape[1])))
    for start in range(0, len(logits), step):
        yield slice(start, min(start + step, len(logits)))


def _empty(logits: NDArray[Any], targets: NDArray[Any], prefixes: tuple[str, ...]) -> Numbers:
    """Check the shapes, and make the arrays of results."""
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise DataError(
            f"{list(targets.shape)} targets do not fit logits of shape {list(logits.shape)}",
            cause="logits have the axes token and vocabulary, and each token has one target",
        )
    vocabulary = logits.shape[1]
    if len(targets) and targets.max() >= vocabulary:
        raise DataError(
            f"the target {targets.max()} is beyond the vocabulary: the model has logits of tokens 0 to "
            f"{vocabulary - 1}",
            cause="the tokenizer is another one than the model's, or the output is no vocabulary",
            next_step="make the ids with the model's tokenizer; set [model] output to the output with logits",
        )
    count = len(logits)
    numbers: Numbers = {}
    for prefix in prefixes or ("",):
        numbers[f"{prefix}top"] = np.empty(count, np.int64)
        numbers[f"{prefix}top_log_probability"] = np.empty(count)
        numbers[f"{prefix}log_probability"] = np.empty(count)
    return numbers


def _exponentials(
    x: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return exp(x - its maximum), the sum of that, log(sum exp(x)) and the place of the maximum, by row.

    Without a finite maximum they are NaN and `NO_TOKEN`.
    """
    top = x.argmax(axis=1)
    highest = x[np.arange(len(x)), top]  # NaN where any is
    with np.errstate(invalid="ignore"):
        made = np.subtract(x, highest[:, None])
        np.exp(made, out=made)
        sums = made.sum(axis=1)
        total = highest + np.log(sums)
    exists = np.isfinite(highest)
    return made, sums, np.where(exists, total, np.nan), np.where(exists, top, NO_TOKEN)


def _store(
    numbers: Numbers,
    prefix: str,
    rows: slice,
    x: NDArray[np.float64],
    total: NDArray[np.float64],
    top: NDArray[np.int64],
    targets: NDArray[Any],
) -> None:
    every = np.arange(len(x))
    numbers[f"{prefix}top"][rows] = top
    numbers[f"{prefix}top_log_probability"][rows] = x[every, top] - total
    chosen = x[every, np.maximum(targets, 0)] - total
    numbers[f"{prefix}log_probability"][rows] = np.where(targets < 0, np.nan, chosen)
