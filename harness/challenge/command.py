"""``harness challenge``: a model on a target, healthy once and once with each planted fault."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.challenge import effects
from harness.challenge.answers import Answer, Healthy, ending, score
from harness.challenge.effects import Effect
from harness.challenge.jobs import Work, chosen
from harness.challenge.limits import key_of, limits
from harness.challenge.trials import Bench, measure
from harness.config.load import load_validation, validation_file
from harness.config.schema import ShiftsTable
from harness.config.targets import load_targets
from harness.config.validation import FLOAT32
from harness.core.errors import HarnessError, UsageError
from harness.core.job import EnvironmentRecord, JobResult, Started
from harness.core.plan import HOST
from harness.core.profile import Profile
from harness.core.target import Target
from harness.device import planted, plugins
from harness.executors.abilities import abilities_of
from harness.run import checks, declared, name_checks, stages
from harness.run.observer import Observer
from harness.run.outcome import Outcome
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.selection import load_suites, variant_names
from harness.store import challenges
from harness.store.run_folder import Facts, RunFolder
from harness.testing.faults import HEALTHY, Fault, Kind

Notify = Callable[[str], None]
#: What an emulated target cannot show.
NOT_EMULATED = (Kind.TIME, Kind.MEMORY)


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """The options of ``harness challenge``.

    Parameters
    ----------
    model : Path
        A folder or a ``validation.toml``.
    target : str
    host : str
        Its board, where it is reached over ssh.
    results : Path
    quick : bool
        Fewer faults, one variant, no shifted data.
    faults : tuple of str
        Shell patterns of the faults to plant; empty for all.
    profile : Profile
        How deep the runs go: some faults are seen by a deep one alone.
    soak_s : float
        How long a soak calls the target.
    """

    model: Path
    target: str
    host: str
    results: Path
    quick: bool = False
    faults: tuple[str, ...] = ()
    profile: Profile = Profile.QUICK
    soak_s: float = 0.0


@dataclass(slots=True)
class Challenge:
    """What a challenge came to.

    Parameters
    ----------
    folder : RunFolder
        Of the healthy run.
    about : mapping
        Model, target, backend, variants, time.
    answers : list of Answer
    effects : list of Effect
    left_out : mapping of str to str
        Faults that were not planted on purpose, with the reason.
    blocking : tuple of str
        Gates and checks that block without a fault.
    seconds : float
    """

    folder: RunFolder
    about: dict[str, Any]
    answers: list[Answer] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    blocking: tuple[str, ...] = ()
    seconds: float = 0.0


def read(
    *, model: str = "", target: str = "", host: str = "", results: Path, quick: bool = False,
    fault: Sequence[str] = (), profile: str = "", duration: str = "",
) -> ChallengeRequest:  # fmt: skip
    """Read the texts of a command line.

    Raises
    ------
    UsageError
        Several targets are named, or a fault does not exist.
    """
    parsed = Request.parse(
        target=target, host=host, model=model, results=results, profile=profile, duration=duration
    )
    if len(parsed.targets) != 1:
        raise UsageError(
            f"a challenge has one target, not {len(parsed.targets)}", where="--target",
            next_step=f"harness challenge --target {parsed.targets[0]}",
        )  # fmt: skip
    existing = planted.catalogue()
    for pattern in fault:
        if not chosen(list(existing.values()), [pattern], quick=False):
            raise plugins.unknown("fault", pattern, existing)
    return ChallengeRequest(
        parsed.model, parsed.targets[0], ",".join(parsed.hosts), results, quick, tuple(fault),
        parsed.profile, parsed.soak_s,
    )  # fmt: skip


def challenge(request: ChallengeRequest, observer: Observer, notify: Notify) -> Challenge:
    """Run the target healthy and with each fault, and store what came of it after each.

    Parameters
    ----------
    notify : callable
        Receives a line of progress.

    Raises
    ------
    UsageError
        A name does not exist.
    HarnessError
        The target cannot be reached, or the healthy run measured nothing.
    """
    began_s = time.monotonic()
    with _prepared(request, observer) as prepared:
        target = prepared.targets[0]
        faults, left_out = _faults(request, emulated=abilities_of(target).emulated)
        notify(f"measuring {prepared.run['model']['name']} on {target.name} without a fault")
        bench = _healthy_run(prepared, target, request)
        done = Challenge(bench.folder, _about(bench, target, request), left_out=left_out)
        done.blocking = tuple(sorted({f"{key[0]} {key[1]}" for key in bench.healthy.blocking}))
        done.effects = _effects(bench)
        for number, fault in enumerate(faults, 1):
            notify(f"{number} of {len(faults)}: {fault.name}, {fault.text()}")
            done.answers.append(bench.answer(fault, quick=request.quick))
            done.seconds = time.monotonic() - began_s
            challenges.write(bench.folder.path / challenges.FILE, as_json(done))
    return done


def _effects(bench: Bench) -> list[Effect]:
    """The smallest effects of the first variant that has any."""
    work, faults = bench.work, planted.catalogue()
    each = (effects.smallest(bench.rows, work.limits, work.metrics, name, faults) for name in work.variants)
    return next(filter(None, each), [])


def _faults(request: ChallengeRequest, *, emulated: bool) -> tuple[list[Fault], dict[str, str]]:
    every = [fault for fault in planted.catalogue().values() if fault.kind is not Kind.HEALTHY]
    faults = chosen(every, request.faults, quick=request.quick)
    left_out = {
        fault.name: f"it is seen with --profile {fault.profile} alone"
        for fault in faults
        if fault.profile not in (Profile.QUICK, request.profile)
    }
    if emulated:
        why = "the clock and the memory of an emulated target say nothing"
        left_out |= {fault.name: why for fault in faults if fault.kind in NOT_EMULATED}
        why = "an emulated target is not compared with the runtime alone"
        left_out |= {fault.name: why for fault in faults if fault.beside_runtime}
    return [fault for fault in faults if fault.name not in left_out], left_out


@contextmanager
def _prepared(request: ChallengeRequest, observer: Observer) -> Iterator[Prepared]:
    """Prepare a run of the first backend of the target; a quick one has no shifted data."""
    validation, _ = load_validation(request.model)
    file = validation_file(request.model)
    name_checks.check_validation(validation, file)
    (target,) = load_targets((request.target,), tuple(filter(None, request.host.split(","))))
    target = replace(target, backends=target.backends[:1])
    if request.quick:
        validation = validation.model_copy(update={"shifts": ShiftsTable()})
    stored = {
        "validation": json.loads(validation.model_dump_json(by_alias=True)),
        "validation_path": str(file.resolve()),
        "targets": {target.name: target.to_json()},
    }
    names = variant_names(validation, ())
    run = Request(
        targets=(target.name,), model=request.model, variants=names, results=request.results,
        profile=request.profile, soak_s=request.soak_s,
    )  # fmt: skip
    prepared = prepare(run, observer, stored=stored)
    try:
        yield _narrowed(prepared, target) if request.quick else prepared
    finally:
        observer.end()
        prepared.close()


def _narrowed(prepared: Prepared, target: Target) -> Prepared:
    """The same run with the one variant that most gates and checks judge."""
    plan = prepared.plan
    counts = {
        batch.variant: sum(gate.judges(target.name, batch.variant) for gate in prepared.gates)
        + sum(place.variant == batch.variant for place in plan.checks)
        for batch in plan.batches
        if batch.target == target.name
    }
    variant = max(counts, key=lambda name: counts[name])
    plan = replace(
        plan,
        batches=tuple(
            batch
            for batch in plan.batches
            if batch.variant == variant or (batch.target == HOST and batch.variant == FLOAT32)
        ),
        skipped=tuple(result for result in plan.skipped if result.key.variant == variant),
        checks=tuple(place for place in plan.checks if place.variant == variant),
    )
    return replace(prepared, plan=plan, run={**prepared.run, "variants": [variant]})


def _healthy_run(prepared: Prepared, target: Target, request: ChallengeRequest) -> Bench:
    """Measure the reference and the target without a fault, store it as a run, and judge it."""
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}-{prepared.run['model']['name']}-{secrets.token_hex(2)}"
    folder = RunFolder(request.results.resolve() / challenges.FOLDER / run_id)
    run = {**prepared.run, "run_id": run_id, "created_utc": now.isoformat(timespec="milliseconds")}
    folder.create(run, prepared.plan, prepared.labels, prepared.cards, prepared.groups)
    with folder.journal() as journal:
        for batch in prepared.plan.batches:
            if batch.target == HOST:
                for event in prepared.executors[HOST].run([batch]):
                    if not isinstance(event, Started):
                        journal.append(event)
                continue
            measured = measure(prepared.executors[target.name], batch, HEALTHY)
            if measured.error:
                raise HarnessError(
                    f"{batch.suite} of {batch.variant} cannot be measured without a fault",
                    where=target.name, cause=measured.error, next_step="harness validate",
                )  # fmt: skip
            records: list[JobResult | EnvironmentRecord] = [
                *measured.results.values(),
                *measured.environments,
            ]
            for record in records:
                journal.append(record)
    outcome = stages.finish(folder)
    facts = folder.facts()
    return _bench(prepared, target, facts, outcome, request)


def _bench(
    prepared: Prepared, target: Target, facts: Facts, outcome: Outcome, request: ChallengeRequest
) -> Bench:
    run, (backend,) = prepared.run, target.backends
    batches = tuple(batch for batch in prepared.plan.batches if batch.target == target.name)
    listed = limits(
        prepared.gates, checks.installed(run["suites"]), prepared.plan.checks, run["variants"], run["suites"],
        target.name, backend, run["validation"].get("checks", {}).get("relax", {}),
    )  # fmt: skip
    seconds = {key: result.duration_ns / 1e9 for key, result in facts.results.items()}
    if request.quick:  # it has no shifted data
        listed = [limit for limit in listed if not limit.gate.severities or 0 in limit.gate.severities]
    judged = {limit.key: limit.jobs(outcome.rows) for limit in listed}
    work = Work(batches, tuple(listed), declared.of_run(run), seconds, judged)
    here = {limit.key for limit in listed}
    smallest: dict[str, float] = {}
    for variant in work.variants:  # a fault is planted in each until one shows it
        limits_here = [limit for limit in listed if limit.variant == variant and not limit.relaxed]
        rows = [row for row in outcome.rows if row.key.variant == variant]
        sizes = effects.smallest_sizes(rows, limits_here, planted.catalogue())
        for name, size in sizes.items():
            best = max if planted.catalogue()[name].unit == effects.CALLS else min
            smallest[name] = best(size, smallest.get(name, size))
    healthy = Healthy.of((v for v in outcome.verdicts if key_of(v) in here), outcome.rows)
    return Bench(
        prepared.executors[target.name],
        work,
        outcome.folder,
        facts,
        outcome.rows,
        healthy,
        load_suites(run["suites"]),
        smallest,
    )


def _about(bench: Bench, target: Target, request: ChallengeRequest) -> dict[str, Any]:
    run = bench.facts.run
    return {
        "run_id": run["run_id"],
        "created_utc": run["created_utc"],
        "model": run["model"],
        "target": target.name,
        "backend": target.backends[0],
        "variants": list(bench.work.variants[:1] if request.quick else bench.work.variants),
        "artifacts": {batch.variant: batch.artifact.sha256 for batch in bench.work.batches},
        "quick": request.quick,
    }


def as_json(done: Challenge) -> dict[str, Any]:
    """The challenge as JSON."""
    state, _ = ending(done.answers)
    return {
        **done.about,
        "seconds": round(done.seconds, 1),
        "state": state.value,
        "score": {
            "planted": sum(score(done.answers).values()),
            **{result.value: count for result, count in score(done.answers).items()},
            "named": sum(answer.catch is not None and answer.catch.named for answer in done.answers),
        },
        "blocking_without_a_fault": list(done.blocking),
        "left_out": done.left_out,
        "effects": [
            {"name": e.name, "value": e.value, "unit": e.unit, "text": e.text, "how": e.how}
            for e in done.effects
        ],
        "faults": [_answer_json(answer) for answer in done.answers],
    }


def _answer_json(answer: Answer) -> dict[str, Any]:
    fault, caught = answer.fault, answer.catch
    return {
        "fault": fault.name,
        "kind": fault.kind.value,
        "sentence": fault.text(),
        "size": fault.size,
        "unit": fault.unit,
        "result": answer.result.value,
        "by": caught.name if caught else "",
        "by_kind": caught.kind if caught else "",
        "said": caught.sentence if caught else "",
        "named": caught.named if caught else False,
        "variant": caught.variant if caught else "",
        "would": answer.would,
        "seconds": round(answer.seconds, 2),
        "cases": list(answer.cases),
    }
