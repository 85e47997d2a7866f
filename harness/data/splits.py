"""Samples of a ``[data]`` table, with the labels of a task, split into calibration and test samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.schema import DataTable, SourceTable, as_columns
from harness.core.errors import DataError
from harness.data import sequences
from harness.data.audio.files import AudioRecipe
from harness.data.datasets import Dataset, Split, split_by_hash
from harness.data.images import ImageRecipe
from harness.data.metadata import column_name, columns_of
from harness.data.sources import DataSource, load_either
from harness.data.tables import Columns
from harness.tasks.host import HostTask, LabelSource


def split_of(
    table: DataTable,
    folder: Path,
    inputs: tuple[str, ...],
    host: HostTask | None = None,
    options: Any = None,  # noqa: ANN401 - of the task
) -> Split:
    """Read the data and split them into calibration and test samples as configured.

    Parameters
    ----------
    table : DataTable
    folder : Path
        Folder that the paths of `table` start from.
    inputs : tuple of str
        Of the model.
    host : HostTask, optional
        The task, which may read labels itself.
    options : optional
        The table ``[task]``, read by the task.

    Raises
    ------
    DataError
        The data cannot be read or split.
    """
    load = partial(_load, table=table, folder=folder, inputs=inputs, host=host, options=options)
    loaded = load(table)
    if isinstance(loaded, Split):
        if table.calibration is None:
            return loaded
        loaded = loaded.test
    if table.calibration is not None:
        calibration = load(table.calibration)
        if isinstance(calibration, Split):
            calibration = calibration.calibration
        return Split(
            calibration=calibration.take(np.arange(min(len(calibration), table.calibration_samples))),
            test=loaded,
        )
    rows, where = np.arange(len(loaded)), table.path or table.callable
    if table.split == "none":
        return Split(calibration=loaded.take(rows[:0]), test=loaded)
    unit = None if table.sequence is None else sequences.index_of(loaded, column_name(table.sequence), where)
    if table.split == "first":
        is_calibration = rows < table.calibration_samples
        if unit is not None:
            is_calibration = sequences.first_whole(unit, table.calibration_samples, where)
        return Split(loaded.take(rows[is_calibration]), loaded.take(rows[~is_calibration]))
    return split_by_hash(loaded, calibration_max=table.calibration_samples, unit=unit)


def _load(
    source: SourceTable,
    *,
    table: DataTable,
    folder: Path,
    inputs: tuple[str, ...],
    host: HostTask | None,
    options: Any,  # noqa: ANN401 - of the task
) -> Dataset | Split:
    path, labels = (folder / text if text else None for text in (source.path, source.labels))
    reads_labels = host is not None and host.reads_labels and path is not None
    loaded = load_either(
        DataSource(
            path=path,
            labels=None if reads_labels else labels,
            format=source.format,
            callable=source.callable,
            label_columns=as_columns(source.label_column),
            header=source.header,
            input_names=inputs,
            image=None if table.image is None else ImageRecipe(**table.image.model_dump()),
            audio=None if table.audio is None else AudioRecipe(**table.audio.model_dump()),
            skip=source.skip,
            class_order=table.class_order,
            missing=table.missing,
            max_bytes=table.max_bytes,
            calibration_max=0 if table.split == "none" else table.calibration_samples,
            metadata=Columns(columns_of(table), source is table, table.ignore),
        )
    )
    if host is None or path is None or not reads_labels:
        return loaded
    image = None if table.image is None else ImageRecipe(**table.image.model_dump())
    read = partial(_own_labels, path=path, labels=labels, image=image, host=host, options=options)
    if isinstance(loaded, Split):
        return Split(read(loaded.calibration), read(loaded.test))
    return read(loaded)


def _own_labels(
    samples: Dataset,
    *,
    path: Path,
    labels: Path | None,
    image: ImageRecipe | None,
    host: HostTask,
    options: Any,  # noqa: ANN401 - of the task
) -> Dataset:
    """Return samples with the labels that the task reads; as they are where there are none."""
    if not len(samples):
        return samples
    source = LabelSource(path, labels, samples.files, samples.ids, samples.inputs, image, options)
    read = host.read_labels(source)
    if read is None:
        return samples
    if len(read.labels) != len(samples):
        raise DataError(
            f"the task {host.task.name} read {len(read.labels)} labels of {len(samples)} samples",
            where=str(labels or path),
            next_step=f"report it to the authors of {type(host).__module__}",
        )
    notes = (*samples.notes, *read.notes)
    return replace(samples, labels=read.labels, class_names=read.names, notes=notes)
