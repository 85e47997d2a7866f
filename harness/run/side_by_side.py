"""Gates with ``design = "ABBA"``: the accepted artifact and this run's, side by side, after the run's jobs.

Each leaves a folder of the run: the times, or why there are none. Verdicts come from these folders alone, so
``harness judge`` repeats them, and a run that goes on measures what has no folder yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.core.artifact import Artifact, describe_file
from harness.core.errors import HarnessError, ResultsError
from harness.core.job import Batch
from harness.core.metric import SINGLE_STREAM
from harness.core.target import Target
from harness.core.verdict import Gate, State
from harness.gates import baselines
from harness.gates.relative import Refusal
from harness.gates.timed import Finding
from harness.run.observer import Observer
from harness.run.prepare import Prepared
from harness.store.cache import Cache, write_atomically, writing
from harness.store.run_folder import RunFolder
from harness.timing import timing_files
from harness.timing.interleave import Arm, Demand, interleave

FOLDER = "side_by_side"
REFUSED = "refused.json"
#: A gate that is undecided is measured for so long, where nothing else is said.
WITHIN_S = 120.0


def measure(folder: RunFolder, prepared: Prepared, observer: Observer) -> None:
    """Time what each gate asks for and has no folder yet; what cannot be timed is noted with its reason."""
    place = folder.path / FOLDER
    done = {of for of, told in found(folder.path).items() if told.state is not State.NOT_RUN}
    within_s = prepared.run["decide_within_s"] or WITHIN_S
    for gate, target, backend, variant in _asked(prepared):
        of = (gate.name, target.name, backend, variant)
        if of in done:  # what could not be timed is tried again
            continue
        observer.note(f"side by side: {gate.name}, {variant} on {target.name}/{backend}")
        own = place / f"{len(list(place.glob('*'))):03d}"
        arms = _arms(gate, target, backend, variant, prepared, folder.path.parent)
        if not isinstance(arms, Refusal):
            limit = gate.maximum
            assert limit is not None
            try:
                live = interleave(Demand(gate.metric, limit, within_s), arms, observer.note)
            except HarnessError as error:
                arms = Refusal(State.NOT_RUN, error.what)
            else:
                timing_files.write(live, own, of=of, baseline=gate.baseline)
                continue
        with writing(own):
            own.mkdir(parents=True)
            text = json.dumps({"of": of, "state": arms.state.value, "reason": arms.text}, indent=1)
            write_atomically(own / REFUSED, text.encode())


def found(run: Path) -> dict[tuple[str, ...], Finding | Refusal]:
    """What there is, by gate, target, backend and variant.

    Raises
    ------
    ResultsError
        A folder is damaged.
    """
    results: dict[tuple[str, ...], Finding | Refusal] = {}
    for own in sorted((run / FOLDER).glob("*")):
        if (own / timing_files.FACTS).is_file():
            facts, told = timing_files.read(own)
            results[tuple(facts["of"])] = told
        elif (own / REFUSED).is_file():
            try:
                noted = json.loads((own / REFUSED).read_text())
                results[tuple(noted["of"])] = Refusal(State(noted["state"]), noted["reason"])
            except (ValueError, KeyError, TypeError) as error:
                raise ResultsError("a note is damaged", where=str(own / REFUSED)) from error
    return results


def _asked(prepared: Prepared) -> Iterator[tuple[Gate, Target, str, str]]:
    suites, unavailable = prepared.run["suites"], {(t, b) for t, b, _ in prepared.plan.unavailable}
    for gate in prepared.gates:
        for target in prepared.targets:
            for backend in target.backends:
                for variant in prepared.run["variants"]:
                    asked = gate.design and gate.suite in suites and gate.speaks_of(target.name, variant)
                    if asked and (target.name, backend) not in unavailable:
                        yield gate.on(target.name), target, backend, variant


def _arms(
    gate: Gate, target: Target, backend: str, variant: str, prepared: Prepared, results: Path
) -> tuple[Arm, Arm] | Refusal:
    if target.emulated:
        return Refusal(State.NOT_APPLICABLE, "an emulated clock says nothing")
    batch = _batch(prepared, target.name, backend, variant)
    if isinstance(batch, Refusal):
        return batch
    kept = baselines.place(results, prepared.run["model"]["name"], target.name, gate.baseline)
    if not kept.exists():
        return Refusal(State.NOT_RUN, f"there is no baseline {gate.baseline} of {target.name}")
    sha256 = baselines.describe(kept).artifacts.get(f"{backend}/{variant}")
    if sha256 is None:
        return Refusal(State.NOT_RUN, f"the baseline {gate.baseline} has no {variant} on {backend}")
    same = sha256 == batch.artifact.sha256
    base = batch.artifact if same else accepted(batch.artifact, sha256, kept, prepared.cache)
    if base is None:
        text = (
            f"the {variant} artifact of the baseline {gate.baseline} is not on this machine any more; "
            "harness baseline save --artifacts keeps it beside the rows"
        )
        return Refusal(State.NOT_RUN, text)
    executor = prepared.executors[target.name]
    label = gate.baseline + " (the same file)" * same
    return Arm(label, executor, replace(batch, artifact=base)), Arm("this run", executor, batch)


def _batch(prepared: Prepared, target: str, backend: str, variant: str) -> Batch | Refusal:
    of = (target, backend, variant)
    for batch in prepared.plan.batches:
        timed = any(case.name == SINGLE_STREAM for case in batch.cases)
        if timed and (batch.target, batch.backend, batch.variant) == of:
            return batch
    for result in prepared.plan.skipped:
        if (result.key.target, result.key.backend, result.key.variant) == of:
            return Refusal(State.NOT_APPLICABLE, result.reason)
    return Refusal(State.NOT_RUN, f"{SINGLE_STREAM} is not planned")


def accepted(like: Artifact, sha256: str, kept: Path, cache: Cache) -> Artifact | None:
    """The accepted artifact, from beside the baseline's rows or from the cache, if it is there and whole."""
    for folder in (kept / baselines.ARTIFACTS / sha256, cache.artifact_folder(sha256)):
        # A runtime opens the first of several files, and the others go by the names that it has in mind.
        names = [file.name for file in like.files if (folder / file.name).is_file()]
        found = replace(like, files=tuple(describe_file(folder / name) for name in names), folder=folder)
        if names and found.sha256 == sha256:
            return found
    return None
