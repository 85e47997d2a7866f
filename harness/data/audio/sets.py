"""Sets of audio: a folder of clips a class, a table of clips and labels, streams with a table of events."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.data.audio.files import AudioRecipe, audio_files, decode, windows
from harness.data.files import MAX_BYTES, check_bytes, check_file
from harness.data.labels import classes_of_text
from harness.data.readers import Contents
from harness.data.text_tables import LABEL_NAMES

FORMATS = ("audio-folder", "audio-csv", "audio-events")
#: Column that describes the windows: the file that each is of.
FILE = "file"
#: Class of a window in which nothing happens.
BACKGROUND = "background"
_FILES, _LABELS = ("file", "path", "filename", "audio"), (*LABEL_NAMES, "event")
_STARTS, _STOPS = ("start_s", "start", "onset"), ("stop_s", "stop", "end_s", "end", "offset")


@dataclass(frozen=True, slots=True)
class Reading:
    """The recipe, files to leave out, whether the file of each window is wanted, and the largest size."""

    recipe: AudioRecipe
    skip: tuple[str, ...] = ()
    names_files: bool = False
    max_bytes: int = MAX_BYTES


def format_of(labels: Path | None) -> str:
    """Return the format of a folder of audio by its table of labels."""
    if labels is None or labels.is_dir():
        return "audio-folder"
    columns = _rows(labels, MAX_BYTES)[0]
    return "audio-events" if _named(columns, _STARTS) and _named(columns, _STOPS) else "audio-csv"


def read(path: Path, labels: Path | None, format_: str, reading: Reading) -> Contents:
    """Read the windows of audio files, with a label each where there are labels.

    Parameters
    ----------
    path : Path
        The folder.
    labels : Path, optional
        Table of ``audio-csv`` (file, label) or ``audio-events`` (file, start_s, stop_s, label); files are
        relative to the folder.
    format_ : str
        One of `FORMATS`.
    reading : Reading

    Raises
    ------
    DataError
        Files and labels do not fit together, or one of them cannot be read.
    TargetUnavailable
        soundfile is not installed.
    """
    every = {file.relative_to(path).as_posix(): file for file in audio_files(path)}
    if not every:
        raise DataError(f"{path.name} contains no audio files", where=str(path), next_step="check the path")
    if unknown := sorted(set(reading.skip) - set(every)):
        raise DataError(
            f"skip names {len(unknown)} files that are not there: {', '.join(unknown[:5])}", where=str(path)
        )
    files = {name: file for name, file in every.items() if name not in reading.skip}
    if format_ == "audio-folder":
        return _of_folders(files, reading)
    if labels is None:
        raise DataError(f"{format_} needs a table of labels", where=str(path), next_step="set labels")
    columns, rows = _rows(labels, reading.max_bytes)
    if format_ == "audio-csv":
        return _of_clips(files, columns, rows, labels, reading)
    return _of_events(files, columns, rows, labels, reading)


def _of_folders(files: Mapping[str, Path], reading: Reading) -> Contents:
    """Each folder is a class; files that lie in no folder have no labels."""
    classes = {name: name.split("/")[0] if "/" in name else "" for name in files}
    in_folders = [name for name, class_ in classes.items() if class_]
    if in_folders and len(in_folders) < len(files):
        beside = next(name for name in files if not classes[name])
        raise DataError(
            f"{len(files) - len(in_folders)} files lie beside the class folders, such as {beside}",
            next_step="move each into the folder of its class",
        )
    labelled = len(set(classes.values())) > 1
    return _contents(files, {name: classes[name] for name in files} if labelled else None, reading)


def _of_clips(
    files: Mapping[str, Path],
    columns: Sequence[str],
    rows: Sequence[tuple[int, Mapping[str, str]]],
    labels: Path,
    reading: Reading,
) -> Contents:
    file_column, label = _column(columns, _FILES, labels), _column(columns, _LABELS, labels)
    of_file = {row[file_column]: row[label] for _, row in rows if row[file_column] not in reading.skip}
    _check_known(of_file, files, labels)
    chosen = {name: files[name] for name in of_file}
    notes: tuple[str, ...] = ()
    if len(chosen) < len(files):
        notes = (f"left out: {len(files) - len(chosen)} of {len(files)} files without a label",)
    return _contents(chosen, of_file, reading, notes)


def _contents(
    files: Mapping[str, Path],
    labels: Mapping[str, str] | None,
    reading: Reading,
    notes: tuple[str, ...] = (),
) -> Contents:
    parts, names = [], []
    short, size_byte = 0, 0
    for name, file in files.items():
        signal = decode(file, reading.recipe, reading.max_bytes)
        short += len(signal) < reading.recipe.window_samples
        cut, _ = windows(signal, reading.recipe, file)
        size_byte += cut.nbytes
        check_bytes(file, size_byte, reading.max_bytes, "the windows of it and the files before it have")
        parts.append(cut)
        names += [name] * len(cut)
    if short:
        notes = (*notes, f"{short} of {len(files)} files are shorter than a window and end in silence")
    classes, class_names = None, tuple[str, ...]()
    if labels is not None:
        classes, class_names = classes_of_text(np.array([labels[name] for name in names]))
    return Contents({"": np.concatenate(parts)}, classes, class_names, notes, metadata=_files(names, reading))


def _files(names: Sequence[str], reading: Reading) -> dict[str, npt.NDArray[np.str_]]:
    return {FILE: np.array(names)} if reading.names_files else {}


def _of_events(
    files: Mapping[str, Path],
    columns: Sequence[str],
    rows: Sequence[tuple[int, Mapping[str, str]]],
    labels: Path,
    reading: Reading,
) -> Contents:
    """A window has the class of the event at its centre."""
    recipe = reading.recipe
    file_column, label = _column(columns, _FILES, labels), _column(columns, _LABELS, labels)
    first, last = _column(columns, _STARTS, labels), _column(columns, _STOPS, labels)
    rows = [(line, row) for line, row in rows if row[file_column] not in reading.skip]
    _check_known([row[file_column] for _, row in rows], files, labels)
    names = (BACKGROUND, *sorted({row[label] for _, row in rows} - {BACKGROUND}))
    parts, classes, of_window = [], [], []
    size_byte = 0
    for name, file in files.items():
        signal = decode(file, recipe, reading.max_bytes)
        cut, starts = windows(signal, recipe, file)
        size_byte += cut.nbytes
        check_bytes(file, size_byte, reading.max_bytes, "the windows of it and the files before it have")
        centre_s = (starts + recipe.window_samples / 2) / recipe.rate_hz
        of_file = np.zeros(len(cut), np.int64)
        for line, row in rows:
            if row[file_column] == name and row[label] != BACKGROUND:
                start_s, stop_s = (_seconds(row[column], column, labels, line) for column in (first, last))
                _check_event(start_s, stop_s, len(signal) / recipe.rate_hz, labels, line)
                of_file[(centre_s >= start_s) & (centre_s < stop_s)] = names.index(row[label])
        parts.append(cut)
        classes.append(of_file)
        of_window += [name] * len(cut)
    whole = np.concatenate(classes)
    events = sum(row[label] != BACKGROUND for _, row in rows)
    notes = [f"{events} events in {len(files)} streams; a window has the class of the event at its centre"]
    if seen := [name for number, name in enumerate(names) if number and not (whole == number).any()]:
        notes.append(f"no window has its centre in an event of {', '.join(seen)}: set a shorter hop_samples")
    return Contents(
        {"": np.concatenate(parts)}, whole, names, tuple(notes), metadata=_files(of_window, reading)
    )


def _check_event(start_s: float, stop_s: float, length_s: float, labels: Path, line: int) -> None:
    if not 0 <= start_s < stop_s or start_s >= length_s:
        raise DataError(
            f"{labels.name}:{line}: an event from {start_s:g} s to {stop_s:g} s in {length_s:g} s of audio",
            where=str(labels),
            cause="start and stop are swapped, in other units than seconds, or of another file",
            next_step="correct the line",
        )


def _check_known(names: Sequence[str] | Mapping[str, str], files: Mapping[str, Path], labels: Path) -> None:
    if missing := sorted(set(names) - set(files)):
        raise DataError(
            f"{labels.name} names {len(missing)} files that are not there: {', '.join(missing[:3])}",
            where=str(labels),
            cause=f"names are relative to the folder of the data, such as {next(iter(files))}",
            next_step="correct the names, or name the folder of these files",
        )


def _rows(path: Path, max_bytes: int) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    """Return the columns of a table, and its rows with their lines."""
    check_file(path, max_bytes)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is no text: {error}", where=str(path)) from error
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(text.splitlines(), delimiter=separator, skipinitialspace=True)
    columns = [str(name).strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    rows: list[tuple[int, Mapping[str, str]]] = []
    for row in reader:
        if None in row or None in row.values():
            raise DataError(
                f"{path.name}:{reader.line_num}: {len(columns)} columns are named, and the line has others",
                where=str(path), next_step="write a value for each column",
            )  # fmt: skip
        rows.append((reader.line_num, {name: value.strip() for name, value in row.items()}))
    return columns, rows


def _named(columns: Sequence[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in columns), "")


def _column(columns: Sequence[str], names: Sequence[str], path: Path) -> str:
    if name := _named(columns, names):
        return name
    raise DataError(
        f"{path.name} has the columns {', '.join(columns) or 'none'}, and none of {', '.join(names)}",
        where=str(path),
        next_step="name the columns in the first line: file, label, and for events start_s and stop_s",
    )


def _seconds(text: str, column: str, path: Path, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"{path.name}:{line}: {column} is {text!r}, no number of seconds", where=str(path)
        ) from None
