"""Sides that are named → a scene of sides that are ready to be run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.compression.choose import reading_of
from harness.compression.export.kinds import RUNTIMES
from harness.compression.file_facts import file_facts
from harness.compression.model_file import load_onnx
from harness.compression.prebuilt import layout_of
from harness.compression.variant import Variant
from harness.config.load import load_validation, validation_file
from harness.config.targets import load_target, load_targets
from harness.config.validation import FLOAT32
from harness.core.artifact import Artifact, describe_file
from harness.core.errors import HarnessError, UsageError
from harness.core.job import Batch
from harness.core.plan import HOST
from harness.core.target import PARITY_OPTIONS, Target
from harness.data.images import ImageRecipe
from harness.executors import wheels
from harness.executors.abilities import abilities_of
from harness.explain.files import tflite
from harness.explain.inputs.originals import Originals
from harness.explain.recipes.scores import Scorer
from harness.explain.recipes.variants import Recipes
from harness.explain.requests.between import SideRequest
from harness.explain.requests.swapped import Swapped, of_version
from harness.explain.scene import Scene
from harness.explain.sides.runner import DEADLINE_S, Runner
from harness.explain.sides.side import Side
from harness.run import rounding
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.selection import variant_names

#: Samples on which causes are looked for, and others on which the effect of a remedy is measured.
SAMPLES, HELD_OUT = 64, 192
SAMPLES_IN_ALL = SAMPLES + HELD_OUT
#: Under emulation a sample takes up to a second.
EMULATED_SAMPLES = 8


@contextmanager
def opened(
    model: str, between: tuple[SideRequest, SideRequest], observer: Observer, hosts: tuple[str, ...] = ()
) -> Iterator[Scene]:
    """Prepare both sides as a run does, and give what hypotheses test.

    Parameters
    ----------
    hosts : tuple of str
        Of the sides that are reached over ssh.

    Raises
    ------
    HarnessError
        A name does not exist, a target cannot be reached, or a variant cannot be made.
    """
    with closing(_prepared(model, between, observer, hosts)) as prepared:
        try:
            with scene_of(prepared, between) as scene:
                yield scene
        finally:
            observer.end()


@contextmanager
def scene_of(
    prepared: Prepared, between: tuple[SideRequest, SideRequest], deadline_s: float = DEADLINE_S
) -> Iterator[Scene]:
    """Give what hypotheses test, of a plan that has the targets and variants of both sides.

    Parameters
    ----------
    prepared : Prepared
    between : tuple of SideRequest
    deadline_s : float
        Of one run of a file.

    Raises
    ------
    HarnessError
    """
    with Runner(prepared.cache, deadline_s) as runner:
        onnx = _onnx(prepared)
        sides = [
            _on_host(prepared, request, onnx) if request.target == HOST else _side(prepared, request)
            for request in between
        ]
        yield scene_between(prepared, runner, *sides)


def scene_between(prepared: Prepared, runner: Runner, first: Side, second: Side) -> Scene:
    """What hypotheses test, of two sides that are ready."""
    onnx = _onnx(prepared)
    onnx |= {side.variant: side.artifact for side in (first, second) if side.artifact.format == "onnx"}
    reference = replace(first, target=HOST, backend="onnxruntime", executor=prepared.executors[HOST])
    host = replace(reference, options=PARITY_OPTIONS, label="this machine")
    bounds = _bounds(prepared, (first, second))
    looked, rest = _rows(prepared, (first, second))
    return Scene(
        first, second, runner, onnx, host, bounds, looked, rest,
        recipes=_recipes(prepared, second), scorer=_scorer(prepared),
    )  # fmt: skip


def _bounds(prepared: Prepared, sides: tuple[Side, Side]) -> Mapping[str, float]:
    """What rounding explains of the other's variant, the reference's, or a file that was given."""
    cards = [prepared.cards[side.variant] for side in sides[::-1] if side.variant in prepared.cards]
    given = [side for side in sides if side.artifact.format == "onnx"]
    if not cards and given and prepared.inputs is not None:
        variant = Variant(given[0].variant, {"onnx": given[0].artifact})
        cards = [rounding.with_bounds([variant], prepared.inputs.data, prepared.cache)[0].card]
    bounds: Mapping[str, float] = cards[0].get(rounding.KEY, {}).get("bounds", {}) if cards else {}
    return bounds


def _recipes(prepared: Prepared, side: Side) -> Recipes | None:
    """What makes the variants of a side again; None where there is no float model."""
    inputs = prepared.inputs
    if inputs is None or not inputs.validation.model.file:
        return None
    folder = Path(prepared.run["validation_path"]).parent
    runtimes = {target.name: target.for_runtime for target in prepared.targets}
    runtime = next((one for one in RUNTIMES if one == runtimes.get(side.target)), RUNTIMES[0])
    return Recipes(inputs.validation, folder, inputs.data, prepared.cache, runtime)


def _scorer(prepared: Prepared) -> Scorer | None:
    """What answers are worth; None without labels."""
    artifact = _onnx(prepared).get(FLOAT32)
    if prepared.labels is None or prepared.inputs is None or artifact is None:
        return None
    reading = reading_of(load_onnx(artifact.path), prepared.inputs.validation)
    return Scorer(reading, np.asarray(prepared.labels))


def versions(between: Sequence[SideRequest], scene: Scene) -> list[Swapped]:
    """Another version of the runtime, where both sides name one target and pin other packages."""
    first, second = (_version(side, scene.other.backend) for side in between)
    if between[0].target != between[1].target or first == second or not (first and second):
        return []
    return [of_version(scene.reference, scene.other, first, second)]


def _version(side: SideRequest, backend: str) -> str:
    """Version of a backend's runtime that a side asks for; empty where it pins none."""
    (target,) = load_targets((side.target,), ())
    if requirements := (side.options or {}).get("requirements"):
        target = replace(target, executor={**target.executor, "requirements": requirements.split()})
    pins = dict(text.split("==") for text in wheels.requirements(target) if text.count("==") == 1)
    return pins.get(wheels.RUNTIMES.get(backend, ""), "")


def _prepared(
    model: str, between: Sequence[SideRequest], observer: Observer, hosts: tuple[str, ...]
) -> Prepared:
    request = Request.parse(model=model)
    validation, _ = load_validation(request.model)
    file = validation_file(request.model)
    names = variant_names(validation, tuple({side.variant for side in between}))
    load_targets([side.target for side in between], hosts)  # refuses hosts that none of them takes
    targets = {}
    for side in between:
        target = load_target(side.target, hosts)
        table = {**target.to_json(), "backends": list(target.backends[:1])}
        if requirements := (side.options or {}).get("requirements"):
            table["executor"] = {**table["executor"], "requirements": requirements.split()}
        targets[_name(side)] = table
    stored = {
        "validation": json.loads(validation.model_dump_json(by_alias=True)),
        "validation_path": str(file.resolve()),
        "targets": targets,
    }
    run = Request(
        targets=tuple(targets),
        model=request.model,
        variants=names,
        results=request.results,
    )
    return prepare(run, observer, stored=stored)


def _name(side: SideRequest) -> str:
    """Sides on one target share it, unless they pin other packages."""
    requirements = (side.options or {}).get("requirements")
    return side.target if requirements is None else f"{side.target}-{requirements}".replace(" ", "-")


def _rows(prepared: Prepared, sides: Sequence[Side]) -> tuple[range, range]:
    """Samples on which causes are looked for, and others."""
    count = len(next(iter(sides[0].raw.values())))
    names = {side.target for side in sides}
    slow = any(abilities_of(target).emulated for target in prepared.targets if target.name in names)
    first = min(EMULATED_SAMPLES if slow else SAMPLES, count)
    return range(first), range(first, min(2 * first, count) if slow else count)


def _on_host(prepared: Prepared, request: SideRequest, onnx: Mapping[str, Artifact]) -> Side:
    """A variant as this machine's reference runs it."""
    batch = next(batch for batch in prepared.plan.batches if batch.target == HOST)
    artifact = batch.artifact if request.variant == batch.variant else onnx.get(request.variant)
    if artifact is None:
        raise HarnessError(
            f"{request.variant} has no ONNX file that this machine could run", where=request.label
        )
    return Side(
        request.label, HOST, batch.backend, request.variant, artifact, PARITY_OPTIONS,
        prepared.executors[HOST], batch.preprocess, _raw(prepared), originals_of(prepared),
    )  # fmt: skip


def _raw(prepared: Prepared) -> dict[str, Any]:
    """The first samples of the clean set, as every device reads them."""
    assert prepared.inputs is not None
    return {
        name: np.load(prepared.cache.array_path(digest), mmap_mode="r", allow_pickle=False)[:SAMPLES_IN_ALL]
        for name, digest in prepared.inputs.data.sets[0].ref.inputs.items()
    }


def originals_of(prepared: Prepared) -> Originals | None:
    """The image files of the samples, where they are image files."""
    assert prepared.inputs is not None
    files, table = prepared.inputs.data.files, prepared.inputs.validation.data.image
    recipe = ImageRecipe() if table is None else ImageRecipe(**table.model_dump())
    return Originals(files[:SAMPLES_IN_ALL], recipe) if files else None


def _side(prepared: Prepared, request: SideRequest) -> Side:
    target = next(target for target in prepared.targets if target.name == _name(request))
    batch = _batch(prepared, target, request)
    artifact = batch.artifact if request.file is None else _given(request.file, batch)
    return Side(
        request.label, target.name, batch.backend, artifact.variant, artifact, request.opened_with(target),
        prepared.executors[target.name], batch.preprocess, _raw(prepared), originals_of(prepared),
    )  # fmt: skip


def _batch(prepared: Prepared, target: Target, request: SideRequest) -> Batch:
    for batch in prepared.plan.batches:
        if batch.target == target.name and batch.variant == request.variant:
            return batch
    reason = next(
        (
            r.reason
            for r in prepared.plan.skipped
            if (r.key.target, r.key.variant) == (target.name, request.variant)
        ),
        "no job of it is planned",
    )
    raise HarnessError(
        f"{request.variant} cannot run on {target.name}", where=request.label, cause=reason,
        next_step=f"harness plan --target {target.name}",
    )  # fmt: skip


def _given(file: Path, batch: Batch) -> Artifact:
    """A file of the user's; its inputs and outputs lie as those of the variant's, in their order."""
    kind = file.suffix.removeprefix(".")
    if kind != batch.artifact.format:
        raise UsageError(
            f"{batch.backend} opens {batch.artifact.format} files, and {file.name} is another",
            next_step="name a target that opens it",
        )
    outputs = dict(batch.artifact.output_permutation)
    if kind == "tflite":
        given, usual = (
            tflite.outputs_in_order(tflite.read(path.read_bytes())) for path in (file, batch.artifact.path)
        )
        outputs = {
            name: outputs[before] for name, before in zip(given, usual, strict=False) if before in outputs
        }
    facts = layout_of(file_facts(file, kind))
    return replace(
        batch.artifact, variant=file.name, files=(describe_file(file),), folder=file.resolve().parent,
        output_permutation=outputs, **facts,
    )  # fmt: skip


def _onnx(prepared: Prepared) -> dict[str, Artifact]:
    assert prepared.inputs is not None
    return {
        variant.name: variant.artifacts["onnx"]
        for variant in prepared.inputs.variants
        if "onnx" in variant.artifacts
    }
