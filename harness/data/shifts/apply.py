"""One family at one severity, applied to samples."""

from __future__ import annotations

import hashlib
import math
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError, HarnessError, UsageError
from harness.core.preprocess import Preprocess
from harness.data.shifts.family import About, Family, Kind, Streams, Values

SMALLEST_SIDE = 8
_CHUNK_BYTE = 1 << 26  # of float64 at a time, so that a set of photos fits into memory

Array = npt.NDArray[np.generic]


def about(
    kind: Kind,
    raw: Array,
    reference: Array | None = None,
    step: Preprocess | None = None,
    rate_hz: float | None = None,
) -> About:
    """Describe an input for families.

    Parameters
    ----------
    raw : ndarray, shape (n, …)
        Images: uint8, (n, h, w, c) or (n, h, w), sides of at least 8 pixels. Others: integers or floats.
    reference : ndarray, shape (m, …), optional
        Calibration samples, which give the spread of each feature; unused for images.

    Raises
    ------
    DataError
        Data of that kind cannot be changed by families.
    """
    mean = spread = None
    if kind is Kind.IMAGE:
        _check_images(raw)
    elif kind is Kind.AUDIO:
        _check_audio(raw)
    else:
        _check_features(raw, reference)
        values = np.asarray(reference).astype(np.float64)
        one_channel = kind is not Kind.TABLE and values.ndim == 2
        axes = tuple(range(2 if one_channel else max(1, values.ndim - 1)))
        mean, spread = np.asarray(values.mean(axis=axes)), np.asarray(values.std(axis=axes))
    return About(kind, raw.shape[1:], raw.dtype, mean, spread, step or Preprocess(), rate_hz)


def shift(
    raw: Array, ids: npt.NDArray[np.int64], family: Family, severity: int, *, seed: int, about: About
) -> Array:
    """Return changed copies of the samples.

    Parameters
    ----------
    raw : ndarray, shape (n, …)
    ids : ndarray, shape (n,), int64
        Fixed number of each sample; its random stream depends on (seed, family, severity, id) only.
    severity : int
        1 (mild) to 5.
    seed : int
        Of the table ``[shifts]``.
    about : About
        The input (see `about`).

    Returns
    -------
    ndarray
        Same shape as `raw`; same dtype, unless the family has its own.

    Raises
    ------
    UsageError
        The family has no such severity, or does not apply.
    DataError
        The ids do not fit.
    HarnessError
        The family changed the shape of the samples.
    """
    where = f"shift {family.name!r}"
    if severity not in family.severities:
        severities = ", ".join(map(str, family.severities))
        raise UsageError(f"{family.name!r} has no severity {severity}", next_step=f"use {severities}")
    if len(ids) != len(raw):
        raise DataError(f"{len(raw)} samples but {len(ids)} ids", where=where)
    if reason := family.reason_against(about):
        raise UsageError(f"{family.name!r} cannot be made: {reason}", where="shifts.families")
    dtype = np.dtype(family.dtype) if family.dtype else raw.dtype
    samples = raw[..., np.newaxis] if about.kind is Kind.IMAGE and raw.ndim == 3 else raw
    random = streams(ids, family.name, severity, seed)
    changed = np.empty(samples.shape, dtype)
    step = max(1, _CHUNK_BYTE // (8 * math.prod(samples.shape[1:])))
    for start in range(0, len(samples), step):
        chunk = samples[start : start + step]
        values = np.asarray(
            family.change(chunk.astype(np.float64), severity, islice(random, len(chunk)), about)
        )
        if values.shape != chunk.shape:
            raise HarnessError(
                f"the family {family.name} made samples of shape {values.shape[1:]} "
                f"of samples of shape {chunk.shape[1:]}",
                where=where, cause="a family keeps the shape", next_step="see docs/adding-a-shift.md",
            )  # fmt: skip
        changed[start : start + step] = _cast(values, dtype)
    return changed.reshape(raw.shape)


def streams(ids: npt.NDArray[np.int64], family: str, severity: int, seed: int) -> Streams:
    """Yield the generator of each sample; a family without randomness uses none."""
    for sample in ids.tolist():
        digest = hashlib.blake2b(f"{seed}/{family}/{severity}/{sample}".encode(), digest_size=16).digest()
        yield np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def _check_images(raw: Array) -> None:
    if raw.dtype != np.uint8 or raw.ndim not in (3, 4) or min(raw.shape[1:3]) < SMALLEST_SIDE:
        raise DataError(
            f"image corruptions need uint8 images (n, h, w, c) of at least {SMALLEST_SIDE} pixels a side, "
            f"not {raw.dtype} of shape {raw.shape}",
            where="shifts.kind",
            next_step='use raw uint8 pixels in NHWC, or the corruptions of kind "features"',
        )


def _check_audio(raw: Array) -> None:
    if raw.dtype.kind not in "if" or raw.ndim not in (2, 3):
        raise DataError(
            f"shifts of audio need sound, (n, time) or (n, time, channels), not {raw.dtype} {raw.shape}",
            where="shifts.kind",
            next_step='use the shifts of kind "features" for what was computed of the sound',
        )


def _check_features(raw: Array, reference: Array | None) -> None:
    if raw.dtype.kind not in "iuf":
        raise DataError(f"features of dtype {raw.dtype} cannot be corrupted", where="shifts.kind")
    if reference is None or reference.shape[1:] != raw.shape[1:] or not len(reference):
        given = "none" if reference is None else f"an array of shape {reference.shape}"
        raise DataError(
            f"feature corruptions need calibration samples of shape {raw.shape[1:]}, not {given}",
            where="shifts.kind",
            next_step="use calibration samples with the shape of the test samples",
        )


def _cast(values: Values, dtype: np.dtype[Any]) -> Array:
    """Return the nearest values of the dtype."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.clip(values, float(limits.min), float(limits.max)).astype(dtype)
    bounds = np.iinfo(dtype)
    # The largest 64-bit integers round up in float64, beyond the range of the cast.
    highest = float(bounds.max) if bounds.bits < 64 else np.nextafter(float(bounds.max), 0)
    return np.clip(np.rint(values), float(bounds.min), highest).astype(dtype)
