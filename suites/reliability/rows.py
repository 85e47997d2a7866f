"""The rows that the checks run, and how two answers to them are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench, Session, Unsupported
from harness.core.errors import DataError
from harness.core.feeding import Feeding
from harness.core.job import Case
from harness.core.preprocess import Feeds, Outputs

#: What is not finite in float inputs: name, value, whether the whole input or its middle element only.
NONFINITE = (
    ("all_nan", np.nan, True),
    ("one_nan", np.nan, False),
    ("one_inf", np.inf, False),
    ("one_minus_inf", -np.inf, False),
)
#: So many different answers are needed to tell their format, and so many of them use its last bit.
FEWEST_VALUES, LAST_BIT_SHARE = 16, 0.25


def singles(bench: Bench, case: Case, feeding: Feeding) -> list[Feeds]:
    """Feeds of one row each; of as many as the file takes, where that is fixed, the first rows repeated."""
    size = feeding.size or 1
    return [_feeds(bench, case, feeding, start, size) for start in range(0, case.samples, size)]


def one_batch(bench: Bench, case: Case, feeding: Feeding) -> Feeds:
    """All rows in one batch; only for a file whose batch the caller chooses."""
    return _feeds(bench, case, feeding, 0, case.samples)


def batch_feeds(bench: Bench, case: Case, feeding: Feeding) -> Feeds:
    """The largest batch: all rows, or as many as the file takes."""
    return singles(bench, case, feeding)[0] if feeding.size else one_batch(bench, case, feeding)


def wider_feeds(bench: Bench, case: Case, feeding: Feeding, times: int) -> Feeds:
    """The rows so many times over in one batch, of a file that takes any."""
    return _feeds(bench, case, feeding, 0, times * case.samples)


def every_way(bench: Bench, case: Case, feeding: Feeding) -> list[Feeds]:
    """The rows one by one, then all at once where the file can."""
    alone = singles(bench, case, feeding)
    return alone if feeding.size else [*alone, one_batch(bench, case, feeding)]


def _feeds(bench: Bench, case: Case, feeding: Feeding, start: int, size: int) -> Feeds:
    canonical = bench.data.feeds(case.data, 0, case.samples)
    return feeding.feeds({name: x[(start + np.arange(size)) % len(x)] for name, x in canonical.items()})


def with_value(x: NDArray[np.floating], value: float, whole: bool) -> NDArray[np.floating]:
    """A copy with a value in all places or, of each row, in the middle."""
    y = x.copy()
    flat = y.reshape(len(y) if y.ndim else 1, -1)  # row by row: a fixed batch holds several
    flat[:, slice(None) if whole else flat.shape[1] // 2] = value
    return y


def digest(outputs: Outputs) -> bytes:
    """SHA-256 of names, dtypes, shapes and bytes."""
    state = hashlib.sha256()
    for name in sorted(outputs):
        y = _plain(outputs[name])
        state.update(f"{name} {y.dtype} {y.shape} ".encode())
        state.update(y.tobytes())
    return state.digest()


def digests(session: Session, feeds: Sequence[Feeds]) -> NDArray[np.uint8]:
    """Run each of `feeds`.

    Returns
    -------
    ndarray, shape (len(feeds), 32), uint8
    """
    joined = b"".join(digest(session.run(batch)) for batch in feeds)
    return np.frombuffer(joined, np.uint8).reshape(len(feeds), -1)


def run_all(session: Session, feeding: Feeding, batches: Sequence[Feeds], rows: int) -> Outputs:
    """Run each of `batches`, which have `rows` rows each, and join their answers: real numbers, row by row.

    Raises
    ------
    Unsupported
        An output does not have one entry a row.
    """
    try:
        answers = [feeding.answers(session.run(feeds), rows) for feeds in batches]
    except DataError as error:
        raise Unsupported(error.what) from error
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def compare(answers: Outputs, others: Outputs) -> dict[str, NDArray[np.generic]]:
    """Compare two sets of answers to the same n rows, row by row.

    Parameters
    ----------
    answers, others : mapping of output name to ndarray, shape (n, …)
        Real numbers; integers that stand for them are equal where these are.

    Returns
    -------
    dict
        ``bit_equal``, shape (n,), bool: all outputs. ``difference``, shape (n,), float64: largest absolute
        difference (infinite where only one is finite). ``relative_difference``: the same over the row's
        largest absolute answer. ``by_output``, shape (n, outputs), float64: largest absolute difference of
        each output; 0 where it is text.

    Raises
    ------
    Unsupported
        The answers have different shapes.
    """
    n = len(next(iter(answers.values())))
    bit_equal = np.ones(n, bool)
    relative, by_output = np.zeros(n), np.zeros((n, len(answers)))
    for place, (name, answer) in enumerate(answers.items()):
        a, b = _plain(answer), _plain(others[name])
        if a.shape != b.shape:
            raise Unsupported(f"the output {name} has the shape {a.shape}, and the other time {b.shape}")
        bit_equal &= np.array([x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)])
        if answer.dtype.kind in "OUS":
            continue
        a, b = (y.reshape(n, -1).astype(np.float64) for y in (a, b))
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):  # infinity minus infinity, where they are the same
            gap = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf))
        largest = gap.max(axis=1, initial=0.0)
        scale = np.where(np.isfinite(a), np.abs(a), 0.0).max(axis=1, initial=0.0)
        # A row of zeros has no scale: any difference from it is infinitely large.
        ratio = np.divide(largest, scale, out=np.where(largest > 0, np.inf, 0.0), where=scale > 0)
        relative, by_output[:, place] = np.maximum(relative, ratio), largest
    return {
        "bit_equal": bit_equal,
        "difference": by_output.max(axis=1),
        "relative_difference": relative,
        "by_output": by_output,
    }


def shortest_format(answers: Outputs) -> str:
    """Name the shorter float format that holds every float answer: ``bf16``, ``f16``, or none: empty.

    Answers that are few, whole, or much shorter than the format say nothing.
    """
    floats = [y.reshape(-1).astype(np.float64) for y in answers.values() if y.dtype == np.float32]
    values = np.concatenate([np.zeros(0), *floats])
    values = values[np.isfinite(values) & (values != 0)]
    if len(np.unique(values)) < FEWEST_VALUES or (values == np.rint(values)).all():
        return ""
    for name, bits in (("bf16", 8), ("f16", 11)):
        mantissa = np.ldexp(np.frexp(values)[0], bits)
        whole = mantissa == np.rint(mantissa)
        if whole.all():
            # Of numbers that were rounded to so many bits, half have the last bit set.
            return name if (mantissa % 2 == 1).mean() > LAST_BIT_SHARE else ""
    return ""


def _plain(y: NDArray[np.generic]) -> NDArray[np.generic]:
    """Strings as numpy's own: the bytes of an object array are addresses."""
    return y.astype(np.str_) if y.dtype.kind == "O" else y
