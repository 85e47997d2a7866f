"""Corruptions of tables and sequences: faults of sensors.

Strengths are relative to the spread of each feature in the calibration samples, so that the constants fit
features of any unit. The last axis has the features; axes between the first and the last are time or space.
"""

from __future__ import annotations

import numpy as np

from harness.core.errors import DataError
from harness.data.shifts.family import About, Change, Family, Kind, Streams, Values

#: Faults of sensors.
NI = "Ni et al., ACM Trans. Sensor Networks 2009"


def spread(about: About) -> Values:
    """Standard deviation of each feature over the calibration samples."""
    if about.spread is None:
        raise DataError(
            "there are no calibration samples, which give the spread of each feature", where="data"
        )
    return about.spread


# `x` is float64 of shape (n, ..., f).


def _gaussian_noise(x: Values, severity: int, streams: Streams, about: About) -> Values:
    sigma = (0.05, 0.1, 0.2, 0.35, 0.5)[severity - 1] * spread(about)
    for i, stream in enumerate(streams):
        x[i] += sigma * stream.standard_normal(x.shape[1:])
    return x


def _dropout(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # A lost reading becomes zero.
    share = (0.02, 0.05, 0.1, 0.2, 0.3)[severity - 1]
    for i, stream in enumerate(streams):
        x[i] = np.where(stream.random(x.shape[1:]) < share, 0.0, x[i])
    return x


def _gain(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # A badly calibrated sensor: one wrong factor per feature of a sample.
    error = (0.02, 0.05, 0.1, 0.2, 0.3)[severity - 1]
    for i, stream in enumerate(streams):
        x[i] *= 1 + error * _signs(stream, spread(about).shape)
    return x


def _offset(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # A drifted zero point: one wrong offset per feature of a sample.
    error = (0.1, 0.2, 0.4, 0.7, 1.0)[severity - 1] * spread(about)
    for i, stream in enumerate(streams):
        x[i] += error * _signs(stream, spread(about).shape)
    return x


def _spikes(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # Rare readings that are five spreads off.
    share = (0.005, 0.01, 0.02, 0.05, 0.1)[severity - 1]
    for i, stream in enumerate(streams):
        hit = stream.random(x.shape[1:]) < share
        x[i] += 5 * spread(about) * hit * _signs(stream, x.shape[1:])
    return x


def _resolution(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # A coarser converter: steps relative to the spread.
    step = (0.1, 0.25, 0.5, 1.0, 1.5)[severity - 1] * spread(about)
    coarse: Values = np.where(step > 0, np.rint(x / np.where(step > 0, step, 1.0)) * step, x)
    return coarse


def _signs(stream: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.asarray(2.0 * stream.integers(2, size=shape) - 1.0)


def _family(change: Change, stands_for: str, source: str, loss_means: str) -> Family:
    name = change.__name__.removeprefix("_")
    return Family(name, (Kind.SERIES, Kind.TABLE), change, stands_for, source, loss_means)


#: In the order in which they run.
FEATURE_FAMILIES: tuple[Family, ...] = (
    _family(
        _gaussian_noise, "Noise of a sensor and its amplifier.", "Iwana & Uchida, PLOS ONE 2021: jittering",
        "The model relies on differences as small as the noise: average several readings.",
    ),
    _family(
        _dropout, "Lost readings that arrive as zero.", f"{NI}: stuck-at",
        "Zero is read as a value: mark lost readings, or train with them.",
    ),
    _family(
        _gain, "A sensor with a wrong factor.", f"{NI}: calibration fault, gain",
        "Scales of features were learnt from one device: calibrate each, or train with several.",
    ),
    _family(
        _offset, "A sensor whose zero point has drifted.",
        f"{NI}: calibration fault, offset",
        "Absolute levels decide: subtract a reference reading, or recalibrate.",
    ),
    _family(
        _spikes, "Single wrong readings: loose contacts, radio interference.",
        f"{NI}: outliers",
        "Single values decide: a median filter before the model helps.",
    ),
    _family(
        _resolution, "A converter with fewer bits, or rounded readings.",
        "Kester, Data Conversion Handbook, 2005: quantization",
        "The model needs finer steps than the converter has; int8 inputs add to it.",
    ),
)  # fmt: skip
