"""Shifts of audio by the library audiomentations: what rooms, microphones and links do to sound.

The library draws from Python's and NumPy's global state; here each sample seeds both from its own stream, so
that a subset of a set, or the set in another order, gets the same values. A window is changed by itself: one
that overlaps it gets another noise.
"""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from harness.core.commands import install
from harness.data.shifts.family import About, Family, Kind, Streams, Values

#: Distributions whose versions decide the values.
DECIDING = ("audiomentations", "numpy", "scipy")
SOURCE = "audiomentations (I. Jordal)"


def library_missing() -> str:
    """Why the library cannot be used here, and the command that installs it; empty where it can."""
    try:
        _library()
    except ImportError as error:
        return f"the library audiomentations cannot be imported ({error}): {install('shifts')}"
    return ""


@cache
def _library() -> Any:  # noqa: ANN401 - untyped
    return importlib.import_module("audiomentations")


def _versions() -> str:
    return " ".join(f"{name}=={version(name)}" for name in DECIDING)


def _by_library(
    transform: str, options: Sequence[Mapping[str, float]], x: Values, severity: int, streams: Streams,
    about: About,
) -> Values:  # fmt: skip
    """Change every sample; options that are called ``…_share`` are shares of the rate."""
    rate_hz = int(about.rate_hz or 0)
    given = {
        key.removesuffix("_share"): value * rate_hz if key.endswith("_share") else value
        for key, value in options[severity - 1].items()
    }
    largest = 1.0 if about.dtype.kind == "f" else float(np.iinfo(about.dtype).max)
    change = getattr(_library(), transform)(p=1.0, **given)
    for sample, stream in zip(x, streams, strict=True):
        seed = int(stream.integers(2**32))
        state, python = np.random.get_state(), random.getstate()
        np.random.seed(seed)
        random.seed(seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sample[:] = _of_sound(change, sample, rate_hz, largest)
        finally:
            np.random.set_state(state)
            random.setstate(python)
    return x


def _of_sound(change: Any, sample: Values, rate_hz: int, largest: float) -> Values:  # noqa: ANN401 - untyped
    """Change one sample, (time,) or (time, channels), which the library takes with its channels first."""
    sound = np.ascontiguousarray(sample.T / largest, np.float32)
    if not sound.any():
        return sample  # silence has no level that a ratio could be relative to
    changed: Values = change(samples=sound, sample_rate=rate_hz).T.astype(np.float64) * largest
    return changed


def _needs_rate(about: About) -> str:
    return "" if about.rate_hz else "it needs the samples a second: [data.audio] or [shifts] rate_hz"


def _family(
    name: str,
    transform: str,
    options: Sequence[Mapping[str, float]],
    stands_for: str,
    loss_means: str,
) -> Family:
    return Family(
        name, (Kind.AUDIO,), partial(_by_library, transform, options), stands_for, SOURCE, loss_means,
        applies=_needs_rate, missing=library_missing, slow=True, version=_versions,
    )  # fmt: skip


def _both(key: str, values: Sequence[float]) -> list[dict[str, float]]:
    """Options whose smallest value is their largest one, so that it is not drawn."""
    return [{f"min_{key}": value, f"max_{key}": value} for value in values]


def _filter(shares: Sequence[float]) -> list[dict[str, float]]:
    """Filters of 12 dB an octave from shares of the rate."""
    return [{**cutoff, "min_rolloff": 12, "max_rolloff": 12} for cutoff in _both("cutoff_freq_share", shares)]


#: In the order in which they run.
AUDIO_FAMILIES: tuple[Family, ...] = (
    _family(
        "background_noise", "AddGaussianSNR", _both("snr_db", (30.0, 20.0, 15.0, 10.0, 5.0)),
        "Noise of a microphone, a fan or wind: 30 to 5 dB below the sound.",
        "Train with noise, or clean the signal before the model.",
    ),
    _family(
        "distance", "Gain", _both("gain_db", (-6.0, -12.0, -18.0, -24.0, -30.0)),
        "A speaker further away, or a microphone with less gain.",
        "The model relies on level: normalize it, and mind the steps of an int8 input.",
    ),
    _family(
        "overdrive", "ClippingDistortion", _both("percentile_threshold", (1, 5, 10, 20, 40)),
        "A speaker too close, or a microphone with too much gain: peaks are cut.",
        "Lower the gain, or train with clipped sound.",
    ),
    _family(
        "muffled", "LowPassFilter", _filter((0.4, 0.3, 0.2, 0.12, 0.08)),
        "A microphone behind cloth, a mask or a case; a telephone's band.",
        "High frequencies decide: train with narrow bands.",
    ),
    _family(
        "thin", "HighPassFilter", _filter((0.02, 0.04, 0.06, 0.1, 0.15)),
        "A small loudspeaker or microphone without low frequencies.",
        "Low frequencies decide: train with small devices.",
    ),
    _family(
        "gap", "TimeMask", [
            {"min_band_part": part, "max_band_part": part, "fade_duration": 0.0}
            for part in (0.05, 0.1, 0.2, 0.3, 0.5)
        ],
        "Lost packets, or a buffer that ran empty: a part of the window is silent.",
        "One part of the window decides: use overlapping windows.",
    ),
    _family(
        "converter", "BitCrush", _both("bit_depth", (12, 10, 8, 7, 6)),
        "A converter with fewer bits.",
        "Quiet sound is lost in the steps, as in an int8 input.",
    ),
)  # fmt: skip
