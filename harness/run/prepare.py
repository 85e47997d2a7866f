"""Everything up to the first measurement: read, check, look around, compress, plan. Writes only the cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from harness.compression import model_file
from harness.compression.export.kinds import RUNTIMES
from harness.compression.recipe import Variant, Workshop
from harness.config.folders import cache_folder, shipped_folder
from harness.config.load import check, load_validation, validation_file
from harness.config.targets import TargetTable, load_targets
from harness.config.validation import FLOAT32, Validation
from harness.core.contracts import Availability, Executor, Suite
from harness.core.errors import ModelError, TargetUnavailable, UsageError
from harness.core.job import Event
from harness.core.plan import HOST, Plan
from harness.core.target import Target
from harness.core.verdict import Gate
from harness.data import sets
from harness.device import plugins
from harness.device.probe import inspect, probe
from harness.run import availability, budget, references
from harness.run.plan import Ingredients, make_plan, sizes
from harness.store.cache import Cache

#: What the host's arithmetic depends on.
VERSIONS = ("deployment-validation-harness", "numpy", "pandas", "scipy", "onnx")
#: Backends that can be the reference, in order.
REFERENCE_BACKENDS = ("onnxruntime", "tflite", "openvino")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked on the command line.

    Parameters
    ----------
    targets : tuple of str
    hosts : tuple of str
        Of the targets that are reached over ssh and name none themselves.
    model : Path
        A folder or a ``validation.toml``.
    variants, suites : tuple of str
        Empty for all.
    results : Path
    budget_s : float, optional
    wait_s : float
        How long to queue for a board that somebody else holds.
    release : bool
        What emulation cannot answer was not run, instead of not applicable.
    decide_within_s : float, optional
        How long to go on measuring what is undecided.
    """

    targets: tuple[str, ...] = ("cpu",)
    hosts: tuple[str, ...] = ()
    model: Path = Path()
    variants: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    results: Path = Path("results")
    budget_s: float | None = None
    wait_s: float = 0.0
    release: bool = False
    decide_within_s: float | None = None

    @classmethod
    def of(
        cls,
        *,
        target: str = "",
        host: str = "",
        model: str | Path = "",
        variant: str = "",
        suite: str = "",
        results: str | Path = "",
        budget: str = "",
        wait: str = "",
        release: bool = False,
        decide_within: str = "",
    ) -> Request:
        """Read the texts of a command line; an empty one takes the default.

        Raises
        ------
        UsageError
            A text cannot be read.
        """
        return cls(
            targets=_names(target, "target") or ("cpu",),
            hosts=_names(host, "host"),
            model=Path(model) if model else shipped_folder("models") / "digits",
            variants=_names(variant, "variant"),
            suites=_names(suite, "suite"),
            results=Path(results or "results"),
            budget_s=parse_seconds(budget, "budget") if budget else None,
            wait_s=parse_seconds(wait, "time to wait") if wait else 0.0,
            release=release,
            decide_within_s=parse_seconds(decide_within, "time") if decide_within else None,
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything up to the first measurement."""

    plan: Plan
    run: Mapping[str, Any]
    labels: Any
    cards: Mapping[str, Any]
    targets: tuple[Target, ...]
    executors: Mapping[str, Executor]
    gates: tuple[Gate, ...]
    cache: Cache
    size: Mapping[str, int]
    lanes: tuple[budget.Lane, ...]
    estimate_s: float

    def close(self) -> None:
        """Let the devices go."""
        for executor in self.executors.values():
            executor.close()


class Observer(Protocol):
    """Who is told how far a run is."""

    def stage(self, text: str) -> None:
        """Say what is being prepared."""

    def note(self, text: str) -> None:
        """Say something that the reader should not miss."""

    def begin(self, remaining: budget.Remaining) -> None:
        """Take in what will be measured, and how long each job should take; it learns from what ends."""

    def event(self, event: Event) -> None:
        """Take in what the executor said."""

    def end(self) -> None:
        """Leave the screen as it should stay."""


def prepare(request: Request, observer: Observer, stored: Mapping[str, Any] | None = None) -> Prepared:
    """Read, check, compress and plan; writes nothing but the cache.

    Parameters
    ----------
    stored : mapping, optional
        ``run.json`` of a run that goes on: its configuration counts, not the files'.
    """
    executors: dict[str, Executor] = {}
    try:
        return _prepare(request, observer, stored, executors)
    except BaseException:  # nothing will be measured: let the devices go
        for executor in executors.values():
            executor.close()
        raise


def _prepare(
    request: Request, observer: Observer, stored: Mapping[str, Any] | None, executors: dict[str, Executor]
) -> Prepared:
    """See ``prepare``; puts into `executors` what has to be closed."""
    observer.stage("reading the configuration")
    if stored is None:
        file = validation_file(request.model).resolve()
        validation, folder = load_validation(request.model)
        references.check_validation(validation, validation_file(request.model))
        targets = load_targets(request.targets, request.hosts)
    else:
        file = Path(stored["validation_path"])
        validation = check(stored["validation"], Validation, where=str(file))
        folder = file.parent
        targets = tuple(
            check(table, TargetTable, where=name).to_target(name) for name, table in stored["targets"].items()
        )
    suites = load_suites(
        request.suites or tuple(validation.suites) or tuple(plugins.catalogue(plugins.SUITES))
    )
    references.check_executors(targets)
    variants = variant_names(validation, request.variants)
    # The float model is what every variant is compared with, whether or not it is asked for itself.
    made = tuple(dict.fromkeys((FLOAT32, *variants)))
    references.check_targets(targets)
    if any(gate.baseline for gate in validation.gates):  # read by pandas, which takes a second to import
        from harness.gates import baselines

        # A baseline that was edited is told of before hours of measuring, not after.
        names = [target.name for target in targets]
        baselines.for_gates(validation.gates, names, validation.model.name, request.results)

    cache = Cache(cache_folder())
    observer.stage("reading the model")
    workshop = Workshop(validation, folder, cache, told=observer.stage)
    for target in targets:
        if target.emulated:
            observer.note(
                f"{target.name} is emulated here ({target.description}): its times say nothing"
                + ", and a release demands real hardware" * request.release
            )
    observer.stage("looking at what can run")
    for target in (*targets, Target(HOST, "the reference", ())):
        executors[target.name] = make_executor(target, cache.folder, request.wait_s)
    formats, available = _backends(targets, validation, executors, observer)
    info = _inspect(workshop, validation, formats, available)
    observer.stage("preparing the data")
    data = sets.prepare(validation, folder, cache, info.inputs, info.classes)
    observer.stage(f"making {', '.join(made)}")
    needed = [fmt for target in targets for backend in target.backends for fmt in formats[backend][:1]]
    built = workshop.build(made, needed, data)
    for_runtime: dict[str, Sequence[Variant]] = {
        runtime: workshop.writing_for(runtime).build(made, needed, data)
        for runtime in RUNTIMES[1:]  # the first is what the workshop writes for
        if any(target.for_runtime == runtime for target in targets)
    }

    given = Ingredients(
        validation=validation, targets=targets, variants=built, asked=variants, suites=suites,
        formats=formats, available=available, data=data, inputs=info.inputs, outputs=info.outputs,
        for_runtime=for_runtime,
    )  # fmt: skip
    plan = make_plan(given)
    emulated = [target.name for target in targets if target.emulated]
    lanes = _lanes(executors)
    seconds = budget.estimate(plan, cache, emulated).seconds
    if request.budget_s is not None and budget.wall_s(seconds, lanes) > request.budget_s:
        choice = budget.choose(plan, seconds, request.budget_s)
        whole = sizes(given, plan)["samples"]
        given = replace(given, data=data.restrict(choice.cells, choice.samples))
        plan = make_plan(given)
        plan = replace(plan, share=sizes(given, plan)["samples"] / whole if whole else 1.0)
        seconds = budget.estimate(plan, cache, emulated).seconds
    run = {
        "validation": json.loads(validation.model_dump_json(by_alias=True)),
        "validation_path": str(file),
        "targets": {target.name: target.to_json() for target in targets},
        "suites": list(suites),
        "variants": list(variants),
        "budget_s": request.budget_s,
        "emulated": emulated,
        "release": request.release,
        "decide_within_s": request.decide_within_s,
        "model": {
            "name": validation.model.name,
            "task": validation.model.task,
            "sha256": next(iter(built[0].artifacts.values())).sha256,
            "class_names": list(data.class_names),
        },
        "data": {prepared.info.name: prepared.ref.to_json() for prepared in data.sets},
        "versions": {name: version(name) for name in VERSIONS},
        "python": sys.version.split()[0],
    }
    return Prepared(
        plan,
        run,
        data.labels,
        {variant.name: variant.card for variant in built},
        targets,
        executors,
        validation.gates,
        cache,
        sizes(given, plan),
        lanes,
        budget.wall_s(seconds, lanes),
    )


def _lanes(executors: Mapping[str, Executor]) -> tuple[budget.Lane, ...]:
    """What shares this machine runs one after the other, every other device beside it."""
    here = {name: executor.beside for name, executor in executors.items() if executor.here}
    return here, *({name: each.beside} for name, each in executors.items() if not each.here)


def make_executor(target: Target, store: Path, wait_s: float = 0.0) -> Executor:
    """Make the executor of a target; one that is reached over ssh learns how long to queue."""
    if target.executor["kind"] == "ssh":
        target = replace(target, executor={**target.executor, "wait_s": wait_s})
    made: Executor = plugins.choose(plugins.EXECUTORS, target.executor["kind"])(target, store)
    return made


def load_suites(names: Sequence[str]) -> dict[str, Suite]:
    """Load suites by name; an unknown one says the nearest."""
    return {name: plugins.choose(plugins.SUITES, name)() for name in names}


def variant_names(validation: Validation, wanted: Sequence[str]) -> tuple[str, ...]:
    """The variants that were asked for, the float reference first; an unknown one says the nearest.

    Without any, those that are not set aside by ``default = false``.
    """
    known = validation.variant_names
    for name in wanted:
        if name not in (*known, "all"):
            raise plugins.unknown("variant", name, known)
    if "all" in wanted:
        return known
    if not wanted:
        aside = {name for name, table in validation.variants.items() if not table.default}
        return tuple(name for name in known if name not in aside)
    return tuple(name for name in known if name in wanted)


def _backends(
    targets: Sequence[Target],
    validation: Validation,
    executors: Mapping[str, Executor],
    observer: Observer,
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], Availability]]:
    """Formats of the backends that are named, and what can run on this machine and on the targets."""
    known = plugins.catalogue(plugins.BACKENDS)
    named = dict.fromkeys(backend for target in targets for backend in target.backends)
    # A probe loads a runtime: the others are only looked at where the first cannot be the reference.
    first, *others = REFERENCE_BACKENDS
    probed = probe(name for name in dict.fromkeys((*named, first)) if name in known)
    prebuilt = any(table.files and "onnx" not in table.files for table in validation.variants.values())
    if prebuilt or first not in probed or probed[first].reason:
        probed |= probe(name for name in others if name in known and name not in probed)
    candidates = list(probed)
    formats = {}
    for name in candidates:
        if not probed[name].reason or name in named:
            formats[name] = tuple(known[name].load().formats)
    available = {(HOST, name): probed[name] for name in candidates}
    for target in targets:
        found: Mapping[str, Availability] = probed
        if not target.shares_python:
            observer.stage(f"reaching {target.name}")
            found = _reach(target, executors[target.name])
        available.update(
            {(target.name, name): availability.for_target(target, found[name]) for name in target.backends}
        )
    return formats, available


def _reach(target: Target, executor: Executor) -> Mapping[str, Availability]:
    """What can run on a device; one that cannot be reached can run nothing, and the others go on."""
    try:
        return executor.probe(target.backends)
    except TargetUnavailable as error:
        reason = "; ".join(filter(None, (error.what, error.where, error.cause)))
        return dict.fromkeys(target.backends, Availability(reason=reason, install=error.next_step))


def _inspect(
    workshop: Workshop,
    validation: Validation,
    formats: Mapping[str, Sequence[str]],
    available: Mapping[tuple[str, str], Availability],
) -> model_file.ModelInfo:
    if workshop.model is not None:
        return model_file.inspect_onnx(workshop.model)
    artifacts = workshop.prebuilt(FLOAT32).artifacts
    for backend, opens in formats.items():
        fmt = next((fmt for fmt in opens if fmt in artifacts), None)
        if fmt is not None and not available[HOST, backend].reason:
            return model_file.ModelInfo(*inspect(backend, artifacts[fmt]))
    raise ModelError(
        f"no runtime on this machine opens {', '.join(artifacts)}",
        where=str(validation.variants[FLOAT32].files),
        next_step="harness targets",
    )


def _names(text: str, what: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not any(names):
        raise UsageError(f"{text!r} names no {what}")
    if not all(names):
        raise UsageError(f"{text!r} has an empty name between commas", where=what)
    return names


def parse_seconds(text: str, what: str) -> float:
    """Seconds of ``90s``, ``3m``, ``1h``.

    Raises
    ------
    UsageError
        It is none of these.
    """
    factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * factors[unit]
    except (KeyError, ValueError):
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"{text!r} is no {what}", next_step="give seconds, minutes or hours: 90s, 3m, 1h")
    return seconds
