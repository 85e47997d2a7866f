"""The clean test set and its corruptions as files by hash, so that every device reads the same bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.config.schema import DataTable, InputTable, ShiftsTable
from harness.config.validation import Validation
from harness.core import preprocess
from harness.core.artifact import TensorSpec, sha256_file
from harness.core.errors import DataError
from harness.core.feeding import Feeding
from harness.core.groups import Groups
from harness.core.job import DataRef
from harness.core.preprocess import Feeds, Preprocess
from harness.core.profile import Profile
from harness.core.suite import CLEAN, SetInfo
from harness.core.task import Need
from harness.data import ragged, sequences, shifted
from harness.data.datasets import (
    Dataset,
    Split,
    stratified_order,
    with_labels,
)
from harness.data.fit import check_fit, check_indices
from harness.data.groups import groups_of, strata
from harness.data.images import ImageRecipe
from harness.data.metadata import column_name
from harness.data.shifts import given
from harness.data.splits import split_of
from harness.store.cache import Cache, key_of

CHUNK = 256


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """A set for the planner and for devices.

    Parameters
    ----------
    info : SetInfo
        For the planner.
    ref : DataRef
        For devices.
    head : callable
        Stores the first rows as separate files.
    """

    info: SetInfo
    ref: DataRef
    head: Callable[[int], DataRef] = field(compare=False)

    def at_most(self, rows: int | None) -> DataRef:
        """Return the whole set, or its first `rows` if it has more."""
        return self.ref if rows is None or rows >= self.ref.samples else self.head(rows)


@dataclass(frozen=True, slots=True)
class PreparedData:
    """All sets of a validation, ``clean`` first, with rows in the order of the run.

    Parameters
    ----------
    sets : tuple of PreparedSet
    labels : ndarray, shape (n,), optional
    calibration : Dataset
        Raw; empty without calibration samples.
    preprocess : mapping of input name to Preprocess
        In the order of the model's inputs, constants included.
    class_names : tuple of str
    notes : tuple of str
        What the user should know about how the data were read.
    inputs : tuple of TensorSpec
        Of the canonical model; empty where they are unknown.
    groups : tuple of Groups
        What ``[data] group`` and ``time`` divide the samples into.
    calibration_lengths : tuple of int
        Rows of each calibration sequence; empty where the samples are independent.
    states : tuple of mapping
        What the state inputs take at each calibration row (see ``harness.compression.states``).
    files : tuple of Path
        Image file of each test sample; empty where the samples are no image files.
    skipped : mapping of str to str
        Families of shifts that do not apply, or cannot be made here, and why.
    """

    sets: tuple[PreparedSet, ...]
    labels: NDArray[Any] | None
    calibration: Dataset
    preprocess: Mapping[str, Preprocess]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    groups: tuple[Groups, ...] = ()
    calibration_lengths: tuple[int, ...] = ()
    states: tuple[Feeds, ...] = ()
    files: tuple[Path, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def restrict(self, cells: Collection[tuple[str, int]], samples: int) -> PreparedData:
        """Return the clean set and some pairs of family and severity, limited to the first samples."""
        chosen = [s for s in self.sets if not s.info.severity or (s.info.family, s.info.severity) in cells]
        limited = (replace(s, info=replace(s.info, samples=min(s.info.samples, samples))) for s in chosen)
        return replace(self, sets=tuple(limited))

    def calibration_feeds(self) -> Iterator[Feeds]:
        """Yield what the model takes for the calibration samples: one by one, or as many as it takes at once.

        Where the last ones are too few, the last sample is repeated. Rows of sequences come one by one, with
        the state that they have in their sequence.
        """
        feeds = self.feeds_of(
            self.calibration.inputs, in_order=bool(self.calibration_lengths), lengths=self.calibration.lengths
        )
        if self.states:
            yield from ({**one, **state} for one, state in zip(feeds, self.states, strict=True))
        else:
            yield from feeds

    def feeds_of(
        self,
        rows: Mapping[str, NDArray[Any]],
        size: int = 1,
        *,
        in_order: bool = False,
        lengths: NDArray[np.int64] | None = None,
    ) -> Iterator[Feeds]:
        """Yield what the model takes for raw samples: its own batch, or else `size` at once.

        With `in_order` each row by itself, repeated where the model takes more. With `lengths`, the tokens of
        each row, without padding behind the longest where the model leaves the length open.
        """
        feeding = self.feeding()
        size, count = 1 if in_order else feeding.size or size, len(next(iter(rows.values())))
        for start in range(0, count, size):
            canonical = {
                name: preprocess.apply(raw[start : start + size], self.preprocess[name])
                for name, raw in rows.items()
            }
            if lengths is not None:
                canonical = feeding.of_length(canonical, int(lengths[start : start + size].max()))
            yield feeding.feeds(canonical)

    def feeding(self, outputs: Sequence[TensorSpec] = ()) -> Feeding:
        """How samples go into the canonical model; with its outputs also how its answers come back."""
        inputs = self.inputs or tuple(TensorSpec(name, (), "float32") for name in self.preprocess)
        return Feeding(inputs, outputs, self.preprocess)


def prepare(
    validation: Validation,
    folder: Path,
    cache: Cache,
    inputs: Sequence[TensorSpec],
    scores: int | None = None,
    rows: Mapping[str, int] | None = None,
    profile: Profile = Profile.QUICK,
    tell: shifted.Tell = shifted.quiet,
    *,
    stores: bool = True,
) -> PreparedData:
    """Load, split, order, corrupt and store the data of a validation.

    Parameters
    ----------
    inputs : sequence of TensorSpec
        The model's inputs; the input of a data set without names gets the name of the first.
    scores : int, optional
        Number of scores of the model: classes must be smaller, and labels as many.
    rows : mapping of input name to int, optional
        Inputs that are rows of a table in the model, and how many it has.
    profile : Profile
        How many families of shifts are made.
    tell : callable
        Gets lines of progress.
    stores : bool
        False for a plan that nothing is measured by: no array is shifted, stored or hashed.

    Raises
    ------
    DataError
        The data cannot be read or do not fit the model.
    """
    steps = {name: step_of(table) for name, table in validation.input.items()}
    sampled = tuple(spec.name for spec in inputs if steps.get(spec.name, Preprocess()).value is None)
    host = tasks.on_host(validation.model.task)
    options = host.task.read_options(validation.task)
    split = split_of(validation.data, folder, sampled, host, options)
    test = split.test
    if not len(test):
        raise DataError("there are no test samples", where="data", next_step="use data that are not empty")
    where = validation.data.path or validation.data.callable
    split = Split(*(_at_length(part, inputs, where) for part in (split.calibration, test)))
    test = split.test
    for part in (test, split.calibration):
        if len(part):
            check_fit(part.inputs, steps, inputs, where=where)
            check_indices(part.inputs, rows or {}, part.ids, where=where)
    split = with_labels(split, host, scores, where=where, options=options)
    test = split.test
    groups, notes = groups_of(split, validation.data, where=where)
    order, lengths = _order(test, groups, validation.data, where)
    test = test.take(order)
    calibration, calibration_lengths = _calibration(split.calibration, validation.data, where)
    split = replace(split, calibration=calibration)
    # In the order of the model, because a converter may keep nothing else of its inputs.
    steps = {spec.name: steps.get(spec.name, Preprocess()) for spec in inputs}
    Feeding(inputs, (), steps)  # raises where the inputs take different numbers of samples
    targets = ""
    if stores and test.labels is not None and Need.LABELS in host.task.needs:
        targets = cache.put_array(np.ascontiguousarray(test.labels))
    sets = []
    copies = {
        name: shifted.Shifted(
            cache, raw, test.ids, with_rate(validation), calibration.inputs.get(name), steps[name], lengths
        )
        for name, raw in (test.inputs.items() if validation.shifts.kind != "none" else ())
    }
    cells = shifted.cells(validation.shifts, {name: copy.about for name, copy in copies.items()}, profile)
    sets_folder = folder / validation.shifts.sets
    of_user = given.given_sets(sets_folder) if validation.shifts.sets else {}
    cells = cells.without({family for family, _ in of_user})

    def prepared(arrays: Mapping[str, str], name: str, family: str, severity: int, mistake: bool) -> None:
        ref = _ref(cache, arrays, len(test), targets)
        digest = partial(input_digest, cache, ref, steps)
        info = SetInfo(name, family, severity, len(test), digest, lengths, mistake)
        sets.append(PreparedSet(info, ref, partial(head, cache, ref)))

    if stores:
        clean = {name: cache.put_array(raw) for name, raw in test.inputs.items()}
        prepared(clean, CLEAN, CLEAN, 0, mistake=False)
        shifted_arrays = shifted.make(copies, cells.made, tell)
        for (family, severity), arrays in zip(cells.made, shifted_arrays, strict=True):
            prepared(arrays, f"{family.name}_{severity}", family.name, severity, family.mistake)
        recipe = None if validation.data.image is None else ImageRecipe(**validation.data.image.model_dump())
        for (name, severity), path in of_user.items():
            samples = given.read(path, sets_folder, test, recipe)
            arrays = {of: cache.put_array(array) for of, array in samples.items()}
            prepared(arrays, f"{name}_{severity}", name, severity, mistake=False)
    else:
        named = [(one.name, severity, one.mistake) for one, severity in cells.made]
        sets = _planned_sets(test, [*named, *((*cell, False) for cell in of_user)], lengths)
    return PreparedData(
        sets=tuple(sets), labels=test.labels, calibration=split.calibration, preprocess=steps,
        class_names=test.class_names, notes=(*split.notes, *notes), inputs=tuple(inputs),
        groups=tuple(one.take(order) for one in groups), calibration_lengths=calibration_lengths,
        files=test.files, skipped=cells.skipped,
    )  # fmt: skip


def _planned_sets(
    test: Dataset, cells: Sequence[tuple[str, int, bool]], lengths: tuple[int, ...]
) -> list[PreparedSet]:
    """The sets of a plan, with names in place of hashes."""
    size_byte = sum(raw.nbytes for raw in test.inputs.values())

    def planned(name: str, family: str, severity: int, *, mistake: bool) -> PreparedSet:
        ref = DataRef({of: f"{of} of {name}" for of in test.inputs}, len(test), size_byte)
        info = SetInfo(name, family, severity, len(test), lambda rows: "", lengths, mistake)
        return PreparedSet(
            info, ref, lambda rows: replace(ref, samples=rows, size_byte=size_byte * rows // len(test))
        )

    return [
        planned(CLEAN, CLEAN, 0, mistake=False),
        *(planned(f"{name}_{severity}", name, severity, mistake=mistake)
          for name, severity, mistake in cells),
    ]  # fmt: skip


def _at_length(part: Dataset, inputs: Sequence[TensorSpec], where: str) -> Dataset:
    """Return documents at the length that the model fixes; as they are where it fixes none."""
    fixed = {
        spec.name: spec.shape[1]
        for spec in inputs
        if len(spec.shape) > 1 and spec.shape[1] is not None and spec.name in part.inputs
    }
    if part.lengths is None or not fixed or not len(part):
        return part
    (name, length), *_ = fixed.items()
    labels = {} if part.labels is None else {"": part.labels}
    longest = part.inputs[name].shape[1]
    arrays = ragged.lengthened({**part.inputs, **labels}, longest, length, where)
    of_labels = arrays.pop("", None)
    return replace(part, inputs=arrays, labels=of_labels)


def _order(
    test: Dataset, groups: tuple[Groups, ...], table: DataTable, where: str
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Order of the test samples, and the lengths of their sequences; none where samples are independent."""
    classes = strata(test.labels, groups)
    if table.sequence is None:
        return stratified_order(classes, test.ids, seed=table.seed)[: table.max_samples], ()
    index = sequences.index_of(test, column_name(table.sequence), where)
    order, lengths = sequences.order_of(index, classes, test.ids, seed=table.seed)
    return order[: table.max_samples], lengths


def _calibration(calibration: Dataset, table: DataTable, where: str) -> tuple[Dataset, tuple[int, ...]]:
    """Calibration samples by sequence, and the lengths; as they are where they have no sequences."""
    column = None if table.sequence is None else column_name(table.sequence)
    if column is None or column not in calibration.metadata or not len(calibration):
        return calibration, ()
    index = sequences.index_of(calibration, column, where)
    order = np.argsort(index, kind="stable")
    return calibration.take(order), tuple(np.bincount(index).tolist())


def head(cache: Cache, ref: DataRef, rows: int) -> DataRef:
    """Store the first rows of a set as separate files, for a device that needs no more."""
    arrays = {name: _head(cache, sha256, rows) for name, sha256 in ref.inputs.items()}
    return _ref(cache, arrays, rows, _head(cache, ref.targets, rows) if ref.targets else "")


def _head(cache: Cache, sha256: str, rows: int) -> str:
    key = key_of({"what": "head", "of": sha256, "rows": rows})
    stored = cache.recall(key)
    if stored is None or not cache.has_array(stored["sha256"]):
        whole = np.load(cache.array_path(sha256), mmap_mode="r", allow_pickle=False)
        stored = {"sha256": cache.put_array(whole[:rows])}
        cache.note(key, stored)
    return str(stored["sha256"])


def _ref(cache: Cache, arrays: Mapping[str, str], rows: int, targets: str) -> DataRef:
    ref = DataRef(arrays, rows, 0, targets)
    return replace(ref, size_byte=sum(cache.array_path(sha).stat().st_size for sha in ref.files))


def input_digest(cache: Cache, ref: DataRef, steps: Mapping[str, Preprocess], samples: int) -> str:
    """Return the digest of the first rows of the canonical model input, which a device must also compute.

    It is cached: hashing every set for every variant would take longer than the rest of the preparation.
    """
    key = key_of(
        {
            "what": "input digest", "code": _preprocess_sha256(), "samples": samples,
            "inputs": dict(ref.inputs), "steps": {name: step.to_json() for name, step in steps.items()},
        }
    )  # fmt: skip
    stored = cache.recall(key)
    if stored is None:
        stored = {"sha256": _input_digest(cache, ref, steps, samples)}
        cache.note(key, stored)
    return str(stored["sha256"])


@functools.cache
def _preprocess_sha256() -> str:
    return sha256_file(Path(preprocess.__file__))


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


def with_rate(validation: Validation) -> ShiftsTable:
    """Return the table ``[shifts]`` with the rate of the audio, where there is audio."""
    audio = validation.data.audio
    if audio is None or validation.shifts.rate_hz is not None:
        return validation.shifts
    return validation.shifts.model_copy(update={"rate_hz": float(audio.rate_hz)})


def step_of(table: InputTable) -> Preprocess:
    """Return the preprocessing that an ``[input.NAME]`` table states."""
    changed: dict[str, Any] = {"batch_axis": None} if table.batch_axis == "none" else {}
    if table.state and table.value is None:
        changed["value"] = 0.0
    return Preprocess(**table.model_dump() | changed)
