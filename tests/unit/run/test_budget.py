"""A budget leaves out corruptions, then samples; the same for every target and variant."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobKey, Options
from harness.core.plan import HOST, Plan
from harness.run import budget

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
    choice = budget.choose(PLAN, seconds, budget_s)
    whole = cost(PLAN, seconds, budget.Choice(frozenset(CELLS), 1000))
    least = cost(PLAN, seconds, budget.Choice(frozenset(), 1000))
    a_cell = (whole - least) / len(CELLS)
    if least + a_cell <= budget_s:
        kept = cost(PLAN, seconds, choice)
        assert kept <= budget_s + 1e-9
        assert choice.samples == 1000
        if len(choice.cells) < len(CELLS):
            assert kept + a_cell > budget_s - 1e-9
    else:
        assert len(choice.cells) == 1
        assert budget.LEAST_SAMPLES <= choice.samples <= 1000


@given(st.floats(5, 100), st.floats(5, 100))
def test_a_larger_budget_keeps_what_a_smaller_one_does(one: float, other: float) -> None:
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    small, large = (budget.choose(PLAN, seconds, s) for s in sorted((one, other)))
    assert small.cells <= large.cells
    assert small.samples <= large.samples


def test_the_order_is_one_of_hashes() -> None:
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    turned = Plan(tuple(reversed(PLAN.batches)))
    for budget_s in (12.0, 20.0, 28.0):
        assert budget.choose(turned, dict(reversed(seconds.items())), budget_s) == budget.choose(
            PLAN, seconds, budget_s
        )
