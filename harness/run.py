"""The one place that wires the stages together: prepare, measure, finish."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from harness import budget, checks, config, plugins, summarise
from harness.cache import Cache
from harness.compression import model_file
from harness.compression.recipe import Workshop
from harness.core.contracts import Availability, Executor, Suite
from harness.core.errors import ModelError, ResultsError, UsageError
from harness.core.job import Event, JobKey, Started
from harness.core.measurement import Row
from harness.core.target import Target
from harness.core.verdict import Gate, State, Verdict, overall
from harness.data import sets
from harness.plan import HOST, Ingredients, Plan, make_plan, sizes
from harness.probe import inspect, probe
from harness.report import machine, tables
from harness.report.gates import Subject, judge
from harness.report.store import Facts, RunFolder, point_latest

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
    model : Path
        A folder or a ``validation.toml``.
    variants, suites : tuple of str
        Empty for all.
    results : Path
    budget_s : float, optional
    """

    targets: tuple[str, ...] = ("cpu",)
    model: Path = Path()
    variants: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    results: Path = Path("results")
    budget_s: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything up to the first measurement."""

    plan: Plan
    run: Mapping[str, Any]
    labels: Any
    targets: tuple[Target, ...]
    gates: tuple[Gate, ...]
    cache: Cache
    size: Mapping[str, int]
    estimate_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    folder: RunFolder
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    state: State
    exit_code: int
    plan: Plan
    missing: int
    notes: tuple[str, ...]


class Observer(Protocol):
    """Who is told how far a run is."""

    def stage(self, text: str) -> None:
        """Say what is being prepared."""

    def begin(self, plan: Plan, seconds: Mapping[JobKey, float]) -> None:
        """Take in what will be measured, and how long each job should take."""

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
    observer.stage("reading the configuration")
    if stored is None:
        validation, folder = config.load_validation(request.model)
        checks.check_validation(validation, config.validation_file(request.model))
        targets = tuple(config.load_target(name) for name in dict.fromkeys(request.targets))
    else:
        where = str(stored["validation_path"])
        validation = config.check(stored["validation"], config.Validation, where=where)
        folder = Path(stored["validation_path"]).parent
        targets = tuple(
            config.check(table, config.TargetTable, where=name).to_target(name)
            for name, table in stored["targets"].items()
        )
    suites = load_suites(
        request.suites or tuple(validation.suites) or tuple(plugins.catalogue(plugins.SUITES))
    )
    checks.check_executors(targets)
    variants = variant_names(validation, request.variants)
    checks.check_targets(targets)

    cache = Cache(config.cache_folder())
    observer.stage("reading the model")
    workshop = Workshop(validation, folder, cache)
    observer.stage("looking at what can run")
    formats, available = _backends(targets, validation)
    info = _inspect(workshop, validation, formats, available)
    observer.stage("preparing the data")
    data = sets.prepare(validation, folder, cache, info.inputs, info.classes)
    observer.stage(f"making {', '.join(variants)}")
    needed = [fmt for target in targets for backend in target.backends for fmt in formats[backend][:1]]
    built = workshop.build(variants, needed, data)

    given = Ingredients(
        validation=validation, targets=targets, variants=built, suites=suites, formats=formats,
        available=available, data=data, inputs=info.inputs, outputs=info.outputs,
    )  # fmt: skip
    plan = make_plan(given)
    seconds = budget.estimate(plan, cache)
    if request.budget_s is not None and sum(seconds.values()) > request.budget_s:
        choice = budget.choose(plan, seconds, request.budget_s)
        whole = sizes(given, plan)["samples"]
        given = replace(given, data=data.restrict(choice.cells, choice.samples))
        plan = make_plan(given)
        plan = replace(plan, share=sizes(given, plan)["samples"] / whole if whole else 1.0)
        seconds = budget.estimate(plan, cache)
    model = next((v for v in built if v.name == config.FLOAT32), built[0])
    run = {
        "validation": json.loads(validation.model_dump_json(by_alias=True)),
        "validation_path": str((folder / "validation.toml").resolve()),
        "targets": {target.name: target.to_json() for target in targets},
        "suites": list(suites),
        "variants": list(variants),
        "budget_s": request.budget_s,
        "emulated": [target.name for target in targets if target.executor["kind"] == "emulated"],
        "model": {
            "name": validation.model.name,
            "task": validation.model.task,
            "sha256": next(iter(model.artifacts.values())).sha256,
            "class_names": list(data.class_names),
        },
        "data": {prepared.info.name: prepared.ref.to_json() for prepared in data.sets},
        "versions": {name: version(name) for name in VERSIONS},
        "python": sys.version.split()[0],
    }
    return Prepared(
        plan, run, data.labels, targets, validation.gates, cache, sizes(given, plan), sum(seconds.values())
    )


def validate(request: Request, observer: Observer) -> Outcome:
    """Prepare, measure and judge a new run."""
    prepared = prepare(request, observer)
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}-{prepared.run['model']['name']}-{secrets.token_hex(2)}"
    folder = RunFolder(request.results.resolve() / run_id)
    run = {**prepared.run, "run_id": run_id, "created_utc": now.isoformat(timespec="seconds")}
    folder.create(run, prepared.plan, prepared.labels)
    point_latest(folder.path.parent, run_id)
    return _measure(folder, prepared, prepared.plan, observer)


def resume(folder: RunFolder, observer: Observer) -> Outcome:
    """Go on with a run that was cut: only what has no result is measured.

    Raises
    ------
    ResultsError
        The model, the data or the harness changed since, so that the results would not belong together.
    """
    facts = folder.facts()
    run = facts.run
    request = Request(
        targets=tuple(run["targets"]), variants=tuple(run["variants"]), suites=tuple(run["suites"]),
        results=folder.path.parent, budget_s=run["budget_s"],
    )  # fmt: skip
    prepared = prepare(request, observer, stored=run)
    now = {_identity(batch): batch for batch in prepared.plan.batches}
    then = {_identity(batch): batch for batch in facts.plan.batches}
    if any(key not in now or now[key].artifact.sha256 != then[key].artifact.sha256 for key in then) or (
        prepared.run["data"] != run["data"]
    ):
        raise ResultsError(
            "the model, the data or the installed runtimes changed since the run began",
            where=str(folder.path),
            next_step="begin a new run: harness validate",
        )
    plan = replace(
        facts.plan,
        batches=tuple(
            replace(batch, artifact=now[_identity(batch)].artifact) for batch in facts.plan.batches
        ),
    )
    return _measure(folder, prepared, plan, observer)


def _identity(batch: Any) -> tuple[str, ...]:  # noqa: ANN401 - Batch
    return batch.target, batch.backend, batch.variant, batch.suite


def _measure(folder: RunFolder, prepared: Prepared, plan: Plan, observer: Observer) -> Outcome:
    """Run what has no result yet, and finish also when interrupted, so that what was measured is valid."""
    interrupted = None
    try:
        with folder.journal() as journal:  # first, so that nobody else writes between looking and measuring
            rest = _rest(plan, done=folder.facts().results)
            observer.begin(rest, budget.estimate(rest, prepared.cache))
            for executor, batches in _executors(prepared, rest):
                for event in executor.run(batches):
                    if not isinstance(event, Started):
                        journal.append(event)
                    observer.event(event)
    except KeyboardInterrupt as error:
        interrupted = error
    finally:
        observer.end()
    facts = folder.facts()
    outcome = finish(folder, facts)
    budget.remember(facts, prepared.cache)
    if interrupted is not None:
        raise KeyboardInterrupt(folder.path) from interrupted
    return outcome


def _rest(plan: Plan, done: Collection[JobKey]) -> Plan:
    todo = [
        replace(batch, cases=tuple(job.case for job in batch.jobs if job.key not in done))
        for batch in plan.batches
    ]
    return replace(plan, batches=tuple(batch for batch in todo if batch.cases))


def _executors(prepared: Prepared, plan: Plan) -> Iterable[tuple[Executor, list[Any]]]:
    by_name = {target.name: target for target in prepared.targets}
    host = Target(HOST, "the reference", ())
    for name in dict.fromkeys(batch.target for batch in plan.batches):
        target = by_name.get(name, host)
        make = plugins.choose(plugins.EXECUTORS, target.executor["kind"])
        yield make(target, prepared.cache.folder), [batch for batch in plan.batches if batch.target == name]


def finish(folder: RunFolder, facts: Facts | None = None) -> Outcome:
    """Summarise and judge from what is stored, and write the tables. ``harness judge`` is this alone."""
    facts = facts or folder.facts()
    names = dict.fromkeys(batch.suite for batch in facts.plan.batches)
    suites = load_suites(tuple(names))
    rows = summarise.summarise(facts, suites)
    validation = config.check(facts.run["validation"], config.Validation, where=str(folder.path / "run.json"))
    unavailable = {(target, backend): reason for target, backend, reason in facts.plan.unavailable}
    subjects = [
        Subject(name, backend, variant, table.get("max_samples"), unavailable.get((name, backend), ""))
        for name, table in facts.run["targets"].items()
        for backend in table["backends"]
        for variant in facts.run["variants"]
    ]
    judgement = judge(
        rows, [gate for gate in validation.gates if gate.suite in facts.run["suites"]], subjects
    )
    left_out = len(validation.gates) - len({verdict.gate for verdict in judgement.verdicts})
    missing = summarise.missing(facts)
    uncovered = summarise.uncovered_errors(rows, judgement.covered)
    state, code = overall(judgement.verdicts, unmeasured=bool(missing or uncovered))
    tables.write(folder.path, rows, judgement.verdicts, facts.environments)
    notes = [f"{row.key.suite} {row.case} on {row.key.target} ended in an error" for row in uncovered]
    notes += [f"{len(missing)} jobs were not measured"] * bool(missing)
    notes += [f"{left_out} gates were not asked: their suite, variant or target was not chosen"] * bool(
        left_out
    )
    return Outcome(
        folder, tuple(rows), judgement.verdicts, state, code, facts.plan, len(missing), tuple(notes)
    )


def load_suites(names: Sequence[str]) -> dict[str, Suite]:
    """Load suites by name; an unknown one says the nearest."""
    return {name: plugins.choose(plugins.SUITES, name)() for name in names}


def variant_names(validation: config.Validation, wanted: Sequence[str]) -> tuple[str, ...]:
    """The variants that were asked for, the float reference first; an unknown one says the nearest."""
    known = validation.variant_names
    for name in wanted:
        if name not in (*known, "all"):
            raise plugins.unknown("variant", name, known)
    if not wanted or "all" in wanted:
        return known
    return tuple(name for name in known if name in wanted)


def _backends(
    targets: Sequence[Target], validation: config.Validation
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], Availability]]:
    """Formats of the backends that are named, and what can run on this machine."""
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
        if target.executor["kind"] == "local":
            available.update(
                {(target.name, name): machine.for_target(target, probed[name]) for name in target.backends}
            )
    return formats, available


def _inspect(
    workshop: Workshop,
    validation: config.Validation,
    formats: Mapping[str, Sequence[str]],
    available: Mapping[tuple[str, str], Availability],
) -> model_file.ModelInfo:
    if workshop.model is not None:
        return model_file.inspect_onnx(workshop.model)
    artifacts = workshop.prebuilt(config.FLOAT32).artifacts
    for backend, opens in formats.items():
        fmt = next((fmt for fmt in opens if fmt in artifacts), None)
        if fmt is not None and not available[HOST, backend].reason:
            return model_file.ModelInfo(*inspect(backend, artifacts[fmt]))
    raise ModelError(
        f"no runtime on this machine opens {', '.join(artifacts)}",
        where=str(validation.variants[config.FLOAT32].files),
        next_step="harness targets",
    )


def parse_budget(text: str) -> float:
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
    if not 0 < seconds < time.get_clock_info("monotonic").resolution + 1e9:
        raise UsageError(f"{text!r} is no budget", next_step="give seconds, minutes or hours: 90s, 3m, 1h")
    return seconds
