"""Corruptions of tables and sequences: faults of sensors.

Strengths are relative to the spread of each feature in the calibration samples, so that the constants fit
features of any unit. The last axis has the features; axes between the first and the last are time or space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Streams = Iterator[np.random.Generator]
FeatureFamily = Callable[[Values, Values, int, Streams], Values]


def spread_of(samples: npt.NDArray[np.generic]) -> Values:
    """Return the standard deviation of each feature over the samples and all axes but the last.

    Returns
    -------
    ndarray, shape of the last axis, or () if a sample is one number; float64
    """
    values = samples.astype(np.float64)
    spread: Values = values.std(axis=tuple(range(max(1, values.ndim - 1))))
    return spread


# `x` is float64 of shape (n, ..., f) and may be overwritten, `spread` is that of `spread_of`, and `s` is
# severity − 1; `streams` has a generator for each sample.


def _gaussian_noise(spread: Values, x: Values, s: int, streams: Streams) -> Values:
    sigma = (0.05, 0.1, 0.2, 0.35, 0.5)[s] * spread
    for i, stream in enumerate(streams):
        x[i] += sigma * stream.standard_normal(x.shape[1:])
    return x


def _dropout(spread: Values, x: Values, s: int, streams: Streams) -> Values:
    # A lost reading becomes zero.
    share = (0.02, 0.05, 0.1, 0.2, 0.3)[s]
    for i, stream in enumerate(streams):
        x[i] = np.where(stream.random(x.shape[1:]) < share, 0.0, x[i])
    return x


def _gain(spread: Values, x: Values, s: int, streams: Streams) -> Values:
    # A badly calibrated sensor: one wrong factor per feature of a sample.
    error = (0.02, 0.05, 0.1, 0.2, 0.3)[s]
    for i, stream in enumerate(streams):
        x[i] *= 1 + error * _signs(stream, spread.shape)
    return x


def _offset(spread: Values, x: Values, s: int, streams: Streams) -> Values:
    # A drifted zero point: one wrong offset per feature of a sample.
    error = (0.1, 0.2, 0.4, 0.7, 1.0)[s] * spread
    for i, stream in enumerate(streams):
        x[i] += error * _signs(stream, spread.shape)
    return x


def _spikes(spread: Values, x: Values, s: int, streams: Streams) -> Values:
    # Rare readings that are five spreads off.
    share = (0.005, 0.01, 0.02, 0.05, 0.1)[s]
    for i, stream in enumerate(streams):
        hit = stream.random(x.shape[1:]) < share
        x[i] += 5 * spread * hit * _signs(stream, x.shape[1:])
    return x


def _resolution(spread: Values, x: Values, s: int, streams: Streams) -> Values:
    # A coarser converter: steps relative to the spread.
    step = (0.1, 0.25, 0.5, 1.0, 1.5)[s] * spread
    coarse: Values = np.where(step > 0, np.rint(x / np.where(step > 0, step, 1.0)) * step, x)
    return coarse


def _signs(stream: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.asarray(2.0 * stream.integers(2, size=shape) - 1.0)


FEATURE_FAMILIES: Mapping[str, FeatureFamily] = MappingProxyType(
    {
        "gaussian_noise": _gaussian_noise,
        "dropout": _dropout,
        "gain": _gain,
        "offset": _offset,
        "spikes": _spikes,
        "resolution": _resolution,
    }
)
