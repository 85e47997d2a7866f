"""The one place that wires the stages together: prepare, measure, finish."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from harness.config.load import check
from harness.config.validation import Validation
from harness.core.check import Check
from harness.core.errors import ResultsError
from harness.core.job import Batch, JobResult, Started
from harness.core.measurement import Row
from harness.core.plan import Plan
from harness.core.profile import Profile
from harness.core.verdict import GATE, Gate, overall
from harness.executors.parallel import run_parallel
from harness.gates import scope, waivers
from harness.gates.judge import Subject, judge
from harness.gates.relative import Baselines
from harness.run import checks, declared, estimate, extend, forecast, int8_trials, notes, summarise
from harness.run.measurement import Measurement
from harness.run.observer import Observer
from harness.run.outcome import Outcome
from harness.run.prepare import GROUPS, Prepared, prepare
from harness.run.request import Request
from harness.run.selection import load_suites
from harness.store import cache_space, messages, tables
from harness.store.run_folder import Facts, RunFolder, point_latest


def validate(request: Request, observer: Observer) -> Outcome:
    """Prepare, measure and judge a new run."""
    with closing(prepare(request, observer)) as prepared:
        model = prepared.run["model"]["name"]
        for warning in forecast.warnings(prepared.gates, prepared.plan, model, request.results):
            observer.note(warning)
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%dT%H%M%S}-{model}-{secrets.token_hex(2)}"
        folder = RunFolder(request.results.resolve() / run_id)
        run = {**prepared.run, "run_id": run_id, "created_utc": now.isoformat(timespec="milliseconds")}
        folder.create(run, prepared.plan, prepared.labels, prepared.cards, prepared.groups)
        with _can_be_resumed(folder):
            point_latest(folder.path.parent, run_id)
            return _measure(folder, prepared, prepared.plan, observer)


def resume(folder: RunFolder, observer: Observer, wait_s: float = 0.0) -> Outcome:
    """Complete an interrupted run: only the jobs without a result are measured.

    Raises
    ------
    ResultsError
        The model, the data or the harness changed since, so that the results would not belong together.
    """
    facts = folder.facts()
    run = facts.run
    request = Request(
        targets=tuple(run["targets"]), variants=tuple(run["variants"]), suites=tuple(run["suites"]),
        results=folder.path.parent, budget_s=run.get("budget_s"), wait_s=wait_s,
        release=run.get("release", False), decide_within_s=run.get("decide_within_s"),
        profile=Profile(run.get("profile", Profile.QUICK)), soak_s=run.get("soak_s", 0.0),
    )  # fmt: skip
    with closing(prepare(request, observer, stored=run)) as prepared, _can_be_resumed(folder):
        return _measure(folder, prepared, _completed(facts, prepared, folder), observer)


def _completed(facts: Facts, prepared: Prepared, folder: RunFolder) -> Plan:
    """The plan of an interrupted run with the artifacts of today, which have to be the same."""
    now = {_identity(batch): batch for batch in prepared.plan.batches}
    then = {_identity(batch): batch for batch in facts.plan.batches}
    run = facts.run
    if any(key not in now or now[key].artifact.sha256 != then[key].artifact.sha256 for key in then) or (
        prepared.run["data"] != run["data"] or prepared.run[GROUPS] != run.get(GROUPS, {})
    ):
        raise ResultsError(
            "the model, the data or the installed runtimes changed since the run began",
            where=str(folder.path),
            next_step="begin a new run: harness validate",
        )
    return replace(
        facts.plan,
        batches=tuple(
            replace(batch, artifact=now[_identity(batch)].artifact) for batch in facts.plan.batches
        ),
    )


@contextmanager
def _can_be_resumed(folder: RunFolder) -> Iterator[None]:
    """Say with an interruption, also one while tables are written, how the run goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        what = f"what was measured is kept\n  next   harness validate --resume {folder.path}"
        raise KeyboardInterrupt(what) from error


def _identity(batch: Batch) -> tuple[str, ...]:
    return batch.target, batch.backend, batch.variant, batch.suite


def _measure(folder: RunFolder, prepared: Prepared, plan: Plan, observer: Observer) -> Outcome:
    """Run what has no result yet, and finish also when interrupted, so that what was measured is valid."""
    interrupted = None
    try:
        with folder.journal() as journal:  # first, so that nobody else writes between looking and measuring
            measurement = Measurement(folder, prepared, journal, observer)
            measured = measurement.measure(plan)
            _decide(measurement, measured)
            if any(gate.design for gate in prepared.gates):
                from harness.run import side_by_side  # imports pandas, which takes a second

                side_by_side.measure(folder, prepared, observer)
    except KeyboardInterrupt as error:
        interrupted = error
    finally:
        observer.end()
        prepared.close()
    facts = folder.facts()
    outcome = finish(folder, facts)
    if interrupted is None:
        int8_trials.try_others(folder.path, prepared, outcome)
    estimate.remember(facts, prepared.cache)
    cache_space.bound(prepared.cache.folder, cache_space.most_byte())
    if interrupted is not None:
        raise interrupted
    return outcome


def _decide(measurement: Measurement, plan: Plan) -> None:
    """Measure undecided gates in further rounds until they are decided or their time is used up."""
    folder, prepared = measurement.folder, measurement.prepared
    within_s, began_s = prepared.run["decide_within_s"], time.monotonic()
    if prepared.deadline is not None and within_s is not None:
        within_s = min(within_s, prepared.deadline.left_s())
    while within_s is not None:
        facts = folder.facts()
        outcome = look(folder, facts)
        suites = load_suites(tuple(dict.fromkeys(batch.suite for batch in facts.plan.batches)))
        batches = extend.undecided(plan.batches, prepared.gates, outcome.verdicts, suites, facts.results)
        spent_s = time.monotonic() - began_s + extend.seconds(batches, facts.results)
        if outcome.missing or not batches or spent_s > within_s:
            return
        cases = [f"{case.name} of {b.variant} on {b.target}" for b in batches for case in b.cases]
        measurement.observer.note(f"undecided, measured further: {', '.join(cases)}")
        lanes = measurement.lanes(replace(plan, batches=tuple(batches)))
        with closing(run_parallel(lanes)) as events:
            for event in events:
                if isinstance(event, JobResult):
                    measurement.journal.append(extend.joined(facts.results[event.key], event))
                elif not isinstance(event, Started):
                    measurement.journal.append(event)


def finish(folder: RunFolder, facts: Facts | None = None) -> Outcome:
    """Summarise and judge from what is stored, and write the tables. ``harness judge`` is this alone."""
    facts = facts or folder.facts()
    failed: list[JobResult] = []
    outcome = look(folder, facts, failed=failed)
    tables.write(folder.path, outcome.rows, outcome.verdicts, facts.environments)
    tables.write_cards(folder.path, facts.run, facts.cards, outcome.rows, declared.of_run(facts.run))
    files = messages.write(folder.path, (*facts.results.values(), *failed))
    return replace(outcome, notes=(*outcome.notes, *notes.messages(files)))


def look(
    folder: RunFolder,
    facts: Facts,
    rows: Sequence[Row] | None = None,
    failed: list[JobResult] | None = None,
    baselines: Baselines | None = None,
) -> Outcome:
    """Summarise, where the rows are not given, and judge from what is stored; nothing is written.

    `failed` gets a result for every job whose suite raised an exception. Gates on a change are judged against
    `baselines`; by default they are read from beside the run.
    """
    if rows is None:
        names = dict.fromkeys(batch.suite for batch in facts.plan.batches)
        rows = summarise.summarise(facts, load_suites(tuple(names)), failed)
    validation = check(facts.run["validation"], Validation, where=str(folder.path / "run.json"))
    unavailable = {(target, backend): reason for target, backend, reason in facts.plan.unavailable}
    subjects = [
        Subject(
            name,
            backend,
            variant,
            table.get("max_samples"),
            unavailable.get((name, backend), ""),
            lacks_hardware=facts.run.get("release", False) and name in facts.run["emulated"],
        )
        for name, table in facts.run["targets"].items()
        for backend in table["backends"]
        for variant in facts.run["variants"]
    ]
    missing = summarise.missing(facts)
    judged = [gate for gate in validation.gates if scope.is_chosen(gate, facts.run["suites"])]
    asked, unknown = _asked(facts, subjects)
    judgement = judge(
        rows, judged, subjects, missing,
        _baselines(folder, facts, judged) if baselines is None else baselines, checks=asked,
        stopped=facts.plan.stopped,
    )  # fmt: skip
    verdicts, unneeded = waivers.apply(judgement.verdicts, validation.waivers)
    verdicts = waivers.relax(verdicts, validation.checks.relax)
    left_out = len(validation.gates) - len({v.gate for v in verdicts if v.kind == GATE})
    uncovered = summarise.uncovered_errors(rows, judgement.covered)
    state, code = overall(verdicts, unmeasured=bool(missing or uncovered))
    lines = [
        *facts.damaged,
        *facts.run.get("data_notes", ()),  # absent in runs of earlier versions
        *notes.profile(facts.run),
        *notes.mistakes(rows, declared.of_run(facts.run)),
        *notes.errors(uncovered, verdicts),
        *notes.unmeasured(len(missing), left_out, facts.plan.stopped),
        *unneeded,
        *unknown,
        *notes.saturation(facts.environments, facts.cards),
        *notes.sessions(facts.results.values()),
    ]
    return Outcome(
        folder,
        facts.run,
        tuple(rows),
        verdicts,
        state,
        code,
        facts.plan,
        len(missing),
        tuple(lines),
    )


def _asked(facts: Facts, subjects: Sequence[Subject]) -> tuple[list[tuple[Check, Subject]], list[str]]:
    """Return the checks that the plan asks for and where, and a note on those that are not installed."""
    if not facts.plan.checks:  # as in runs from before there were checks
        return [], []
    installed = checks.installed(facts.run["suites"])
    by_place = {(subject.target, subject.backend, subject.variant): subject for subject in subjects}
    asked = [
        (installed[place.check], by_place[place.target, place.backend, place.variant])
        for place in facts.plan.checks
        if place.check in installed
    ]
    absent = sorted({place.check for place in facts.plan.checks} - set(installed))
    return asked, [f"not judged, because their plug-in is not installed: {', '.join(absent)}"] * bool(absent)


def _baselines(folder: RunFolder, facts: Facts, gates: Sequence[Gate]) -> Baselines:
    """What the gates compare with, from beside the run."""
    if not any(gate.baseline for gate in gates):
        return Baselines()  # reading one takes pandas, and a second
    from harness.gates import baselines
    from harness.run import side_by_side

    results, model = folder.path.parent, facts.run["model"]["name"]
    accepted = baselines.for_gates(gates, facts.run["targets"], model, results)
    timed = side_by_side.read(folder.path)
    return Baselines(
        accepted, summarise.set_digests(facts.run), summarise.machines(facts), timed,
        declared.of_run(facts.run),
    )  # fmt: skip
