"""Audio files, decoded by soundfile: real numbers in [-1, 1] at the rate that the model takes.

Nothing is resampled: another rate is another signal for the model, and the resampler of its training is not
known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.core.commands import install
from harness.core.errors import DataError, TargetUnavailable
from harness.data.files import MAX_BYTES, check_bytes, check_file, is_tool_file
from harness.data.image_files import suffixes

Signal = npt.NDArray[np.float32]
SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3")
#: Files that a message lists.
_LISTED = 3


@dataclass(frozen=True, slots=True)
class AudioRecipe:
    """How audio files become samples.

    Parameters
    ----------
    rate_hz : int
        Sample rate that the model takes; files of another one are refused.
    window_samples : int
        Length of a window, as the model takes it.
    hop_samples : int, optional
        From the start of a window to that of the next one; None: a file is one window, filled up by silence.
    channels : {"one", "first", "mean"}
        Files of several channels are refused, or their first channel or the mean of all is taken.
    """

    rate_hz: int
    window_samples: int
    hop_samples: int | None = None
    channels: Literal["one", "first", "mean"] = "one"


def audio_files(folder: Path) -> list[Path]:
    """Return all audio files in a folder and its folders, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not is_tool_file(path.name)
    )


def is_audio(folder: Path) -> bool:
    """Whether a folder has audio files and no images."""
    kinds = {path.suffix.lower() for path in folder.rglob("*") if not is_tool_file(path.name)}
    return bool(kinds & set(SUFFIXES)) and not kinds & set(suffixes())


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without libsndfile
        raise TargetUnavailable(f"audio files need soundfile: {error}", next_step=install("audio")) from error
    module: ModuleType = soundfile
    return module


def rates_of(files: Iterable[Path]) -> dict[int, list[Path]]:
    """Return the files by sample rate, from their headers; those that cannot be read are left to `decode`.

    Raises
    ------
    TargetUnavailable
        soundfile is not installed.
    """
    soundfile = _soundfile()
    rates: dict[int, list[Path]] = {}
    for file in files:
        try:
            rates.setdefault(int(soundfile.info(str(file)).samplerate), []).append(file)
        except soundfile.LibsndfileError:
            continue
    return rates


def length_of(file: Path) -> int:
    """Number of samples of a channel; 0 of a file that cannot be read."""
    soundfile = _soundfile()
    try:
        return int(soundfile.info(str(file)).frames)
    except soundfile.LibsndfileError:
        return 0


def decode(file: Path, recipe: AudioRecipe, max_bytes: int = MAX_BYTES) -> Signal:
    """Return one channel of a file.

    Raises
    ------
    TargetUnavailable
        soundfile is not installed.
    DataError
        The file is damaged or empty, or has another rate or several channels.
    """
    soundfile = _soundfile()
    check_file(file, max_bytes)
    try:
        info = soundfile.info(str(file))
        check_bytes(file, info.frames * info.channels * 4, max_bytes, "the signal")
        values, rate_hz = soundfile.read(str(file), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(
            f"{file.name} cannot be decoded: {error}",
            where=str(file),
            cause="a damaged file, or one of another format",
            next_step="convert it to WAV or FLAC, or leave it out: [data] skip",
        ) from error
    if rate_hz != recipe.rate_hz:
        raise DataError(
            f"{file.name} has {rate_hz} samples a second, and the model takes {recipe.rate_hz}",
            where=str(file),
            cause="the recordings are of another device, or [data.audio] rate_hz is not that of the training",
            next_step=f"resample the files as the training did, or set rate_hz = {rate_hz}",
        )
    if not len(values):
        raise DataError(f"{file.name} has no samples", where=str(file), next_step="leave it out: [data] skip")
    if values.shape[1] > 1 and recipe.channels == "one":
        raise DataError(
            f"{file.name} has {values.shape[1]} channels, and the model takes one",
            where=str(file),
            next_step='set [data.audio] channels to "first" or "mean", as the training did',
        )
    one: Signal = values[:, 0] if recipe.channels != "mean" else values.mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(one)


def windows(signal: Signal, recipe: AudioRecipe, file: Path) -> tuple[Signal, npt.NDArray[np.int64]]:
    """Cut a signal into windows.

    Returns
    -------
    ndarray, shape (n, window_samples)
        A signal that is shorter than a window is filled up by silence; what is left of a longer one behind
        the last window is left out.
    ndarray, shape (n,), int64
        First sample of each.

    Raises
    ------
    DataError
        It is longer than a window, and there is no hop.
    """
    width, hop = recipe.window_samples, recipe.hop_samples
    if len(signal) < width:
        return np.pad(signal, (0, width - len(signal)))[None], np.zeros(1, np.int64)
    if hop is None and len(signal) > width:
        raise DataError(
            f"{file.name} has {len(signal)} samples, and a window {width}",
            where=str(file),
            cause="the model takes clips of one length",
            next_step="cut the file, or set [data.audio] hop_samples to read it window by window",
        )
    starts = np.arange(0, len(signal) - width + 1, hop or width, dtype=np.int64)
    every = np.lib.stride_tricks.sliding_window_view(signal, width)
    return np.ascontiguousarray(every[starts]), starts


def common_rate(files: Sequence[Path]) -> int:
    """Return the one sample rate of files.

    Raises
    ------
    DataError
        They have several, or none can be read.
    """
    rates = rates_of(files)
    if len(rates) == 1:
        return next(iter(rates))
    listed = "; ".join(
        f"{rate} Hz: {len(of)} files, such as {of[0].name}" for rate, of in sorted(rates.items())[:_LISTED]
    )
    raise DataError(
        "the files have several sample rates" if rates else "no file has a readable header",
        where=str(files[0].parent) if files else "",
        cause=listed,
        next_step="resample them to that of the training, or give those of one rate",
    )
