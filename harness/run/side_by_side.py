"""Gates with ``design = "side-by-side"``: the accepted artifact and this run's, timed after the run's jobs.

Each gate, target, backend and variant gets a folder in the run: its times, or why there are none. Verdicts
are made from these folders alone, so that ``harness judge`` repeats them. A resumed run times what has no
folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.core.artifact import Artifact, describe_file
from harness.core.errors import ConfigurationError, HarnessError, Problem, ResultsError
from harness.core.job import Batch, Status
from harness.core.metric import Timed
from harness.core.target import Target
from harness.core.verdict import Gate, State
from harness.executors.abilities import abilities_of
from harness.gates import baselines, scope
from harness.gates.relative import Refusal
from harness.gates.timed import TimingSummary
from harness.run import declared
from harness.run.observer import Observer
from harness.run.prepare import Prepared
from harness.store.cache import Cache, write_atomically, writing
from harness.store.run_folder import RunFolder
from harness.timing import records
from harness.timing.interleave import Criterion, TimedSide, interleave

#: Why a gate was not timed.
REFUSED = "refused.json"
#: How long one gate is timed at most, without ``--decide-within``.
WITHIN_S = 120.0


def measure(folder: RunFolder, prepared: Prepared, observer: Observer) -> None:
    """Time every gate that has no times yet; where it cannot be timed, the reason is stored."""
    timings = folder.path / records.FOLDER
    # What could not be timed is tried again.
    done = {key for key, timing in read(folder.path).items() if timing.state is not State.NOT_RUN}
    deadline = prepared.deadline
    for gate, target, backend, variant in _gates_to_time(prepared):
        key = (gate.name, target.name, backend, variant)
        if key in done:
            continue
        observer.note(f"side by side: {gate.name}, {variant} on {target.name}/{backend}")
        place = timings / f"{len(list(timings.glob('*'))):03d}"
        timed = timed_metric(gate, prepared)
        within_s = prepared.run["decide_within_s"] or WITHIN_S
        if deadline is not None:
            within_s = min(within_s, deadline.left_s())
        sides: tuple[TimedSide, TimedSide] | Refusal
        if deadline is not None and deadline.used_up:
            sides = Refusal(State.NOT_RUN, f"the budget of {deadline.budget_s:g} s was used up")
        else:
            sides = _sides(gate, timed, target, backend, variant, prepared, folder.path.parent)
        if not isinstance(sides, Refusal):
            limit = gate.maximum
            assert limit is not None
            try:
                timing = interleave(Criterion(timed, limit, within_s), sides, observer.note)
            except HarnessError as error:
                sides = Refusal(State.NOT_RUN, error.what)
            else:
                records.write(timing, place, of=key, baseline=gate.baseline)
                continue
        with writing(place):
            place.mkdir(parents=True)
            text = json.dumps({"of": key, "state": sides.state.value, "reason": sides.text}, indent=1)
            write_atomically(place / REFUSED, text.encode())


def read(run: Path) -> dict[tuple[str, ...], TimingSummary | Refusal]:
    """The timings of a run by gate, target, backend and variant.

    Raises
    ------
    ResultsError
        A folder is damaged.
    """
    timings: dict[tuple[str, ...], TimingSummary | Refusal] = {}
    for place in sorted((run / records.FOLDER).glob("*")):
        if records.facts_file(place).is_file():
            facts, timing = records.read(place)
            timings[tuple(facts["of"])] = timing
        elif (place / REFUSED).is_file():
            try:
                refused = json.loads((place / REFUSED).read_text())
                timings[tuple(refused["of"])] = Refusal(State(refused["state"]), refused["reason"])
            except (ValueError, KeyError, TypeError) as error:
                raise ResultsError(f"{REFUSED} is damaged", where=str(place / REFUSED)) from error
    return timings


def _gates_to_time(prepared: Prepared) -> Iterator[tuple[Gate, Target, str, str]]:
    """Every gate of this design, target, backend and variant that can run here."""
    unavailable = {(target, backend) for target, backend, _ in prepared.plan.unavailable}
    targets = {target.name: target for target in prepared.targets}
    backends = {name: target.backends for name, target in targets.items()}
    gates = [gate for gate in prepared.gates if gate.design]
    run = prepared.run
    for gate, target, backend, variant in scope.asked_gates(gates, run["suites"], backends, run["variants"]):
        if (target, backend) not in unavailable:
            yield gate.on(target), targets[target], backend, variant


def timed_metric(gate: Gate, prepared: Prepared) -> Timed:
    """What the gate's metric is timed as.

    Raises
    ------
    ConfigurationError
        No suite declares that it can be timed.
    """
    for timed in declared.of_run(prepared.run).timed():
        if (timed.suite, timed.name) == (gate.suite, gate.metric):
            return timed
    text = f"{gate.metric} of the suite {gate.suite} cannot be timed side by side"
    raise ConfigurationError("validation.toml", (Problem("gate.metric", text, gate.name),))


def _sides(
    gate: Gate, timed: Timed, target: Target, backend: str, variant: str, prepared: Prepared, results: Path
) -> tuple[TimedSide, TimedSide] | Refusal:
    if abilities_of(target).emulated:
        return Refusal(State.NOT_APPLICABLE, "an emulated clock says nothing")
    batch = _batch(timed, prepared, target.name, backend, variant)
    if isinstance(batch, Refusal):
        return batch
    folder = baselines.place(results, prepared.run["model"]["name"], target.name, gate.baseline)
    if not folder.exists():
        return Refusal(State.NOT_RUN, f"there is no baseline {gate.baseline} of {target.name}")
    sha256 = baselines.describe(folder).artifacts.get(f"{backend}/{variant}")
    if sha256 is None:
        return Refusal(State.NOT_RUN, f"the baseline {gate.baseline} has no {variant} on {backend}")
    label, base = gate.baseline, batch.artifact
    if sha256 == batch.artifact.sha256:
        label += " (the same file)"
    else:
        stored = find_accepted(batch.artifact, sha256, folder, prepared.cache)
        if stored is None:
            text = (
                f"the {variant} artifact of the baseline {gate.baseline} is no longer on this machine; "
                "harness baseline save --artifacts stores it with the rows"
            )
            return Refusal(State.NOT_RUN, text)
        base = stored
    executor = prepared.executors[target.name]
    return TimedSide(label, executor, replace(batch, artifact=base)), TimedSide("this run", executor, batch)


def _batch(timed: Timed, prepared: Prepared, target: str, backend: str, variant: str) -> Batch | Refusal:
    place = (target, backend, variant)
    for batch in prepared.plan.batches:
        planned = batch.suite == timed.suite and any(case.name == timed.case for case in batch.cases)
        if planned and (batch.target, batch.backend, batch.variant) == place:
            return batch
    for result in prepared.plan.skipped:
        if (result.key.target, result.key.backend, result.key.variant) == place:
            state = State.NOT_APPLICABLE if result.status is Status.SKIPPED else State.NOT_RUN
            return Refusal(state, result.reason)
    return Refusal(State.NOT_RUN, f"{timed.case} is not planned")


def find_accepted(like: Artifact, sha256: str, baseline: Path, cache: Cache) -> Artifact | None:
    """Find an accepted artifact in the folder of its baseline or in the cache.

    Parameters
    ----------
    like : Artifact
        Of the same format; the accepted artifact has files of the same names.
    sha256 : str
        Of the accepted artifact.
    baseline : Path
    cache : Cache

    Returns
    -------
    Artifact or None
        None where no place has all of its files undamaged.
    """
    for folder in (baseline / baselines.ARTIFACTS / sha256, cache.artifact_folder(sha256)):
        # A runtime opens the first of several files, which refers to the others by name.
        names = [file.name for file in like.files if (folder / file.name).is_file()]
        stored = replace(like, files=tuple(describe_file(folder / name) for name in names), folder=folder)
        if names and stored.sha256 == sha256:
            return stored
    return None
