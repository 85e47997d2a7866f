"""The data set of the bundled wake word: streams of tones, as a machine that waits for a signal hears them.

The wake word is a low tone that a high one follows. The high tone before the low one, single tones, clicks
and bursts of noise are none. Signals are loud and quiet, by a factor of 500.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.datasets import Dataset, Split

RATE_HZ, WINDOW, HOP = 4000, 2000, 1000
#: Streams of each part, and seconds of a stream.
N_TEST, N_CALIBRATION, LENGTH_S = 120, 40, 10
NAMES = ("background", "wake")
_LOW_HZ, _HIGH_HZ, _TONE_S, _NOISE = 500, 800, 0.15, 0.0001
_LOUDEST, _QUIETEST = 0.5, 0.001
_SEEDS = {"calibration": 1, "test": 2}

Signal = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stream:
    """A signal, and the start and the end of each wake word in seconds."""

    signal: Signal
    events: tuple[tuple[float, float], ...]


def tones() -> Split:
    """Return windows of streams for calibration and test.

    Returns
    -------
    Split
        Input ``audio``, shape (n, 2000), float32, a window of half a second every quarter; labels 0 and 1;
        the column ``file`` has the stream of each window.
    """
    return Split(
        calibration=windows(streams(N_CALIBRATION, seed=_SEEDS["calibration"]), prefix="c"),
        test=windows(streams(N_TEST, seed=_SEEDS["test"]), prefix="t"),
    )


def windows(made: list[Stream], *, prefix: str = "s") -> Dataset:
    """Cut streams into windows; a window has the class of what is at its centre."""
    parts, labels, names = [], [], []
    for number, stream in enumerate(made):
        starts = np.arange(0, len(stream.signal) - WINDOW + 1, HOP)
        parts.append(np.lib.stride_tricks.sliding_window_view(stream.signal, WINDOW)[starts])
        centre_s = (starts + WINDOW / 2) / RATE_HZ
        of_stream = np.zeros(len(starts), np.int64)
        for start_s, stop_s in stream.events:
            of_stream[(centre_s >= start_s) & (centre_s < stop_s)] = 1
        labels.append(of_stream)
        names += [f"{prefix}{number:02}"] * len(starts)
    whole = np.concatenate(parts)
    ids = np.arange(len(whole), dtype=np.int64)
    return Dataset(
        {"audio": whole}, np.concatenate(labels), ids, NAMES,
        metadata={"file": np.array(names)},
    )  # fmt: skip


def streams(n: int, *, seed: int, length_s: int = LENGTH_S) -> list[Stream]:
    """Make n streams of `length_s` seconds."""
    return [_stream(np.random.default_rng([seed, number]), length_s) for number in range(n)]


def _stream(rng: np.random.Generator, length_s: int) -> Stream:
    signal = _NOISE * rng.standard_normal(length_s * RATE_HZ)
    events, at_s = [], 0.5 + rng.random()
    while at_s + 1 < length_s:
        level = _QUIETEST * (_LOUDEST / _QUIETEST) ** rng.random()
        kind = rng.choice(["wake", "wake", "reverse", "low", "high", "burst", "click"])
        first, second = {
            "wake": (_LOW_HZ, _HIGH_HZ), "reverse": (_HIGH_HZ, _LOW_HZ), "low": (_LOW_HZ, _LOW_HZ),
            "high": (_HIGH_HZ, _HIGH_HZ),
        }.get(kind, (0, 0))  # fmt: skip
        start = int(at_s * RATE_HZ)
        if kind == "click":
            signal[start : start + 4] += np.array([1.0, -1.0, 0.5, -0.5])
        elif kind == "burst":
            signal[start : start + RATE_HZ // 4] += level * rng.standard_normal(RATE_HZ // 4)
        else:
            sound = np.concatenate([_tone(hz * rng.uniform(0.97, 1.03), rng) for hz in (first, second)])
            signal[start : start + len(sound)] += level * sound
            if kind == "wake":
                events.append((at_s, at_s + 2 * _TONE_S))
        at_s += 1 + 1.5 * rng.random()
    # Steps of 16 bits, as in a file: sines differ in their last bits between machines.
    return Stream((np.rint(32767 * np.clip(signal, -1, 1)) / 32768).astype(np.float32), tuple(events))


def _tone(hz: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    time_s = np.arange(int(_TONE_S * RATE_HZ)) / RATE_HZ
    edge = np.minimum(1, np.minimum(time_s, time_s[::-1]) / 0.01)
    sound: npt.NDArray[np.float64] = edge * np.sin(2 * np.pi * (hz * time_s + rng.random()))
    return sound
