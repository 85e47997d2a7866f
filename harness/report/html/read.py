"""Read runs for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.compare import pairs, sides
from harness.compare.sides import Read
from harness.core.job import Status
from harness.core.metric import Declared
from harness.core.plan import HOST
from harness.core.suite import SupportsAgreement
from harness.core.verdict import State
from harness.report import explanations
from harness.report.advice import not_tested
from harness.report.html.data import ReportData
from harness.run import declared, summarise
from harness.run.outcome import Outcome
from harness.run.selection import load_suites
from harness.run.stages import look
from harness.stats.device_agreement import Agreement, Device, Place, agreements
from harness.store import challenges, run_folder

#: A heat map of more devices is unreadable: then those of the runs in between are left out.
MOST_DEVICES = 12
#: From worst to best: the worst state of several runs counts.
_WORST = (State.FAIL, State.INVALID, State.NOT_RUN, State.INCONCLUSIVE, State.PASS)


def read(names: Sequence[str], results: Path) -> ReportData:
    """Read the runs; show each that shares no target with a later one; compare each with the first.

    Parameters
    ----------
    names : sequence of str
        Runs; all but the last may be any side that ``harness.compare.sides.read`` takes.
    results : Path

    Raises
    ------
    ResultsError, UsageError
        One is missing, damaged, or being written.
    """
    folders = [_folder(name, results) for name in names[:-1]] + [run_folder.find_run(names[-1], results)]
    run_files = [None if folder is None else folder.read_run() for folder in folders]
    shown = _shown(run_files)
    drawn = _drawn(run_files, shown)
    reads: dict[int, Read] = {}
    for index in sorted({0, *shown, *drawn}):
        name, folder = names[index], folders[index]
        reads[index] = (
            sides.read(name, results) if len(names) > 1 or folder is None else sides.read_run(folder)
        )
    compared = pairs.between([reads.get(index, name) for index, name in enumerate(names)], results)
    outcomes = [_outcome(folders[index], reads[index]) for index in shown]
    return ReportData(
        tuple(facts for index in shown if (facts := reads[index].facts) is not None),
        tuple(row for outcome in outcomes for row in outcome.rows),
        tuple(verdict for outcome in outcomes for verdict in outcome.verdicts),
        min((outcome.state for outcome in outcomes), key=_WORST.index),
        tuple(
            f"{outcome.run['run_id']}: {note}" if len(outcomes) > 1 else note
            for outcome in outcomes for note in outcome.notes
        ),
        compared,
        _agreements([reads[index] for index in drawn]),
        None if 0 in shown else reads[0].side,
        _declared([outcome.run for outcome in outcomes]),
        tuple(_challenges(outcomes)),
        tuple(dict.fromkeys(line for outcome in outcomes for line in not_tested(outcome))),
        tuple(one for outcome in outcomes for one in explanations.of_outcome(outcome)),
    )  # fmt: skip


def _challenges(outcomes: Sequence[Outcome]) -> Iterator[Mapping[str, Any]]:
    """The newest challenge of each model on each target; of a challenge's own run, that challenge."""
    for outcome in outcomes:
        folder = outcome.folder.path
        if (folder / challenges.FILE).is_file():
            yield challenges.read(folder / challenges.FILE)
            continue
        for target in outcome.run["targets"]:
            newest = challenges.latest(folder.parent, outcome.run["model"]["sha256"], target)
            if newest is not None:
                yield newest


def _declared(runs: Sequence[Mapping[str, Any]]) -> Declared:
    """What the installed suites declare, and for others what the runs say, the last one first."""
    metrics = declared.installed()
    for run in reversed(runs):
        metrics = metrics.or_else(declared.of_run(run))
    return metrics


def _folder(name: str, results: Path) -> run_folder.RunFolder | None:
    """None where the name is that of a table, a baseline, or a part of a run."""
    is_path = Path(name).exists() and not (Path(name) / "run.json").is_file()
    is_part = ":" in name and not Path(name).exists()
    return None if is_path or is_part else run_folder.find_run(name, results)


def _shown(run_files: Sequence[Mapping[str, Any] | None]) -> list[int]:
    """Positions of the runs that share no target with a later one."""
    positions: list[int] = []
    later: set[str] = set()
    for index in reversed(range(len(run_files))):
        run = run_files[index]
        if run is not None and not later & set(run["targets"]):
            positions.insert(0, index)
            later |= set(run["targets"])
    return positions


def _drawn(run_files: Sequence[Mapping[str, Any] | None], shown: Collection[int]) -> list[int]:
    """Positions of the runs whose devices are compared with each other."""
    positions = {run.get("run_id", index): index for index, run in enumerate(run_files) if run is not None}
    sizes = {
        index: sum(len(target["backends"]) for target in run["targets"].values())
        for index, run in enumerate(run_files)
        if run is not None and index in positions.values()
    }
    if sum(sizes.values()) <= MOST_DEVICES:
        return list(sizes)
    return [index for index in sizes if not index or index in shown]


def _outcome(folder: run_folder.RunFolder | None, run: Read) -> Outcome:
    assert folder is not None
    assert run.facts is not None
    return look(folder, run.facts, run.rows)


def _agreements(runs: Sequence[Read]) -> tuple[Agreement, ...]:
    """Compare the devices of the runs; a run is named where another has the same device."""
    wholes = [(read.facts, read) for read in runs if read.facts is not None]
    short = _short([facts.run["run_id"] for facts, _ in wholes])
    plain = [
        (f"{target}/{backend}", facts, run)
        for facts, run in wholes
        for target, table in facts.run["targets"].items()
        for backend in table["backends"]
    ]
    often = Counter(name for name, _, _ in plain)
    if len(plain) < 2:
        return ()
    suites = load_suites(tuple({batch.suite for facts, _ in wholes for batch in facts.plan.batches}))
    able = {name: suite for name, suite in suites.items() if isinstance(suite, SupportsAgreement)}
    devices = []
    for name, facts, run in plain:
        answers = _answers(run, name, able)
        if answers:
            whole = f"{name} {short[facts.run['run_id']]}" if often[name] > 1 else name
            devices.append(
                Device(whole, summarise.set_digests(facts.run), facts.run["model"]["task"], answers)
            )
    return tuple(agreements(devices, able))


def _answers(run: Read, name: str, suites: Mapping[str, SupportsAgreement]) -> dict[Place, Any]:
    invalid = {
        row.key: f"INVALID: {row.measurement.reason}"
        for row in run.rows
        if row.measurement.status is Status.INVALID
    }
    assert run.facts is not None
    task = run.facts.run["model"]["task"]
    answers: dict[Place, Any] = {}
    for key, result in run.facts.results.items():
        if f"{key.target}/{key.backend}" != name or key.target == HOST or key.suite not in suites:
            continue
        if result.status is not Status.OK:
            answer: Any = f"{result.status}: {result.reason.partition(chr(10))[0]}"
        else:
            answer = invalid.get(key) or suites[key.suite].answers(result.samples, task)
        answers[Place(key.suite, key.variant, key.setting, key.case, key.severity)] = answer
    return answers


def _short(run_ids: Sequence[str]) -> dict[str, str]:
    """The last part of each run id if it is unique, otherwise the whole id."""
    ends = {run_id: run_id.rpartition("-")[2] for run_id in run_ids}
    return ends if len(set(ends.values())) == len(ends) else {run_id: run_id for run_id in run_ids}
