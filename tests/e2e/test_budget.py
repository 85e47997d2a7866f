"""``--budget``: the run ends in time, says what was not measured, and can be resumed."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from harness.core.exit_code import ExitCode
from harness.core.plan import Plan
from harness.core.verdict import State
from harness.report.progress import Quiet
from harness.run import prepare, stages
from harness.run.budget import Choice, Deadline
from harness.run.request import Request
from harness.run.stages import Outcome
from tests.e2e.conftest import MakeModel
from tests.e2e.shell import Shell, check

MORE_CELLS = ("severities = [1, 3]", "severities = [1, 2, 3, 4, 5]")


class Screen(Quiet):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock of a budget is a second: how long a job really takes does not matter."""
    seconds = count()
    start = Deadline.start
    monkeypatch.setattr(
        prepare.Deadline, "start", lambda budget_s: start(budget_s, lambda: float(next(seconds)))
    )


def validate(folder: Path, tmp_path: Path, budget_s: float) -> tuple[Outcome, Screen]:
    screen = Screen()
    request = Request(model=folder, suites=("accuracy",), results=tmp_path / "results", budget_s=budget_s)
    return stages.validate(request, screen), screen


@pytest.mark.usefixtures("counting")
def test_a_used_up_budget_ends_the_run_which_can_be_resumed(
    model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    outcome, screen = validate(model(MORE_CELLS), tmp_path, budget_s=30.0)
    reason = "the budget of 30 s was used up"
    assert outcome.missing > 0
    assert outcome.plan.stopped == reason
    assert outcome.exit_code is ExitCode.NOT_MEASURED
    assert f"{reason}: {outcome.missing} jobs are not measured" in screen.notes
    assert any(reason in note for note in outcome.notes)
    not_run = [verdict for verdict in outcome.verdicts if verdict.state is State.NOT_RUN]
    assert not_run
    assert all(reason in verdict.sentence for verdict in not_run)
    again = stages.finish(outcome.folder)  # harness judge
    assert (again.missing, again.plan.stopped) == (outcome.missing, reason)
    resumed = stages.resume(outcome.folder, Screen())
    assert (resumed.missing, resumed.plan.stopped) == (0, "")
    assert resumed.exit_code is ExitCode.PASSED


def test_the_same_cells_are_measured_of_every_variant(
    model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def two_cells(plan: Plan, *given: object, **more: object) -> Choice:
        jobs = [job for batch in plan.batches for job in batch.jobs]
        cells = sorted({(job.key.case, job.key.severity) for job in jobs if job.key.severity})
        return Choice(frozenset(cells[:2]), max(job.case.samples for job in jobs))

    monkeypatch.setattr("harness.run.budget.choose", two_cells)
    outcome, screen = validate(model(MORE_CELLS), tmp_path, budget_s=3600.0)
    assert outcome.missing == 0
    assert outcome.exit_code is ExitCode.PASSED
    assert outcome.plan.share == pytest.approx(0.6, abs=0.2)
    assert "the budget has time for 2 of 5 shifts" in screen.notes
    table = pd.read_csv(outcome.folder.path / "measurements.csv")
    table = table.query("target == 'cpu' and setting == 'deploy' and metric == 'accuracy'")
    cells = {
        variant: sorted(zip(rows["case"], rows["severity"], rows["n"], strict=True))
        for variant, rows in table.groupby("variant")
    }
    assert cells["float32"] == cells["int8"]
    assert [cell[0] for cell in cells["int8"]] == ["clean", "gaussian_noise", "gaussian_noise"]


def test_a_budget_that_the_preparation_uses_up(harness: Shell, tiny: Path) -> None:
    ended = harness("validate", "--model", tiny, "--budget", "0.001s")
    check(ended, 3, "the preparation took longer than the budget of 0.001 s", "run again")
    assert not harness.results.exists()
