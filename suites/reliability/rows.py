"""The rows that the checks run, and how two answers to them are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.contracts import Bench, Session, Unsupported
from harness.core.job import Case
from harness.core.preprocess import Feeds, Outputs, to_feeds, to_outputs


def fixed_batch(session: Session) -> int | None:
    """Rows that the file takes at once; None where the caller chooses."""
    sizes = [spec.shape[0] for spec in session.inputs if spec.shape]
    return next((size for size in sizes if size is not None), None)


def singles(bench: Bench, case: Case, session: Session) -> list[Feeds]:
    """Feeds of one row each; of as many as the file takes, where that is fixed, the last rows repeated."""
    size = fixed_batch(session) or 1
    return [_feeds(bench, case, session, start, size) for start in range(0, case.samples, size)]


def one_batch(bench: Bench, case: Case, session: Session) -> Feeds:
    """All rows in one batch; only for a file whose batch the caller chooses."""
    return _feeds(bench, case, session, 0, case.samples)


def every_way(bench: Bench, case: Case, session: Session) -> list[Feeds]:
    """The rows one by one, then all at once where the file can."""
    alone = singles(bench, case, session)
    return alone if fixed_batch(session) else [*alone, one_batch(bench, case, session)]


def _feeds(bench: Bench, case: Case, session: Session, start: int, size: int) -> Feeds:
    canonical = bench.data.feeds(case.data, 0, case.samples)
    chosen = {name: x[(start + np.arange(size)) % len(x)] for name, x in canonical.items()}
    return to_feeds(chosen, bench.artifact, session.inputs)


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


def compare(
    answers: Outputs, others: Outputs, artifact: Artifact, session: Session, n: int
) -> dict[str, NDArray[np.generic]]:
    """Compare two sets of outputs of the same `n` rows, row by row.

    Returns
    -------
    dict
        ``bit_equal``, shape (n,), bool: all outputs as the file returned them. ``difference``, shape (n,),
        float64: largest absolute difference of the real numbers (infinite where only one is finite).
        ``relative_difference``: the same over the row's largest absolute answer.

    Raises
    ------
    Unsupported
        An output does not have one entry a row.
    """
    bit_equal = np.ones(n, bool)
    for name, answer in answers.items():
        a, b = _plain(answer), _plain(others[name])
        if a.shape != b.shape or a.shape[:1] != (n,):
            raise Unsupported(f"the output {name} has the shape {a.shape}, no entry for each of {n} rows")
        bit_equal &= np.array([x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)])
    difference, relative = np.zeros(n), np.zeros(n)
    real = to_outputs(answers, artifact, session.outputs)
    real_others = to_outputs(others, artifact, session.outputs)
    for name, answer in real.items():
        if answer.dtype.kind in "OUS":
            continue
        a, b = (y.reshape(n, -1).astype(np.float64) for y in (answer, real_others[name]))
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):  # infinity minus infinity, where they are the same
            gap = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf))
        largest = gap.max(axis=1, initial=0.0)
        scale = np.where(np.isfinite(a), np.abs(a), 0.0).max(axis=1, initial=0.0)
        # A row of zeros has no scale: any difference from it is infinitely large.
        ratio = np.divide(largest, scale, out=np.where(largest > 0, np.inf, 0.0), where=scale > 0)
        difference, relative = np.maximum(difference, largest), np.maximum(relative, ratio)
    return {"bit_equal": bit_equal, "difference": difference, "relative_difference": relative}


def stacked(answers: Sequence[Outputs]) -> Outputs:
    """Join outputs along the batch axis.

    Raises
    ------
    Unsupported
        An output has no axis.
    """
    for name, y in answers[0].items():
        if y.ndim == 0:
            raise Unsupported(f"the output {name} is a scalar and has no batch axis")
    return {name: np.concatenate([outputs[name] for outputs in answers]) for name in answers[0]}


def _plain(y: NDArray[np.generic]) -> NDArray[np.generic]:
    """Strings as numpy's own: the bytes of an object array are addresses."""
    return y.astype(np.str_) if y.dtype.kind == "O" else y
