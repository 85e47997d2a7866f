"""The fourth step of a run: model, recipes and data → artifacts and data sets. Writes only the cache."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from harness.compression import model_file, runtime
from harness.compression.export.kinds import RUNTIMES
from harness.compression.model_file import ModelInfo
from harness.compression.recipe import VariantBuilder
from harness.compression.states import with_states
from harness.compression.variant import Variant
from harness.config.validation import FLOAT32
from harness.core.errors import (
    ModelError,
    PassFailed,
    RecipeRefused,
    StoreError,
    UsageError,
    WorkerError,
)
from harness.core.plan import HOST
from harness.core.preprocess import Feeds
from harness.core.profile import Profile
from harness.data import sets
from harness.data.fit import check_states
from harness.data.sets import PreparedData
from harness.device.probe import inspect
from harness.run import forked, rounding
from harness.run.connection import REFERENCE_BACKENDS, Connection
from harness.run.observer import Observer
from harness.run.proofs import proven
from harness.run.selection import Selection
from harness.store.cache import Cache, key_of


@dataclass(frozen=True, slots=True)
class Build:
    """Everything that is shipped to the targets.

    Parameters
    ----------
    variants : tuple of Variant
        float32 first.
    for_runtime : mapping of runtime to sequence of Variant
        The same variants, with TFLite files for the targets that name another runtime than LiteRT.
    failed : mapping of variant to Exception
        Variants that could not be built: ``RecipeRefused`` where the model does not allow the recipe, any
        other exception where a pass has a fault.
    model : ModelInfo
        Inputs and outputs of the canonical model.
    data : PreparedData
    not_made : tuple of str
        Variants that are described, and not made yet.
    """

    variants: tuple[Variant, ...]
    for_runtime: Mapping[str, Sequence[Variant]]
    model: ModelInfo
    data: PreparedData
    failed: Mapping[str, Exception]
    not_made: tuple[str, ...] = ()


def open_model(selection: Selection, cache: Cache, observer: Observer) -> VariantBuilder:
    """Read the float model; before any target is contacted, so that a damaged file is refused at once."""
    observer.stage("reading the model")
    return VariantBuilder(selection.validation, selection.file.parent, cache, progress=observer.stage)


def build(
    builder: VariantBuilder,
    selection: Selection,
    connection: Connection,
    cache: Cache,
    observer: Observer,
    profile: Profile = Profile.QUICK,
) -> Build:
    """Prepare the data sets and make every variant in the formats that the targets open.

    Raises
    ------
    HarnessError
        The model cannot be inspected, the data is invalid, or a variant cannot be made.
    """
    model = inspected(builder, selection, connection)
    observer.stage("preparing the data")
    data = load_data(builder, selection, cache, model, profile, observer.stage)
    if builder.model is not None:
        data = _with_states(builder.model, data, observer)
    names = selection.built_variants
    observer.stage(f"making {', '.join(names)}")
    formats = formats_of(selection, connection)
    failed: dict[str, Exception] = {}
    feeds = next(data.calibration_feeds(), None)
    tell = observer.stage
    variants = proven(_variants(builder, names, formats, data, failed, tell), feeds, cache, tell)
    variants = (_opened(variants[0], connection, cache), *variants[1:])
    variants = rounding.with_bounds(variants, data, cache, observer.stage)
    for artifact in variants[0].artifacts.values():
        if artifact.precision:
            observer.note(
                f"the reference variant {FLOAT32} is an {artifact.precision} file: {artifact.path.name};"
                " it keeps its name, and losses are relative to this file"
            )
            break
    for_runtime: dict[str, Sequence[Variant]] = {
        name: _variants(builder.for_runtime(name), names, formats, data, failed, tell)
        for name in RUNTIMES[1:]  # the builder writes for the first
        if any(target.for_runtime == name for target in selection.targets)
    }
    return Build(variants, for_runtime, model, data, failed)


def load_data(
    builder: VariantBuilder,
    selection: Selection,
    cache: Cache,
    model: ModelInfo,
    profile: Profile,
    tell: Callable[[str], None] = lambda text: None,
    *,
    stores: bool = True,
) -> PreparedData:
    """Prepare the data sets, without the states of a recurrent model; see `harness.data.sets.prepare`."""
    scores = model.scores(selection.validation)
    rows = {} if builder.model is None else model_file.table_rows(builder.model)
    folder = selection.file.parent
    data = sets.prepare(
        selection.validation, folder, cache, model.inputs, scores, rows, profile, tell, stores=stores
    )
    check_states(data.preprocess, model.inputs, model.outputs)
    return data


def formats_of(selection: Selection, connection: Connection) -> list[str]:
    """The formats that the targets open best."""
    return [
        fmt
        for target in selection.targets
        for backend in target.backends
        for fmt in connection.formats[backend][:1]
    ]


def _opened(float32: Variant, connection: Connection, cache: Cache) -> Variant:
    """Note which runtimes refuse a file that was given, up to the one that opens it and is the reference.

    What the harness wrote was proven before.
    """
    unusable = dict(float32.unusable)
    for backend in REFERENCE_BACKENDS:
        artifact, _ = float32.artifact_for(connection.formats.get(backend, ()))
        availability = connection.available.get((HOST, backend))
        if artifact is None or availability is None or availability.reason or backend in unusable:
            continue
        key = key_of({"what": "opens", "of": artifact.sha256, "by": [backend, availability.version]})
        answer = cache.recall(key)
        if answer is None:
            answer = {"reason": ""}
            try:
                inspect(backend, artifact)
            except WorkerError as error:
                answer["reason"] = error.what.partition("\n")[0]
            cache.note(key, answer)
        if not answer["reason"]:
            break
        unusable[backend] = answer["reason"]
    return replace(float32, unusable=unusable)


def _variants(
    builder: VariantBuilder,
    names: Sequence[str],
    formats: Sequence[str],
    data: PreparedData,
    failed: dict[str, Exception],
    tell: forked.Tell,
) -> tuple[Variant, ...]:
    """Make the variants; one that cannot be had is left out and noted in `failed`.

    Without float32 there is nothing to compare with, so its exception is raised; so is a mistake of the user.
    """
    variants: list[Variant] = []
    for name in names:
        if name in failed:
            continue
        try:
            variants += _built(builder, name, formats, data, tell)
        except Exception as error:
            fatal = isinstance(error, UsageError | StoreError)
            if name == FLOAT32 or (fatal and not isinstance(error, PassFailed | RecipeRefused)):
                raise
            failed[name] = error
    return tuple(variants)


def _built(
    builder: VariantBuilder, name: str, formats: Sequence[str], data: PreparedData, tell: forked.Tell
) -> tuple[Variant, ...]:
    """Make a variant in a child process, unless it is in the cache; then take it from there."""

    def make(tell: forked.Tell) -> bytes:
        builder.telling(tell).build([name], formats, data)
        return b""

    with contextlib.suppress(runtime.NeedsChild), runtime.forbidden():
        return builder.build([name], formats, data)
    try:
        forked.run(make, tell)
    except WorkerError as error:
        raise PassFailed(
            f"{name} could not be made: {error.what}", cause=error.cause,
            next_step="open the model with the runtime alone, in Python; another version of it may run it",
        ) from error  # fmt: skip
    try:
        with runtime.forbidden():
            return builder.build([name], formats, data)
    except runtime.NeedsChild as error:
        raise PassFailed(f"{name} was made, and is not in the cache", where="HARNESS_CACHE") from error


def _with_states(model: onnx.ModelProto, data: PreparedData, observer: Observer) -> PreparedData:
    """Add the states of a recurrent model, which is run in a child process."""

    def run(tell: forked.Tell) -> bytes:
        stream = io.BytesIO()
        rows = enumerate(with_states(model, data).states)
        flat: dict[str, Any] = {f"{row}/{name}": x for row, states in rows for name, x in states.items()}
        np.savez(stream, **flat)
        return stream.getvalue()

    with contextlib.suppress(runtime.NeedsChild), runtime.forbidden():
        return with_states(model, data)
    try:
        content = forked.run(run, observer.stage)
    except WorkerError as error:
        raise ModelError(f"the float model cannot be run: {error.what}", cause=error.cause) from error
    states: dict[int, Feeds] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for key in arrays.files:
            row, _, name = key.partition("/")
            states.setdefault(int(row), {})[name] = arrays[key]
    return replace(data, states=tuple(states[row] for row in sorted(states)))


def inspected(builder: VariantBuilder, selection: Selection, connection: Connection) -> ModelInfo:
    """Inputs and outputs of the canonical model.

    Raises
    ------
    ModelError
        No runtime on this machine opens the file.
    """
    if builder.model is not None:
        return model_file.inspect_onnx(builder.model)
    artifacts = builder.prebuilt(FLOAT32).artifacts
    refusals = []
    for backend, formats in connection.formats.items():
        fmt = next((fmt for fmt in formats if fmt in artifacts), None)
        if fmt is not None and not connection.available[HOST, backend].reason:
            try:
                return ModelInfo(*inspect(backend, artifacts[fmt]))
            except WorkerError as error:
                refusals.append(error.what.partition("\n")[0])
    raise ModelError(
        f"no runtime on this machine opens {', '.join(artifacts)}",
        where=str(selection.validation.variants[FLOAT32].files),
        cause="; ".join(refusals),
        next_step="harness targets",
    )
