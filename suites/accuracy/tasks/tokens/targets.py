"""What each token of a document should be: given by labels, or the token that follows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.core.token_numbers import NO_TARGET, PADDING
from harness.data.ragged import MADE, Array
from harness.tasks.host import GivenLabels

Targets = npt.NDArray[np.int32]


def ids_input(inputs: Mapping[str, Array], where: str) -> str:
    """Return the name of the input that holds the ids of tokens.

    Raises
    ------
    DataError
        None of them does, or several may.
    """
    whole = [name for name, array in inputs.items() if array.dtype.kind in "iu" and array.ndim == 2]
    candidates = [name for name in whole if name not in MADE and "mask" not in name]
    if "input_ids" in candidates or len(candidates) == 1:
        return "input_ids" if "input_ids" in candidates else candidates[0]
    raise DataError(
        f"which input holds the ids of tokens is unclear: {', '.join(inputs)}",
        where=where,
        cause=f"{len(candidates)} of them are whole numbers of shape [documents, length]",
        next_step="give a label for each token, or call the input input_ids",
    )


def tokens_of(given: GivenLabels) -> npt.NDArray[np.bool_]:
    """Return where documents have tokens, shape (n, length): by their lengths, or by a mask among the inputs.

    Raises
    ------
    DataError
        A document is empty, or no input has an axis of tokens.
    """
    length = next((array.shape[1] for array in given.inputs.values() if array.ndim > 1), None)
    if length is None:
        raise DataError(
            "samples are no documents: no input has the shape [documents, length]",
            where=given.where,
            next_step="save padded ids, or all ids in a row and lengths: docs/tokens.md",
        )
    mask = next((array for name, array in given.inputs.items() if "mask" in name and array.ndim == 2), None)
    inside: npt.NDArray[np.bool_] = np.ones((len(given.ids), length), bool)
    if given.lengths is not None:
        inside = np.arange(length) < given.lengths[:, None]
    if mask is not None:
        inside = inside & (mask != 0)
    empty = np.asarray(~inside.any(axis=1))
    if empty.any():
        raise DataError(
            f"{int(empty.sum())} of {len(empty)} documents are empty; the first is sample "
            f"{given.ids[empty.argmax()]} (from 0)",
            where=given.where,
            cause="its mask has no token",
            next_step="leave empty documents out",
        )
    return inside


def targets_of(given: GivenLabels) -> Targets:
    """Return what each token should be.

    Parameters
    ----------
    given : GivenLabels
        Labels, if there are any, of each token, shape (n, length): below 0 where there is none, such as -100.
        Without labels, shape (n, 0), the target of a token is the one that follows. ``scores`` are the logits
        that the model gives for each token.

    Returns
    -------
    ndarray, shape (n, length), int32
        `NO_TARGET` of a token without one, `PADDING` where there is no token.

    Raises
    ------
    DataError
        Labels do not pair with tokens, or there is no such token in the vocabulary.
    """
    inside, where, vocabulary = tokens_of(given), given.where, given.scores
    if not given.labels.size:
        ids = given.inputs[ids_input(given.inputs, where)].astype(np.int64)
        _check(ids, inside, given.ids, vocabulary, where, "id")
        targets = np.full(ids.shape, NO_TARGET, np.int64)
        follows = inside[:, 1:] & inside[:, :-1]
        targets[:, :-1][follows] = ids[:, 1:][follows]
        if not follows.any():
            raise DataError(
                "no document has a token that another one follows",
                where=where,
                cause="they have one token each, and no labels",
                next_step="give longer documents, or a label for each token",
            )
    else:
        labels = given.labels
        if labels.shape != inside.shape or labels.dtype.kind not in "iu":
            raise DataError(
                f"labels are {labels.dtype} of shape {list(labels.shape)}, and documents have the shape "
                f"{list(inside.shape)}",
                where=where,
                cause="tokens have one label each, a whole number",
                next_step="give a label for each token, below 0 where there is none; without labels the "
                "target of a token is the one that follows",
            )
        targets = np.maximum(labels.astype(np.int64), NO_TARGET)
        _check(targets, inside & (targets >= 0), given.ids, vocabulary, where, "label")
    return np.where(inside, targets, PADDING).astype(np.int32)


def _check(
    values: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    samples: npt.NDArray[np.int64],
    vocabulary: int | None,
    where: str,
    what: str,
) -> None:
    """Refuse what is no token of the vocabulary."""
    most = np.iinfo(np.int32).max if vocabulary is None else vocabulary - 1
    wrong = inside & ((values < 0) | (values > most))
    if not wrong.any():
        return
    row, place = (int(axis[0]) for axis in wrong.nonzero())
    raise DataError(
        f"{int(wrong.sum())} of {int(inside.sum())} {what}s are no tokens of the model, which has logits "
        f"of 0 to {most}: token {place} of sample {samples[row]} (from 0) has {values[row, place]}",
        where=where,
        cause="another tokenizer than the model's, or ids that were counted from 1",
        next_step="make the ids with the tokenizer that the model was trained with",
    )
