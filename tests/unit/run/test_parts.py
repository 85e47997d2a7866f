"""Jobs that are stored in parts: what is left of one, and one whole series of several processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.cause import Cause
from harness.core.errors import UsageError
from harness.core.job import Batch, Case, JobKey, JobResult, Options, Part, Samples, Status
from harness.core.plan import Plan
from harness.run.parts import Parts, so_far
from harness.store.run_folder import Facts

ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
LONG = Case("long", params={"seconds": 60.0}, in_parts=True)
BATCH = Batch("cpu", "null", "float32", "s", ARTIFACT, {"deploy": Options()}, {}, {}, (LONG, Case("other")))
PLAN = Plan((BATCH,))
KEY, OTHER = (job.key for job in BATCH.jobs)


class Suite:
    """A case lasts as long as its slices say."""

    def rest(self, case: Case, parts: Samples) -> Case:
        left_s = case.params["seconds"] - float(parts.arrays["slices"].sum())
        return replace(case, params={"seconds": left_s})

    def progress(self, case: Case, parts: Samples) -> Sequence[str]:
        return [f"{parts.arrays['slices'].sum():g} s of {case.params['seconds']:g} s"]


SUITES = cast("Any", {"s": Suite()})


def samples(*seconds: float) -> Samples:
    return Samples({"slices": np.array(seconds).reshape(-1, 1)})


def parts_of(results: Sequence[JobResult] = (), stored: dict[JobKey, Samples] | None = None) -> Parts:
    by_key = {result.key: result for result in results}
    return Parts(PLAN, Facts({}, PLAN, None, by_key, parts=stored or {}), SUITES)


def left(parts: Parts) -> list[float]:
    return [case.params.get("seconds", 0.0) for batch in parts.left(PLAN).batches for case in batch.cases]


def test_a_job_goes_on_with_the_time_that_is_left() -> None:
    assert left(parts_of()) == [60.0, 0.0]
    assert left(parts_of(stored={KEY: samples(20, 15)})) == [25.0, 0.0]
    crashed = JobResult(KEY, Status.ERROR, "ended by SIGKILL", samples(10, 5), cause=Cause.WORKER_FAILED)
    assert left(parts_of([crashed], {KEY: samples(20)})) == [25.0, 0.0]


def test_only_a_failed_job_that_is_stored_in_parts_is_measured_again() -> None:
    results = [JobResult(key, Status.ERROR) for key in (KEY, OTHER)]
    assert parts_of(results).done({one.key: one for one in results}) == {OTHER}
    ended = JobResult(KEY, Status.OK)
    assert parts_of([ended]).done({KEY: ended}) == {KEY}


def test_the_result_and_the_lines_have_the_parts_of_all_processes() -> None:
    parts = parts_of(stored={KEY: samples(20, 15)})
    parts.add(Part(KEY, samples(5)))
    assert parts.lines(KEY) == ["40 s of 60 s"]
    whole = parts.whole(JobResult(KEY, Status.OK, samples=samples(5, 20)))
    assert isinstance(whole, JobResult)
    assert whole.samples.arrays["slices"][:, 0].tolist() == [20, 15, 5, 20]
    other = JobResult(OTHER, Status.OK)
    assert parts.whole(other) == other


def test_a_worker_that_died_is_not_forgotten() -> None:
    crashed = JobResult(KEY, Status.ERROR, "ended by SIGKILL", samples(10), cause=Cause.WORKER_FAILED)
    whole = parts_of([crashed]).whole(JobResult(KEY, Status.OK, samples=samples(50)))
    assert isinstance(whole, JobResult)
    assert whole.samples.values["crashes"] == ["ended by SIGKILL"]
    again = replace(whole, status=Status.ERROR, reason="ended by SIGSEGV", cause=Cause.WORKER_FAILED)
    whole = parts_of([again], {KEY: samples(1)}).whole(JobResult(KEY, Status.OK, samples=samples(5)))
    assert isinstance(whole, JobResult)
    assert whole.samples.values["crashes"] == ["ended by SIGKILL", "ended by SIGSEGV"]
    lost = replace(crashed, cause=Cause.RUNTIME_UNAVAILABLE)
    whole = parts_of([lost]).whole(JobResult(KEY, Status.OK, samples=samples(5)))
    assert isinstance(whole, JobResult)
    assert "crashes" not in whole.samples.values


def test_what_is_stored_so_far_has_the_parts_of_all_processes() -> None:
    def stored(*results: JobResult, parts: dict[JobKey, Samples] | None = None) -> list[float] | None:
        facts = Facts({}, PLAN, None, {one.key: one for one in results}, parts=parts or {})
        result = so_far(facts, BATCH.jobs[0])
        return None if result is None else result.samples.arrays["slices"][:, 0].tolist()

    crashed = JobResult(KEY, Status.ERROR, "ended by SIGKILL", samples(10), cause=Cause.WORKER_FAILED)
    assert stored() is None
    assert stored(parts={KEY: samples(1, 2)}) == [1, 2]
    assert stored(crashed, parts={KEY: samples(1, 2)}) == [10, 1, 2]
    assert stored(JobResult(KEY, Status.OK, samples=samples(60))) == [60]


def test_parts_of_two_processes_that_do_not_fit_are_an_error() -> None:
    parts = parts_of(stored={KEY: samples(20)})
    whole = parts.whole(JobResult(KEY, Status.OK, samples=Samples({"slices": np.zeros((1, 2))})))
    assert isinstance(whole, JobResult)
    assert whole.status is Status.ERROR
    assert "do not fit each other" in whole.reason


def test_a_suite_that_cannot_continue_its_case_is_named() -> None:
    facts = Facts({}, PLAN, None, {}, parts={KEY: samples(1)})
    with pytest.raises(UsageError, match="its suite cannot continue it"):
        Parts(PLAN, facts, cast("Any", {"s": object()})).left(PLAN)
