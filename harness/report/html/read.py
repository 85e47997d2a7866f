"""Runs → what the page is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.compare import pairs, sides
from harness.compare.sides import Read
from harness.core.contracts import SupportsAgreement
from harness.core.job import Status
from harness.core.plan import HOST
from harness.core.verdict import State
from harness.report.html.data import ReportData
from harness.run import summarise
from harness.run.selection import load_suites
from harness.run.stages import Outcome, look
from harness.stats.device_agreement import Agreement, Device, Place, agreements
from harness.store import run_folder

#: More devices than this fill no map that can be read: then those of runs in between are left out.
MOST_DEVICES = 12
#: Of several runs the worst state counts.
_WORST = (State.FAIL, State.INVALID, State.NOT_RUN, State.INCONCLUSIVE, State.PASS)


def read(names: Sequence[str], results: Path) -> ReportData:
    """Read the runs, and tell of each that no later one has a target of; compare each with the first.

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
    told = _told(run_files)
    drawn = _drawn(run_files, told)
    kept: dict[int, Read] = {}
    for index in sorted({0, *told, *drawn}):
        name, folder = names[index], folders[index]
        kept[index] = (
            sides.read(name, results) if len(names) > 1 or folder is None else sides.read_run(folder)
        )
    compared = pairs.between([kept.get(index, name) for index, name in enumerate(names)], results)
    outcomes = [_outcome(folders[index], kept[index]) for index in told]
    return ReportData(
        tuple(facts for index in told if (facts := kept[index].facts) is not None),
        tuple(row for outcome in outcomes for row in outcome.rows),
        tuple(verdict for outcome in outcomes for verdict in outcome.verdicts),
        min((outcome.state for outcome in outcomes), key=_WORST.index),
        tuple(
            f"{outcome.run['run_id']}: {note}" if len(outcomes) > 1 else note
            for outcome in outcomes for note in outcome.notes
        ),
        compared,
        _agreements([kept[index] for index in drawn]),
        None if 0 in told else kept[0].side,
    )  # fmt: skip


def _folder(name: str, results: Path) -> run_folder.RunFolder | None:
    """None where the name is that of a table, a baseline, or a part of a run."""
    is_path = Path(name).exists() and not (Path(name) / "run.json").is_file()
    is_part = ":" in name and not Path(name).exists()
    return None if is_path or is_part else run_folder.find_run(name, results)


def _told(run_files: Sequence[Mapping[str, Any] | None]) -> list[int]:
    """Positions of the runs that no later one has a target in common with."""
    found: list[int] = []
    later: set[str] = set()
    for index in reversed(range(len(run_files))):
        run = run_files[index]
        if run is not None and not later & set(run["targets"]):
            found.insert(0, index)
            later |= set(run["targets"])
    return found


def _drawn(run_files: Sequence[Mapping[str, Any] | None], told: Collection[int]) -> list[int]:
    """Positions of the runs whose devices are compared each with each."""
    once = {run.get("run_id", index): index for index, run in enumerate(run_files) if run is not None}
    sizes = {
        index: sum(len(target["backends"]) for target in run["targets"].values())
        for index, run in enumerate(run_files)
        if run is not None and index in once.values()
    }
    if sum(sizes.values()) <= MOST_DEVICES:
        return list(sizes)
    return [index for index in sizes if not index or index in told]


def _outcome(folder: run_folder.RunFolder | None, found: Read) -> Outcome:
    assert folder is not None
    assert found.facts is not None
    return look(folder, found.facts, found.rows)


def _agreements(runs: Sequence[Read]) -> tuple[Agreement, ...]:
    """Compare the devices of the runs; a run is named where another has the same device."""
    wholes = [(read.facts, read) for read in runs if read.facts is not None]
    short = _short([facts.run["run_id"] for facts, _ in wholes])
    plain = [
        (f"{target}/{backend}", facts, found)
        for facts, found in wholes
        for target, table in facts.run["targets"].items()
        for backend in table["backends"]
    ]
    often = Counter(name for name, _, _ in plain)
    if len(plain) < 2:
        return ()
    suites = load_suites(tuple({batch.suite for facts, _ in wholes for batch in facts.plan.batches}))
    able = {name: suite for name, suite in suites.items() if isinstance(suite, SupportsAgreement)}
    devices = []
    for name, facts, found in plain:
        answers = _answers(found, name, able)
        if answers:
            whole = f"{name} {short[facts.run['run_id']]}" if often[name] > 1 else name
            devices.append(
                Device(whole, summarise.set_digests(facts.run), facts.run["model"]["task"], answers)
            )
    return tuple(agreements(devices, able))


def _answers(found: Read, name: str, suites: Mapping[str, SupportsAgreement]) -> dict[Place, Any]:
    doubted = {
        row.key: f"INVALID: {row.measurement.reason}"
        for row in found.rows
        if row.measurement.status is Status.INVALID
    }
    assert found.facts is not None
    answers: dict[Place, Any] = {}
    for key, result in found.facts.results.items():
        if f"{key.target}/{key.backend}" != name or key.target == HOST or key.suite not in suites:
            continue
        if result.status is not Status.OK:
            answer: Any = f"{result.status}: {result.reason.partition(chr(10))[0]}"
        else:
            answer = doubted.get(key) or suites[key.suite].answers(result.samples)
        answers[Place(key.suite, key.variant, key.setting, key.case, key.severity)] = answer
    return answers


def _short(run_ids: Sequence[str]) -> dict[str, str]:
    """The last part of each run's id, where that tells them apart; else the whole."""
    ends = {run_id: run_id.rpartition("-")[2] for run_id in run_ids}
    return ends if len(set(ends.values())) == len(ends) else {run_id: run_id for run_id in run_ids}
