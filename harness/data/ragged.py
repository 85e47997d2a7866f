"""Documents of different lengths: tokens in a row with the length of each, or padded; as padded arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError

Array = npt.NDArray[np.generic]
Lengths = npt.NDArray[np.int64]

#: The array of an archive that has the tokens of each document.
LENGTHS = "lengths"
#: What an input of one of these names holds, of the positions and of whether there is a token. Exporters
#: of transformers use these names. Positions go on behind the end of a document, as in a model that makes
#: them itself: what looks back from a token must not find padding in front of it.
_MADE: Mapping[str, Callable[[Lengths, npt.NDArray[np.bool_]], Lengths]] = {
    "attention_mask": lambda positions, inside: inside.astype(np.int64),
    "token_type_ids": lambda positions, inside: np.zeros_like(positions),
    "position_ids": lambda positions, inside: positions,
}
MADE = frozenset(_MADE)


def documents(
    arrays: Mapping[str, Array], lengths: Array, names: Collection[str], where: str
) -> tuple[dict[str, Array], Lengths]:
    """Return arrays of documents, padded with 0 at the end to the longest.

    Parameters
    ----------
    arrays : mapping of name to ndarray
        Tokens of all documents in a row, shape (tokens, …); or padded, shape (documents, length, …).
    lengths : ndarray, shape (documents,), integer
    names : collection of str
        The model's inputs: those of `MADE` that `arrays` lacks are made.
    where : str
        Source, for errors.

    Raises
    ------
    DataError
        A document is empty, or an array does not fit the lengths.
    """
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise DataError(
            f"{LENGTHS} is {lengths.dtype} of shape {lengths.shape}, not a whole number for each document",
            where=where,
            next_step=f"save {LENGTHS} as the number of tokens of each document",
        )
    counts = lengths.astype(np.int64)
    if len(counts) and counts.min() < 1:
        raise DataError(
            f"{int((counts < 1).sum())} of {len(counts)} documents are empty; the first is document "
            f"{int((counts < 1).argmax())} (from 0)",
            where=where,
            cause=f"its length is {counts[(counts < 1).argmax()]}",
            next_step="leave empty documents out",
        )
    longest = int(counts.max(initial=0))
    padded = {name: _padded(name, array, counts, longest, where) for name, array in arrays.items()}
    inside = np.arange(longest) < counts[:, None]
    positions = np.broadcast_to(np.arange(longest), inside.shape).copy()
    for name in names:
        if name in _MADE and name not in padded:
            padded[name] = _MADE[name](positions, inside)
    return padded, counts


def lengthened(arrays: Mapping[str, Array], longest: int, length: int, where: str) -> dict[str, Array]:
    """Return padded arrays with more padding, for a model that takes documents of one length alone.

    Parameters
    ----------
    arrays : mapping of name to ndarray, shape (documents, `longest`, …)
        One with another second axis stays as it is.
    longest, length : int
        Tokens that they have, and are to have.
    where : str
        Source, for errors.

    Raises
    ------
    DataError
        A document is longer.
    """
    if longest > length:
        raise DataError(
            f"the longest document has {longest} tokens, and the model takes {length}",
            where=where,
            cause="the model, or [shapes], fixes the length",
            next_step="cut longer documents, or give a larger length under [shapes]",
        )
    made: dict[str, Array] = {}
    for name, array in arrays.items():
        if array.ndim < 2 or array.shape[1] != longest:
            made[name] = array
            continue
        made[name] = np.pad(array, [(0, 0), (0, length - longest), *[(0, 0)] * (array.ndim - 2)])
        if name == "position_ids":  # they go on
            made[name][:, longest:] = array[:, -1:].astype(np.int64) + np.arange(1, length - longest + 1)
    return made


def _padded(name: str, array: Array, counts: Lengths, longest: int, where: str) -> Array:
    if array.ndim and len(array) == counts.sum() and (array.ndim == 1 or len(array) != len(counts)):
        rows = np.zeros((len(counts), longest, *array.shape[1:]), array.dtype)
        rows[np.arange(longest) < counts[:, None]] = array
        return rows
    if array.ndim < 2 or len(array) != len(counts) or array.shape[1] < longest:
        raise DataError(
            f"{name} has shape {array.shape}, and {len(counts)} documents have {int(counts.sum())} tokens, "
            f"the longest {longest}",
            where=where,
            cause=f"{name} and {LENGTHS} are not those of the same documents",
            next_step="save all tokens in a row, or one row for each document, padded at the end",
        )
    return array[:, :longest]
