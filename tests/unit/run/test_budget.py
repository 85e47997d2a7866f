"""A budget leaves out corruptions, then samples; the same for every target and variant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobKey, Options
from harness.core.plan import HOST, Plan
from harness.run import budget
from harness.run.estimate import Lane

FAMILIES = ("fog", "blur", "noise")


def batch(
    target: str = "cpu", variant: str = "float32", suite: str = "accuracy", samples: int = 1000
) -> Batch:
    cases = [Case("clean", data="clean", samples=samples)]
    cases += [Case(f, s, data=f"{f}_{s}", samples=samples) for f in FAMILIES for s in (1, 2)]
    if suite != "accuracy":
        cases = [Case("single_stream")]
    artifact = Artifact(variant, "onnx", (File("m", variant.ljust(64, "0"), 1),), Path())
    return Batch(target, "b", variant, suite, artifact, {"deploy": Options()}, {}, {}, tuple(cases))


PLAN = Plan((
    batch(HOST), batch(), batch(variant="int8"), batch(suite="performance"), batch("gpu"),
))  # fmt: skip
#: All targets take turns.
LANES: tuple[Lane, ...] = ({HOST: 1, "cpu": 1, "gpu": 1},)
CELLS = {(family, severity) for family in FAMILIES for severity in (1, 2)}


def cost(plan: Plan, seconds: dict[JobKey, float], choice: budget.Choice) -> float:
    """What the chosen part takes, where samples stay."""
    return sum(
        seconds[job.key]
        for b in plan.batches
        for job in b.jobs
        if not job.key.severity or (job.key.case, job.key.severity) in choice.cells
    )


@given(st.floats(1, 200), st.floats(0.1, 5))
def test_what_is_kept_fits_and_nothing_more_would(budget_s: float, each_s: float) -> None:
    seconds = {job.key: each_s for b in PLAN.batches for job in b.jobs}
    choice = budget.choose(PLAN, seconds, LANES, budget_s)
    whole = cost(PLAN, seconds, budget.Choice(frozenset(CELLS), 1000))
    least = cost(PLAN, seconds, budget.Choice(frozenset(), 1000))
    a_cell = (whole - least) / len(CELLS)
    if least + a_cell <= budget_s:
        kept_s = cost(PLAN, seconds, choice)
        assert kept_s <= budget_s + 1e-9
        assert choice.samples == 1000
        if len(choice.cells) < len(CELLS):
            assert kept_s + a_cell > budget_s - 1e-9
    else:
        assert len(choice.cells) == 1
        assert budget.LEAST_SAMPLES <= choice.samples <= 1000


@given(st.floats(5, 100), st.floats(5, 100))
def test_a_larger_budget_keeps_what_a_smaller_one_does(one: float, other: float) -> None:
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    small, large = (budget.choose(PLAN, seconds, LANES, s) for s in sorted((one, other)))
    assert small.cells <= large.cells
    assert small.samples <= large.samples


def test_the_order_is_one_of_hashes() -> None:
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    turned = Plan(tuple(reversed(PLAN.batches)))
    for budget_s in (12.0, 20.0, 28.0):
        assert budget.choose(turned, dict(reversed(seconds.items())), LANES, budget_s) == budget.choose(
            PLAN, seconds, LANES, budget_s
        )


def test_lanes_in_parallel_have_more_time() -> None:
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    one = budget.choose(PLAN, seconds, LANES, 16.0)
    two = budget.choose(PLAN, seconds, ({HOST: 1, "cpu": 1}, {"gpu": 1}), 16.0)
    assert one.cells < two.cells


def test_samples_that_were_measured_stay() -> None:
    seconds = {job.key: 100.0 for b in PLAN.batches for job in b.jobs}
    done = {job.key for b in PLAN.batches for job in b.jobs if not job.key.severity}
    assert budget.LEAST_SAMPLES <= budget.choose(PLAN, seconds, LANES, 10.0).samples < 100
    assert budget.choose(PLAN, seconds, LANES, 10.0, done=done).samples == 1000


def test_a_deadline_counts_on_its_clock() -> None:
    now_s = 100.0
    deadline = budget.Deadline.start(60.0, lambda: now_s)
    now_s = 130.0
    assert (deadline.left_s(), deadline.used_up) == (30.0, False)
    now_s = 160.0
    assert (deadline.left_s(), deadline.used_up, deadline.kill_s()) == (0.0, True, pytest.approx(3.0))
    now_s = 200.0
    assert deadline.kill_s() == 0.0


def test_samples_that_cost_nothing_stay_where_the_rest_does_not_fit() -> None:
    seconds = {
        job.key: 1000.0 if job.key.suite == "performance" else 0.01 for b in PLAN.batches for job in b.jobs
    }
    assert budget.choose(PLAN, seconds, LANES, 10.0).samples == 1000
