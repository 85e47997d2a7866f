"""Estimates come from earlier runs or from guesses, and are corrected while jobs end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import Artifact, File, TensorSpec
from harness.core.job import Batch, Case, JobKey, JobResult, Options, Samples, Status
from harness.core.plan import HOST, Plan
from harness.core.suite import CaseContext, SetInfo
from harness.run import estimate
from harness.store.cache import Cache
from harness.store.run_folder import Facts
from suites.accuracy.summarise import AccuracySuite
from suites.performance.summarise import PerformanceSuite
from suites.reliability.summarise import ReliabilitySuite

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
    guessed = estimate.estimate(plan, cache)
    assert all(seconds > 0 for seconds in guessed.seconds.values())
    first, other = (b.jobs for b in plan.batches)
    results = {
        job.key: JobResult(job.key, Status.OK, samples=Samples(), duration_ns=(i + 1) * 10**9)
        for i, job in enumerate(first)
    }
    estimate.remember(Facts({}, plan, None, results), cache)
    estimates = estimate.estimate(plan, cache)
    assert estimates.guessed == {job.key for job in other}
    assert estimates.seconds[first[1].key] == pytest.approx(2.0)
    assert estimates.with_starts()[first[0].key] == pytest.approx(1.0 + estimate.START_S)
    assert [estimates.seconds[job.key] for job in other] == [guessed.seconds[job.key] for job in other]
    # Half the samples take half the time.
    half = Plan((batch(samples=500),))
    assert estimate.estimate(half, cache).seconds[first[1].key] == pytest.approx(1.0)


def test_a_job_without_a_duration_is_not_remembered(tmp_path: Path) -> None:
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
    # Two of its three batches have seven jobs: two at once take as long as half of all.
    assert estimate.wall_s(seconds, [{"cpu": 2}]) == count["cpu"] / 2
    assert estimate.wall_s(seconds, [{"cpu": 100}]) == 7  # the longest batch
    assert estimate.wall_s({}, []) == 0.0


def test_what_is_not_timed_shares_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "CORES", 2)
    seconds = {job.key: 1.0 for b in PLAN.batches for job in b.jobs}
    count = {name: sum(key.target == name for key in seconds) for name in {key.target for key in seconds}}
    host = {key for key in seconds if key.target == "host"}
    cpu = {key for key in seconds if key.target == "cpu"}
    # The longer of the two, at least, and at least half of both.
    both = max(count["host"], count["cpu"], (count["host"] + count["cpu"]) / 2)
    assert estimate.wall_s(seconds, LANES, host | cpu) == both
    some = next(iter(cpu))
    assert estimate.wall_s(seconds, LANES, host | {some}) == max(count["host"], 1) + count["cpu"] - 1
    # One that runs several batches at once has the cores already; a device alone has nobody to share with.
    assert estimate.wall_s(seconds, [{"host": 2, "cpu": 2}], host | cpu) == estimate.wall_s(
        seconds, [{"host": 2, "cpu": 2}]
    )
    assert estimate.wall_s(seconds, [{"gpu": 1}], seconds) == count["gpu"]


def test_a_case_that_never_ran_takes_what_its_suite_says(tmp_path: Path) -> None:
    one = batch(suite="performance")
    plan = Plan((replace(one, cases=(Case("a", typical_s=4.5), Case("b"))),))
    for emulated, start_s in (([], estimate.START_S), (["cpu"], estimate.EMULATED_START_S)):
        estimates = estimate.estimate(plan, Cache(tmp_path), emulated)
        assert list(estimates.seconds.values()) == [4.5, estimate.OTHER_GUESS_S]
        assert list(estimates.starts_s.values()) == [start_s]


def test_a_plan_of_the_bundled_suites_declares_every_case() -> None:
    sets = (SetInfo("clean", "clean", 0, 800, lambda n: ""),)
    inputs = (TensorSpec("x", (None, 4), "float32"),)
    totals = {}
    for suite in (PerformanceSuite(), AccuracySuite(), ReliabilitySuite()):
        for emulated in (False, True):
            context = CaseContext(
                "int8", False, True, "classification", {}, sets, None, inputs, emulated=emulated
            )
            cases = suite.cases(context)
            assert all(case.typical_s > 0 for case in cases)
            totals[suite.name, emulated] = sum(case.typical_s for case in cases)
    assert totals["reliability", False] < totals["performance", False] < totals["reliability", True]


def ended(key: JobKey, took_s: float, status: Status = Status.OK) -> JobResult:
    return JobResult(key, status, duration_ns=round(took_s * 1e9))


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def remaining(*measured_before: Batch, **more: Any) -> estimate.Remaining:
    """Each job of `PLAN` is estimated at 2 s, and the start of each worker at 0.6 s."""
    keys = [job.key for b in PLAN.batches for job in b.jobs]
    starts_s = {b.jobs[0].key: estimate.START_S for b in PLAN.batches}
    measured = {job.key for b in measured_before for job in b.jobs}
    estimates = estimate.Estimates(dict.fromkeys(keys, 2.0), starts_s, frozenset(keys) - measured)
    return estimate.Remaining(PLAN, estimates, LANES, **{"clock": Clock(), **more})


HOST_BATCH, CPU, CPU_INT8, SPEED, GPU = PLAN.batches


@given(st.floats(0.1, 50), st.integers(1, 6))
def test_jobs_of_one_kind_share_a_factor(factor: float, n: int) -> None:
    left = remaining()
    for job in CPU.jobs[:n]:
        left.end(ended(job.key, 2 * factor))
    seconds = left.seconds()
    assert set(seconds) == {job.key for b in PLAN.batches for job in b.jobs} - {j.key for j in CPU.jobs[:n]}
    # The nearest kind follows nearly at once, another variant and another target a little less.
    assert seconds[CPU.jobs[6].key] == pytest.approx(2 * factor, rel=0.01)
    assert seconds[CPU_INT8.jobs[1].key] == pytest.approx(2 * factor, rel=0.05)
    assert seconds[GPU.jobs[1].key] == pytest.approx(2 * factor, rel=0.35)
    # The start of a worker takes what it takes; another suite learns nothing.
    start_s = seconds[CPU_INT8.jobs[0].key] - seconds[CPU_INT8.jobs[1].key]
    assert start_s == pytest.approx(estimate.START_S)
    assert seconds[SPEED.jobs[0].key] == pytest.approx(2 + estimate.START_S)


def test_each_variant_and_target_goes_by_its_own_jobs() -> None:
    left = remaining()
    for job in CPU.jobs[:4]:
        left.end(ended(job.key, 200))
    for job in CPU_INT8.jobs[:4]:
        left.end(ended(job.key, 20))
    for job in GPU.jobs[:4]:
        left.end(ended(job.key, 2))
    seconds = left.seconds()
    assert seconds[CPU.jobs[5].key] == pytest.approx(200, rel=0.05)
    assert seconds[CPU_INT8.jobs[5].key] == pytest.approx(20, rel=0.05)
    assert seconds[GPU.jobs[5].key] == pytest.approx(2, rel=0.1)


def test_emulated_targets_and_others_learn_apart() -> None:
    left = remaining(emulated=["gpu"])
    left.end(ended(GPU.jobs[0].key, 1000))
    assert left.seconds()[CPU.jobs[1].key] == 2


def test_guesses_and_earlier_durations_learn_apart() -> None:
    left = remaining(CPU)
    left.end(ended(CPU_INT8.jobs[0].key, 20))
    assert left.seconds()[CPU.jobs[1].key] == 2
    left.end(ended(CPU.jobs[0].key, 3))
    assert left.seconds()[CPU.jobs[1].key] == pytest.approx(3, rel=0.01)
    assert left.seconds()[CPU_INT8.jobs[1].key] == pytest.approx(20, rel=0.01)


@given(st.lists(st.floats(0.001, 10_000), min_size=7, max_size=7))
def test_no_job_moves_the_estimate_by_more_than_a_step(took_s: list[float]) -> None:
    clock = Clock()
    left = remaining(clock=clock)
    before_s = left.left_s()
    for job, seconds in zip(CPU.jobs, took_s, strict=True):
        clock.now_s += seconds
        left.end(ended(job.key, seconds))
        total_s = clock.now_s + left.left_s()
        step = estimate.LARGEST_STEP * 1.000001
        assert before_s / step <= total_s <= max(before_s * step, clock.now_s)
        before_s = total_s


def test_the_estimate_runs_down_with_the_clock_and_never_beyond_the_limit() -> None:
    clock = Clock()
    left = remaining(clock=clock, limit_s=30.0)
    assert left.left_s() == 30.0
    clock.now_s = 29.0
    assert left.left_s() == 1.0
    clock.now_s = 31.0
    assert left.left_s() == 0.0
    unlimited = remaining(clock=clock)
    before_s = unlimited.left_s()
    clock.now_s += 5
    assert unlimited.left_s() == pytest.approx(before_s - 5)


def test_nothing_is_left_in_the_end() -> None:
    left = remaining()
    for b in PLAN.batches:
        for job in b.jobs:
            left.end(ended(job.key, 500))
    assert left.left_s() == 0.0


@pytest.mark.parametrize("status", [Status.ERROR, Status.SKIPPED])
def test_a_job_that_was_not_measured_is_removed_and_teaches_nothing(status: Status) -> None:
    left = remaining()
    left.end(ended(CPU.jobs[0].key, 60, status))
    left.end(ended(JobKey("a", "job", "of", "another", "run", "clean", 0), 60))
    assert CPU.jobs[0].key not in left.seconds()
    assert left.seconds()[CPU.jobs[1].key] == 2


def test_what_never_ran_takes_as_long_as_the_calls_that_proved_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    untimed = replace(batch(), cases=(Case("clean", data="clean", samples=100, typical_s=0.1, timed=False),))
    beside = replace(untimed, variant="int8", cases=(replace(untimed.cases[0], beside="float32"),))
    plan = Plan((untimed, beside, batch(suite="performance")))

    def seconds() -> list[float]:
        estimates = estimate.estimate(plan, cache).seconds
        return [estimates[one.jobs[0].key] for one in plan.batches]

    before = seconds()
    assert before[:2] == [0.1, 0.1]
    estimate.note_call(cache, untimed.artifact, "b", 0.2)
    # The same file: 100 calls, and as many of the model beside it.
    assert seconds() == [pytest.approx(20.0), pytest.approx(40.0), before[2]]
    # On an emulated target, calls of this machine say nothing.
    assert estimate.estimate(plan, cache, {"cpu"}).seconds[untimed.jobs[0].key] == 0.1
