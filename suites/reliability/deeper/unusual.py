"""Finite values that data sets rarely have: they are answered alike each time, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench, Session, Unsupported
from harness.core.errors import BackendError
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds
from suites.reliability.rows import digest, singles

#: Draws of values with any exponent.
DRAWN = 3


def unusual(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int) -> Mapping[str, NDArray[Any]]:
    """Return arrays of unusual values by name.

    Parameters
    ----------
    dtype : dtype
        A float.
    shape : tuple of int
    seed : int
        Of the values that are drawn: any sign, any exponent, denormal ones among them.
    """
    limits, random = np.finfo(dtype), np.random.default_rng(seed)
    bits = np.dtype(f"u{dtype.itemsize}")
    made = {
        "the smallest denormal": np.full(shape, limits.smallest_subnormal, dtype),
        "denormals": (random.random(shape) * float(limits.tiny)).astype(dtype),
        "minus zero": np.full(shape, -0.0, dtype),
        "the largest number": np.full(shape, limits.max, dtype),
        "the lowest number": np.full(shape, limits.min, dtype),
    }
    for number in range(DRAWN):
        drawn = random.integers(0, np.iinfo(bits).max, shape, bits, endpoint=True).view(dtype)
        made[f"any exponent, draw {number + 1}"] = np.where(np.isfinite(drawn), drawn, dtype.type(0))
    return made


def unusual_values(bench: Bench, case: Case) -> Samples:
    """Run each kind twice in one session, and an ordinary row after it; once more in a fresh session.

    Returns
    -------
    Samples
        By kind, shape (kinds,), bool: ``repeated``, the answers had the same bytes; ``recovered``, the
        ordinary row had the bytes that it had at first. Values: ``kinds``, those that were answered, and
        ``refused``.
    """
    repeated, recovered = [], []
    answered: dict[str, bytes] = {}
    refused: list[str] = []
    with bench.open() as session:
        ordinary = singles(bench, case, bench.feeding(session))[0]
        floats = [name for name, x in ordinary.items() if x.dtype.kind == "f"]
        if not floats:
            raise Unsupported("the file takes no float input")
        kinds = {
            kind: {
                **ordinary,
                **{
                    n: unusual(ordinary[n].dtype, ordinary[n].shape, case.params["seed"])[kind]
                    for n in floats
                },
            }
            for kind in unusual(np.dtype(np.float32), (1,), 0)
        }
        expected = digest(session.run(ordinary))
        for kind, feeds in kinds.items():
            once, twice = _answer(session, feeds), _answer(session, feeds)
            repeated.append(once == twice)
            recovered.append(_answer(session, ordinary) == expected)
            if once is None:
                refused.append(kind)
            else:
                answered[kind] = once
    with bench.open() as session:
        for place, (kind, feeds) in enumerate(kinds.items()):
            if kind in answered:
                repeated[place] &= _answer(session, feeds) == answered[kind]
    return Samples(
        {"repeated": np.array(repeated), "recovered": np.array(recovered)},
        {"kinds": list(kinds), "refused": refused},
    )


def _answer(session: Session, feeds: Feeds) -> bytes | None:
    """The digest of an answer; None where it is refused."""
    try:
        return digest(session.run(feeds))
    except BackendError:
        return None
