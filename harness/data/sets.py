"""The clean set and its corruptions, as files by hash: every device reads the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import DataTable, InputTable, ShiftsTable, SourceTable
from harness.config.validation import Validation
from harness.core import preprocess
from harness.core.artifact import TensorSpec, sha256_file
from harness.core.errors import DataError
from harness.core.job import DataRef
from harness.core.preprocess import Feeds, Preprocess
from harness.core.suite import CLEAN, SetInfo
from harness.data import corruptions
from harness.data.datasets import (
    Dataset,
    DataSource,
    Split,
    check_labels,
    content_sha256,
    load_either,
    split_by_hash,
    stratified_order,
)
from harness.data.fit import check_fit
from harness.data.images import ImageRecipe
from harness.store.cache import Cache, code_sha256, key_of

CHUNK = 256


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """A set as the planner and as a device know it; ``head`` stores its first rows as files of their own."""

    info: SetInfo
    ref: DataRef
    head: Callable[[int], DataRef] = field(compare=False)

    def at_most(self, rows: int | None) -> DataRef:
        """The whole set, or its first `rows` where it has more."""
        return self.ref if rows is None or rows >= self.ref.samples else self.head(rows)


@dataclass(frozen=True, slots=True)
class PreparedData:
    """All sets of a validation, ``clean`` first, rows in the run's order.

    Parameters
    ----------
    sets : tuple of PreparedSet
    labels : ndarray, shape (n,), optional
    calibration : Dataset
        Raw; empty where nothing was set apart.
    preprocess : mapping of input name to Preprocess
    class_names : tuple of str
    """

    sets: tuple[PreparedSet, ...]
    labels: NDArray[Any] | None
    calibration: Dataset
    preprocess: Mapping[str, Preprocess]
    class_names: tuple[str, ...]

    def restrict(self, cells: Collection[tuple[str, int]], samples: int) -> PreparedData:
        """The clean set and those cells of family and severity, each with its first samples."""
        kept = [s for s in self.sets if not s.info.severity or (s.info.family, s.info.severity) in cells]
        cut = (replace(s, info=replace(s.info, samples=min(s.info.samples, samples))) for s in kept)
        return replace(self, sets=tuple(cut))

    def calibration_feeds(self) -> Iterator[Feeds]:
        """Canonical inputs of the calibration samples, one by one."""
        for row in range(len(self.calibration)):
            yield {
                name: preprocess.apply(raw[row : row + 1], self.preprocess[name])
                for name, raw in self.calibration.inputs.items()
            }


def prepare(
    validation: Validation,
    folder: Path,
    cache: Cache,
    inputs: Sequence[TensorSpec],
    classes: int | None = None,
) -> PreparedData:
    """Load, split, order, corrupt and store the data of a validation.

    Parameters
    ----------
    inputs : sequence of TensorSpec
        The model's inputs; a data set with one unnamed input takes the first.
    classes : int, optional
        How many classes the model tells apart; labels must be below.

    Raises
    ------
    DataError
        The data cannot be read or do not fit the model.
    """
    split = split_of(validation.data, folder, tuple(spec.name for spec in inputs))
    test = split.test
    if not len(test):
        raise DataError("there is no test sample", where="data", next_step="name data that are not empty")
    where = validation.data.path or validation.data.callable
    steps = {name: _step(table) for name, table in validation.input.items()}
    for part in (test, split.calibration):
        if len(part):
            check_fit(part.inputs, steps, inputs, where=where)
    if validation.model.task == "classification" and classes is not None:
        check_labels(test, classes, where=where)
    order = stratified_order(test.labels, test.ids, seed=validation.data.seed)
    test = test.take(order[: validation.data.max_samples])
    steps = {name: steps.get(name, Preprocess()) for name in test.inputs}
    sets = []
    for family, severity in [(CLEAN, 0), *_cells(validation.shifts)]:
        arrays = {
            name: _stored(cache, raw, test.ids, family, severity, validation.shifts, split.calibration, name)
            for name, raw in test.inputs.items()
        }
        ref = _ref(cache, arrays, len(test))
        digest = partial(input_digest, cache, ref, steps)
        name = family if severity == 0 else f"{family}_{severity}"
        info = SetInfo(name, family, severity, len(test), digest)
        sets.append(PreparedSet(info, ref, partial(head, cache, ref)))
    return PreparedData(tuple(sets), test.labels, split.calibration, steps, test.class_names)


def head(cache: Cache, ref: DataRef, rows: int) -> DataRef:
    """Store the first rows of a set as files of their own, for a device that reads no more of it."""
    arrays = {}
    for name, sha256 in ref.inputs.items():
        key = key_of({"what": "head", "of": sha256, "rows": rows})
        known = cache.recall(key)
        if known is None or not cache.has_array(known["sha256"]):
            whole = np.load(cache.array_path(sha256), mmap_mode="r", allow_pickle=False)
            known = {"sha256": cache.put_array(whole[:rows])}
            cache.note(key, known)
        arrays[name] = str(known["sha256"])
    return _ref(cache, arrays, rows)


def _ref(cache: Cache, arrays: Mapping[str, str], rows: int) -> DataRef:
    return DataRef(arrays, rows, sum(cache.array_path(sha).stat().st_size for sha in arrays.values()))


def input_digest(cache: Cache, ref: DataRef, steps: Mapping[str, Preprocess], samples: int) -> str:
    """Digest of the first rows of the canonical model input, as a device should find it.

    It is remembered: hashing every set for every variant would take longer than all other preparation.
    """
    key = key_of(
        {
            "what": "input digest", "code": sha256_file(Path(preprocess.__file__)), "samples": samples,
            "inputs": dict(ref.inputs), "steps": {name: step.to_json() for name, step in steps.items()},
        }
    )  # fmt: skip
    known = cache.recall(key)
    if known is None:
        known = {"sha256": _input_digest(cache, ref, steps, samples)}
        cache.note(key, known)
    return str(known["sha256"])


def _input_digest(cache: Cache, ref: DataRef, steps: Mapping[str, Preprocess], samples: int) -> str:
    raws = {
        name: np.load(cache.array_path(sha), mmap_mode="r", allow_pickle=False)
        for name, sha in ref.inputs.items()
    }
    return preprocess.digest(
        {
            name: preprocess.apply(raw[start : min(start + CHUNK, samples)], steps[name])
            for name, raw in raws.items()
        }
        for start in range(0, samples, CHUNK)
    )


def _cells(shifts: ShiftsTable) -> list[tuple[str, int]]:
    if shifts.kind == "none":
        return []
    known = corruptions.IMAGE_FAMILIES if shifts.kind == "image" else corruptions.FEATURE_FAMILIES
    families = shifts.families or tuple(known)
    return [(family, severity) for family in families for severity in shifts.severities]


def _stored(
    cache: Cache,
    raw: NDArray[Any],
    ids: NDArray[np.int64],
    family: str,
    severity: int,
    shifts: ShiftsTable,
    calibration: Dataset,
    name: str,
) -> str:
    """Hash of the stored array; made only where the index does not know it or the file is gone."""
    if family == CLEAN:
        return cache.put_array(raw)
    kind: Literal["image", "features"] = "image" if shifts.kind == "image" else "features"
    reference = calibration.inputs.get(name) if kind == "features" else None
    key = key_of(
        {
            "what": "corruption", "code": code_sha256(Path(__file__).parent),
            "family": family, "severity": severity,
            "seed": shifts.seed, "kind": shifts.kind, "raw": content_sha256(raw), "ids": content_sha256(ids),
            "reference": "" if reference is None else content_sha256(reference),
        }
    )  # fmt: skip
    known = cache.recall(key)
    if known is not None and cache.has_array(known["sha256"]):
        return str(known["sha256"])
    changed = corruptions.corrupt(
        raw, ids, family, severity, seed=shifts.seed, kind=kind, reference=reference
    )
    digest = cache.put_array(changed)
    cache.note(key, {"sha256": digest})
    return digest


def split_of(table: DataTable, folder: Path, inputs: tuple[str, ...]) -> Split:
    """Read the data and set the calibration samples apart, as the table says.

    Raises
    ------
    DataError
        The data cannot be read, or not be split.
    """
    loaded = _load(table, table, folder, inputs)
    if isinstance(loaded, Split):
        return loaded
    if table.calibration is not None:
        apart = _load(table.calibration, table, folder, inputs)
        if isinstance(apart, Split):
            apart = apart.calibration
        return Split(
            calibration=apart.take(np.arange(min(len(apart), table.calibration_samples))), test=loaded
        )
    everything = np.arange(len(loaded))
    if table.split == "none":
        return Split(calibration=loaded.take(everything[:0]), test=loaded)
    if table.split == "first":
        count = table.calibration_samples
        return Split(calibration=loaded.take(everything[:count]), test=loaded.take(everything[count:]))
    return split_by_hash(loaded, calibration_max=table.calibration_samples)


def _load(source: SourceTable, table: DataTable, folder: Path, inputs: tuple[str, ...]) -> Dataset | Split:
    return load_either(
        DataSource(
            path=folder / source.path if source.path else None,
            labels=folder / source.labels if source.labels else None,
            format=source.format,
            callable=source.callable,
            label_column=source.label_column,
            header=source.header,
            input_names=inputs,
            image=None if table.image is None else ImageRecipe(**table.image.model_dump()),
        )
    )


def _step(table: InputTable) -> Preprocess:
    return Preprocess(**table.model_dump())
