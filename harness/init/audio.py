"""How a folder of audio is read: rate of the files, window of the model, hop of streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from harness.config.schema import AudioTable, DataTable
from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.data.audio import sets
from harness.data.audio.files import audio_files, common_rate, length_of
from harness.init.source import Source

#: Windows of streams begin so many times in the length of one.
OVERLAPPING = 2


def source(
    path: Path, labels: Path | None, inputs: Sequence[TensorSpec], table: DataTable, *, is_described: bool
) -> Source:
    """Return the table ``[data]`` of a folder of audio.

    Parameters
    ----------
    labels : Path, optional
        Table of clips and labels, or of events.
    is_described : bool
        The user named columns that describe the samples.

    Raises
    ------
    DataError
        Files have several rates, or the model takes no audio.
    """
    files = audio_files(path)
    rate_hz, format_ = common_rate(files), sets.format_of(labels)
    longest = max(map(length_of, files))
    window, notes = _window(inputs, path, longest)
    notes.append(f"rate_hz = {rate_hz} is the rate of the files: check that the model was trained with it")
    hop = None
    if format_ == "audio-events":
        hop = max(1, window // OVERLAPPING)
        notes.append(
            f"windows begin every {hop} samples, half a window: set [data.audio] hop_samples and [task] "
            "hop_s, its seconds, to what the device does"
        )
    elif longest > window:
        hop = window
        notes.append(f"files of up to {longest} samples are read in windows of {window}: [data.audio]")
    changed: dict[str, object] = {
        "audio": AudioTable(rate_hz=rate_hz, window_samples=window, hop_samples=hop),
    }
    if hop is not None and not is_described:
        changed["sequence"] = sets.FILE  # windows of a file are not independent
    return Source((table.model_copy(update=changed),), tuple(notes))


def _window(inputs: Sequence[TensorSpec], path: Path, longest: int) -> tuple[int, list[str]]:
    sizes = [size for size in inputs[0].shape[1:] if size != 1]
    if len(inputs) != 1 or len(sizes) > 1:
        raise DataError(
            f"audio does not fit the model, which takes {', '.join(spec.name for spec in inputs)} of shape "
            f"{['?' if size is None else size for size in inputs[0].shape]}",
            where=str(path),
            cause="the model takes features of audio, such as a spectrogram, and not its samples",
            next_step="give a Python function that computes them: package.module:function, or an .npz",
        )
    window = math.prod(size or 0 for size in sizes)
    if window:
        return window, []
    return longest, [f"the model does not fix the length of a window: {longest}, that of the longest file"]
