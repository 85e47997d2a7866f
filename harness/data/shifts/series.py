"""Shifts of time series: what a sensor, its clock and its link do to a window of readings.

The first axis of a sample is time; with a second one it has channels. Strengths are relative to the spread of
each channel in the calibration samples, or to the length of the window.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.data.shifts.family import About, ChangeOne, Family, Kind, Values, one_by_one
from harness.data.shifts.features import NI, spread

LEAST_STEPS = 8
UM = "Um et al., ICMI 2017"


def _axes(about: About) -> str:
    """Why a sample is no window of readings."""
    if len(about.shape) not in (1, 2):
        return f"a sample of shape {about.shape} has no one time axis"
    if about.shape[0] < LEAST_STEPS:
        return f"it needs {LEAST_STEPS} readings in a sample, and these have {about.shape[0]}"
    return ""


def _channels(about: About) -> str:
    return _axes(about) or ("" if len(about.shape) == 2 and about.shape[1] > 1 else "there is one channel")


def _rate(about: About) -> str:
    if about.rate_hz is None:
        return _axes(about) or "it needs the readings a second: set [shifts] rate_hz"
    enough = about.rate_hz > 120
    return _axes(about) or ("" if enough else f"60 Hz need more than {about.rate_hz:g} readings a second")


def read_at(x: Values, times: Values) -> Values:
    """Return a window read at other times, by linear interpolation; the ends go on as they are.

    Parameters
    ----------
    x : ndarray, shape (time,) or (time, channels)
    times : ndarray, shape (time,)
        In steps.
    """
    last = len(x) - 1
    clipped = np.clip(times, 0, last)
    before = np.minimum(clipped.astype(np.int64), last - 1)
    share = clipped - before
    if x.ndim == 2:
        share = share[:, np.newaxis]
    read: Values = x[before] * (1 - share) + x[before + 1] * share
    return read


def _column(values: Values, x: Values) -> Values:
    """Bring one value a reading into the shape of the window."""
    return values[:, np.newaxis] if x.ndim == 2 else values


def _gain_drift(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    error = (0.05, 0.1, 0.2, 0.35, 0.5)[severity - 1] * (2 * random.integers(2) - 1)
    return x * _column(1 + error * np.linspace(0, 1, len(x)), x)


def _baseline_wander(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    amplitude = (0.1, 0.2, 0.4, 0.7, 1.0)[severity - 1] * spread(about)
    periods, phase = random.uniform(0.5, 2), random.uniform(0, 2 * math.pi)
    wave = np.sin(2 * math.pi * periods * np.arange(len(x)) / len(x) + phase)
    return x + amplitude * _column(wave, x)


def _clipping(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    assert about.mean is not None
    reach = (3.0, 2.5, 2.0, 1.5, 1.0)[severity - 1] * spread(about)
    return np.clip(x, about.mean - reach, about.mean + reach)


def _missing_segment(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    length = max(1, round((0.05, 0.1, 0.2, 0.3, 0.4)[severity - 1] * len(x)))
    start = int(random.integers(len(x) - length + 1))
    x[start : start + length] = x[max(0, start - 1)]
    return x


def _stuck_channel(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    length = max(1, round((0.2, 0.35, 0.5, 0.75, 1.0)[severity - 1] * len(x)))
    channel = int(random.integers(x.shape[1]))
    x[-length:, channel] = x[-length, channel]
    return x


def _lost_channels(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    x[:, random.random(x.shape[1]) < (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]] = 0
    return x


def _time_warp(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    share = np.linspace(0, 1, len(x))
    weights = random.standard_normal(3)
    waves = sum(weight * np.sin(math.pi * (k + 1) * share) for k, weight in enumerate(weights))
    # With 5 % of the length time still goes forwards: the slope of the third wave is below 1.
    reach = (0.01, 0.02, 0.03, 0.04, 0.05)[severity - 1] * (len(x) - 1)
    return read_at(x, np.arange(len(x)) + reach * waves / max(float(np.abs(waves).max()), 1e-9))


def _other_rate(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    error = (0.01, 0.02, 0.04, 0.07, 0.1)[severity - 1] * (2 * random.integers(2) - 1)
    return read_at(x, np.arange(len(x)) * (1 + error))


def _sampling_jitter(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    sigma = (0.1, 0.2, 0.4, 0.7, 1.0)[severity - 1]
    return read_at(x, np.arange(len(x)) + sigma * random.standard_normal(len(x)))


def _mains_hum(x: Values, severity: int, random: np.random.Generator, about: About) -> Values:
    assert about.rate_hz is not None
    amplitude = (0.1, 0.2, 0.4, 0.7, 1.0)[severity - 1] * spread(about)
    mains_hz, phase = (50.0, 60.0)[int(random.integers(2))], random.uniform(0, 2 * math.pi)
    wave = np.sin(2 * math.pi * mains_hz / about.rate_hz * np.arange(len(x)) + phase)
    return x + amplitude * _column(wave, x)


def _family(
    change: ChangeOne, stands_for: str, source: str, loss_means: str, applies: Callable[[About], str] = _axes
) -> Family:
    name = change.__name__.removeprefix("_")
    return Family(
        name, (Kind.SERIES,), one_by_one(change), stands_for, source, loss_means, applies=applies
    )  # fmt: skip


#: In the order in which they run.
SERIES_FAMILIES: tuple[Family, ...] = (
    _family(
        _gain_drift,
        "The factor of a sensor that drifts within a window: it warms up, its battery runs down.",
        f"{NI}: calibration fault, drift; low battery",
        "Absolute levels decide: normalize each window, or calibrate more often.",
    ),
    _family(
        _baseline_wander,
        "A slow wave under the signal: breath, motion of an electrode, temperature.",
        "MIT-BIH Noise Stress Test Database (Moody et al., 1984)",
        "A high-pass filter before the model helps.",
    ),
    _family(
        _clipping,
        "Readings beyond the range of the converter.",
        f"{NI}: environment out of range",
        "Peaks decide: a wider range of the sensor, or training data with clipped peaks.",
    ),
    _family(
        _missing_segment,
        "A gap of the link, filled with the last value.",
        f"{NI}: connection fault",
        "A constant part is read as rest: mark gaps, or leave such windows out.",
    ),
    _family(
        _stuck_channel,
        "A sensor that hangs and repeats its last value.",
        f"{NI}: stuck-at fault",
        "One channel decides alone: detect that it does not vary.",
        _channels,
    ),
    _family(
        _lost_channels,
        "Sensors that are not there, or give zero.",
        f"{NI}: connection fault",
        "The model needs all channels: train with some left out.",
        _channels,
    ),
    _family(
        _time_warp,
        "Motion or speech that is faster here and slower there than in the training data.",
        f"{UM}: time warping",
        "Exact durations decide: train with warped windows.",
    ),
    _family(
        _other_rate,
        "A device that samples at another rate than the training data, or whose clock is off.",
        "IEEE Std 1057: time base errors",
        "Frequencies move: resample by the measured rate.",
    ),
    _family(
        _sampling_jitter,
        "Readings that are not taken at equal intervals: a busy processor, a software timer.",
        "IEEE Std 1057: aperture uncertainty",
        "High frequencies decide: use a hardware timer, or time stamps.",
    ),
    _family(
        _mains_hum,
        "Mains of 50 or 60 Hz that cables pick up; it needs `[shifts] rate_hz`.",
        "Friesen et al., IEEE Trans. Biomed. Eng. 1990: power-line interference",
        "A notch filter before the model helps.",
        _rate,
    ),
)
