"""Estimates come from earlier runs or from guesses, and are corrected while jobs end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobKey, JobResult, Options, Samples, Status
from harness.core.plan import HOST, Plan
from harness.run import estimate
from harness.store.cache import Cache
from harness.store.run_folder import Facts

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


def test_estimates_come_from_what_the_same_jobs_took(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    plan = Plan((batch(), batch(variant="int8")))
    guessed = estimate.estimate(plan, cache).seconds
    assert all(seconds > 0 for seconds in guessed.values())
    first = plan.batches[0].jobs
    results = {
        job.key: JobResult(job.key, Status.OK, samples=Samples(), duration_ns=(i + 1) * 10**9)
        for i, job in enumerate(first)
    }
    estimate.remember(Facts({}, plan, None, results), cache)
    estimates = estimate.estimate(plan, cache)
    known = estimates.seconds
    assert estimates.guessed == {job.key for job in plan.batches[1].jobs}
    assert known[first[1].key] == pytest.approx(2.0)
    assert known[first[0].key] == pytest.approx(1.0 + estimate.START_S)
    other = plan.batches[1].jobs
    assert [known[job.key] for job in other] == [guessed[job.key] for job in other]
    # Half the samples take half the time.
    half = Plan((batch(samples=500),))
    assert estimate.estimate(half, cache).seconds[first[1].key] == pytest.approx(1.0)


def test_what_took_no_time_is_not_remembered(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    plan = Plan((batch(),))
    key = plan.batches[0].jobs[1].key
    before = estimate.estimate(plan, cache).seconds[key]
    estimate.remember(Facts({}, plan, None, {key: JobResult(key, Status.ERROR)}), cache)
    assert estimate.estimate(plan, cache).seconds[key] == before


LANES: tuple[estimate.Lane, ...] = ({"host": 1, "cpu": 1}, {"gpu": 1})


def test_lanes_run_beside_each_other_and_a_target_may_run_several_batches_at_once() -> None:
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    count = {name: sum(key.target == name for key in seconds) for name in {key.target for key in seconds}}
    assert set(count) == {"host", "cpu", "gpu"}
    assert estimate.wall_s(seconds, LANES) == count["host"] + count["cpu"]
    assert estimate.wall_s(seconds, [dict.fromkeys(count, 1)]) == len(seconds)
    assert estimate.wall_s(seconds, [{"cpu": 2}]) == count["cpu"] / 2
    assert estimate.wall_s({}, []) == 0.0


def test_what_is_emulated_is_guessed_slower(tmp_path: Path) -> None:
    plan, cache = Plan((batch(),)), Cache(tmp_path)
    slow, fast = (estimate.estimate(plan, cache, names).seconds for names in (["cpu"], ["pi"]))
    assert all(slow[key] > 3 * fast[key] for key in list(slow)[1:])


def ended(key: JobKey, took_s: float, status: Status = Status.OK) -> JobResult:
    return JobResult(key, status, duration_ns=round(took_s * 1e9))


def remaining(*known: Batch) -> estimate.Remaining:
    """Each job of `PLAN` should take 2 s, and a start more at the head of a batch."""
    keys = [job.key for b in PLAN.batches for job in b.jobs]
    heads = {b.jobs[0].key for b in PLAN.batches}
    remembered = {job.key for b in known for job in b.jobs}
    seconds = {key: 2.0 + estimate.START_S * (key in heads) for key in keys}
    return estimate.Remaining(PLAN, estimate.Estimates(seconds, frozenset(keys) - remembered), LANES)


HOST_BATCH, CPU, CPU_INT8, SPEED, GPU = PLAN.batches


@given(st.floats(0.1, 50), st.integers(1, 6))
def test_one_suite_on_one_target_is_wrong_by_one_factor(factor: float, n: int) -> None:
    left = remaining()
    for job in CPU.jobs[:n]:
        left.end(ended(job.key, 2 * factor))
    seconds = left.seconds()
    assert set(seconds) == {job.key for b in PLAN.batches for job in b.jobs} - {j.key for j in CPU.jobs[:n]}
    assert seconds[CPU.jobs[6].key] == pytest.approx(2 * factor)
    # Another variant, too; a start takes what it takes.
    assert seconds[CPU_INT8.jobs[0].key] == pytest.approx(2 * factor + estimate.START_S)
    # A target that was not met yet is like the others; another suite is not.
    assert seconds[GPU.jobs[1].key] == pytest.approx(2 * factor)
    assert seconds[SPEED.jobs[0].key] == pytest.approx(2 + estimate.START_S)
    left.end(ended(GPU.jobs[0].key, 6))
    assert left.seconds()[GPU.jobs[1].key] == pytest.approx(6)
    assert left.seconds()[CPU_INT8.jobs[1].key] == pytest.approx(2 * factor)


def test_a_variant_that_was_met_goes_by_itself() -> None:
    left = remaining()
    left.end(ended(CPU.jobs[0].key, 200))
    left.end(ended(CPU_INT8.jobs[0].key, 20))
    seconds = left.seconds()
    assert (seconds[CPU.jobs[1].key], seconds[CPU_INT8.jobs[1].key]) == (200, 20)


def test_what_is_remembered_does_not_learn_from_guesses_nor_they_from_it() -> None:
    left = remaining(CPU)
    left.end(ended(CPU_INT8.jobs[0].key, 20))
    assert left.seconds()[CPU.jobs[1].key] == 2
    left.end(ended(CPU.jobs[0].key, 3))
    assert left.seconds()[CPU.jobs[1].key] == 3
    assert left.seconds()[CPU_INT8.jobs[1].key] == 20


@pytest.mark.parametrize("status", [Status.ERROR, Status.SKIPPED])
def test_what_was_not_measured_teaches_nothing_and_is_not_left(status: Status) -> None:
    left = remaining()
    left.end(ended(CPU.jobs[0].key, 60, status))
    left.end(ended(JobKey("of", "another", "run", "x", "accuracy", "clean", 0), 60))
    assert CPU.jobs[0].key not in left.seconds()
    assert left.seconds()[CPU.jobs[1].key] == 2
