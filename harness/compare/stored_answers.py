"""``harness score``: metrics of stored predictions, without a model; several files are compared in pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.columns import aligned
from harness.core.errors import DataError, UsageError
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.suite import StoredAnswers, SupportsStoredAnswers
from harness.core.task import Reading
from harness.data import sources, table_values
from harness.data.sources import DataSource
from harness.device import plugins
from harness.gates.number_text import number_text
from harness.init import readings
from harness.init.chance import meant
from harness.init.readings import Asked


@dataclass(frozen=True, slots=True)
class Scores:
    """The metrics of several files of predictions.

    Parameters
    ----------
    reading : Reading
        How the predictions were read.
    samples : int
    rows : mapping of file name to list of Measurement
        Those of the second and later files also against the first.
    notes : tuple of str
        How labels and predictions were read.
    """

    reading: Reading
    samples: int
    rows: Mapping[str, list[Measurement]]
    notes: tuple[str, ...]

    def text(self) -> str:
        """Return a table: one line a metric and file."""
        lines = [f"{self.reading.task}, {self.samples:,} samples"]
        lines += [f"note: {note}" for note in self.notes if note]
        cells = [("file", "metric", "value", "interval", "against")]
        cells += [
            (name, _metric(row), *_value(row), row.reference)
            for name, rows in self.rows.items()
            for row in rows
        ]
        return "\n".join([*lines, "", *aligned(cells)])

    def as_json(self) -> str:
        """Return the same for machines."""
        rows = [
            {
                "file": name, "metric": _metric(row), "unit": row.unit, "value": _finite(row.value),
                "ci_low": _finite(row.ci_low), "ci_high": _finite(row.ci_high), "n": row.n,
                "reference": row.reference, "status": row.status.value, "reason": row.reason,
            }
            for name, rows in self.rows.items()
            for row in rows
        ]  # fmt: skip
        return json.dumps({"task": self.reading.task, "samples": self.samples, "rows": rows}, indent=1)


def score(
    files: Sequence[Path], labels: Path, task: str = "", output: str = "", threshold: float | None = None
) -> Scores:
    """Score predictions.

    Parameters
    ----------
    files : sequence of Path
        CSV, Parquet, npz, npy or json with a row for each sample; the first is the reference of the others.
    labels : Path
        A file of labels, see ``harness init --labels``.
    task, output : str
        Task and name of the array to score, where they cannot be told from the shapes.
    threshold : float, optional
        A score above it means class 1, or that the sample has the label.

    Raises
    ------
    DataError
        A file cannot be read, or does not fit the labels.
    UsageError
        Two files have one name, or no installed suite scores stored predictions.
    """
    names = [str(file) for file in files]
    if len(set(names)) < len(names):
        raise UsageError("a file is named twice", where=" ".join(names), next_step="name each file once")
    given, class_names, class_notes = _labels(labels)
    outputs = {str(file): _predictions(file, len(given)) for file in files}
    asked = Asked(task, output, threshold=threshold)
    reading, truth = _meant(outputs[names[0]], given, class_names, asked, where=str(labels))
    stored = {
        name: StoredAnswers(_chosen(arrays, reading.output, name), reading.task, reading.threshold, truth)
        for name, arrays in outputs.items()
    }
    suite = _suite()
    rows = {
        name: suite.score(answers, None if name == names[0] else (names[0], stored[names[0]]))
        for name, answers in stored.items()
    }
    return Scores(reading, len(given), rows, (*class_notes, reading.text))


def _meant(
    outputs: Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
    class_names: tuple[str, ...],
    asked: Asked,
    *,
    where: str,
) -> tuple[Reading, NDArray[Any]]:
    """Return how the predictions are read, and the labels as the task takes them."""
    ways = readings.readings(outputs, labels, asked, where=where, names=class_names)
    candidates = []
    for way in ways:
        truth = readings.truth(way, labels, class_names)
        candidates.append((way, readings.score(way, outputs, truth), truth))
    task = meant(candidates)
    return next((way, truth) for way, _, truth in candidates if way.task == task)


def _labels(path: Path) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Return labels, names of the classes, and notes."""
    if path.suffix == ".json":
        return _json(path), (), ()
    contents = table_values.read_labels(path)
    if contents.labels is None:
        raise DataError(
            f"{path.name} has no labels", where=str(path), next_step="give a file with one column"
        )
    return contents.labels, contents.class_names, contents.notes


def _predictions(path: Path, count: int) -> dict[str, NDArray[Any]]:
    if path.suffix == ".json":
        arrays = {"predictions": _json(path)}
    else:
        loaded = sources.load(DataSource(path=path))
        arrays = {name: np.asarray(array) for name, array in loaded.inputs.items()}
    for name, array in arrays.items():
        if len(array) != count:
            raise DataError(
                f"{path.name} has {len(array)} predictions ({name}), the labels have {count}",
                where=str(path),
                next_step="give predictions and labels of the same samples in the same order",
            )
    return {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()
    }


def _json(path: Path) -> NDArray[Any]:
    try:
        array = np.asarray(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read: {error}", where=str(path)) from error
    if array.dtype.kind not in "iufb" or not array.ndim:
        raise DataError(
            f"{path.name} is no list of numbers",
            where=str(path),
            next_step="write one row a sample: [[…], […]]",
        )
    return array


def _chosen(arrays: Mapping[str, NDArray[Any]], output: str, name: str) -> NDArray[Any]:
    if output in arrays:
        return arrays[output]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise DataError(
        f"{name} has no array {output!r}", cause=f"it has {', '.join(arrays)}", next_step="--output NAME"
    )


def _suite() -> SupportsStoredAnswers:
    for plugin in plugins.catalogue(plugins.SUITES).values():
        suite = plugin.load()()
        if isinstance(suite, SupportsStoredAnswers):
            return suite
    raise UsageError("no installed suite scores stored predictions", next_step="harness doctor")


def _metric(row: Measurement) -> str:
    return f"{row.metric} of {row.case.partition('/')[2]}" if "/" in row.case else row.metric


def _value(row: Measurement) -> tuple[str, str]:
    if row.status is not Status.OK:
        return row.status.value, row.reason
    interval = ""
    if not math.isnan(row.ci_low):
        interval = f"[{number_text(row.ci_low, row.unit)}, {number_text(row.ci_high, row.unit)}]"
    return number_text(row.value, row.unit), interval


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
