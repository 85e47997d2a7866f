"""Rows come from what is stored alone, in the plan's order, each with its origin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.artifact import Artifact, File
from harness.core.cause import Cause, Reason
from harness.core.job import Batch, Case, EnvironmentRecord, Job, JobKey, JobResult, Options, Samples, Status
from harness.core.measurement import WHOLE_CASE, Measurement
from harness.core.plan import HOST, Plan
from harness.core.suite import CaseContext, SummaryContext
from harness.run import summarise
from harness.store.run_folder import Facts

RUN = {
    "run_id": "r", "emulated": ["arm"], "validation": {"suites": {"s": {"batch": 3}}},
    "model": {"name": "m", "sha256": "0" * 64, "task": "classification"},
}  # fmt: skip


class Suite:
    """One measurement a job: the difference to the reference."""

    name = "s"

    def __init__(self) -> None:
        self.contexts: list[SummaryContext] = []

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        return ()

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        self.contexts.append(context)
        reference = context.reference("float32", job.case.name, job.case.severity)
        base = math.nan if reference is None else reference.values["v"]
        return [Measurement("difference", "1", result.samples.values["v"] - base)]

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        return []


def batch(target: str, setting: str) -> Batch:
    cases = tuple(Case(name, setting=setting) for name in ("a", "b"))
    artifact = Artifact("float32", "onnx", (File("m", "1" * 64, 1),), Path())
    return Batch(target, "ort", "float32", "s", artifact, {setting: Options(2)}, {}, {}, cases)


HOSTED, OWN = batch(HOST, "parity"), batch("arm", "deploy")
SKIPPED = JobResult(JobKey("gpu", "ort", "deploy", "float32", "s", "a", 0), Status.SKIPPED, "no GPU")


def facts(*results: JobResult) -> Facts:
    record = EnvironmentRecord(
        "arm", "ort", "float32", "s", "before", {"device": "board", "arch": "aarch64", "backend_version": "9"}
    )
    after = EnvironmentRecord("arm", "ort", "float32", "s", "after", {"device": "another"})
    results_by_key = {result.key: result for result in (*results, SKIPPED)}
    return Facts(RUN, Plan((HOSTED, OWN), (SKIPPED,)), None, results_by_key, [record, after])


def result(batch: Batch, index: int, value: float, status: Status = Status.OK, reason: str = "") -> JobResult:
    effective = {"provider": "P", "precision": "f32", "threads": "2"}
    return JobResult(
        batch.jobs[index].key, status, reason, Samples(values={"v": value}), effective, "2031-01-01", 5
    )


def test_rows_in_order_with_their_origin() -> None:
    stored = facts(result(OWN, 1, 7.0), result(OWN, 0, 5.0), result(HOSTED, 0, 1.0), result(HOSTED, 1, 2.0))
    suite = Suite()
    rows = summarise.summarise(stored, {"s": suite})
    assert [(row.key.target, row.case, row.measurement.metric) for row in rows] == [
        (HOST, "a", "difference"), (HOST, "b", "difference"), ("arm", "a", "difference"),
        ("arm", "b", "difference"), ("gpu", "a", WHOLE_CASE),
    ]  # fmt: skip
    assert [row.measurement.value for row in rows[2:4]] == [4.0, 5.0]
    record = rows[2].to_record()
    assert {name: record[name] for name in ("run_id", "device", "arch", "backend_version", "provider")} == {
        "run_id": "r", "device": "board", "arch": "aarch64", "backend_version": "9", "provider": "P",
    }  # fmt: skip
    assert record["artifact_sha256"] == "1" * 64
    assert rows[4].measurement.status is Status.SKIPPED
    assert rows[4].measurement.reason == "no GPU"
    assert suite.contexts[2].emulated
    assert not suite.contexts[0].emulated
    assert suite.contexts[2].settings == {"batch": 3}
    assert suite.contexts[2].options == Options(2)


def test_a_row_names_the_operators_that_builtin_kernels_compute() -> None:
    plain = result(OWN, 0, 5.0)
    mixed = replace(plain, effective={**plain.effective, "builtin": "CONCATENATION, PAD"})
    for measured, provider in ((plain, "P"), (mixed, "P; builtin: CONCATENATION, PAD")):
        rows = summarise.summarise(facts(measured), {"s": Suite()})
        assert {row.identity["provider"] for row in rows if row.key == measured.key} == {provider}


def test_what_is_no_result_is_never_summarised() -> None:
    """An ERROR stands for its whole case; so does a reference that failed, for nobody."""
    stored = facts(
        result(OWN, 0, 5.0, Status.ERROR, "crashed"), result(OWN, 1, 7.0),
        result(HOSTED, 1, 2.0, Status.ERROR, "crashed too"),
    )  # fmt: skip
    rows = summarise.summarise(stored, {"s": Suite()})
    failed = {
        (row.key.target, row.case): row.measurement for row in rows if row.measurement.status is Status.ERROR
    }
    assert {key: m.reason for key, m in failed.items()} == {
        ("arm", "a"): "crashed", (HOST, "b"): "crashed too",
    }  # fmt: skip
    assert all(m.metric == WHOLE_CASE and math.isnan(m.value) for m in failed.values())
    (row,) = (row for row in rows if row.measurement.metric == "difference")
    assert math.isnan(row.measurement.value)  # there was no reference for it
    assert summarise.missing(stored) == {HOSTED.jobs[0].key}


def test_a_job_that_others_kept_from_running_is_disturbed_and_its_neighbour_is_not() -> None:
    stored = facts(result(OWN, 0, 5.0), result(OWN, 1, 7.0))
    spent = {"ran_ns": 1, "waited_ns": 9}
    looked = {"jobs": [list(OWN.jobs[1].key)], "scheduling": spent}
    stored.environments.append(EnvironmentRecord("arm", "ort", "float32", "s", "during", looked))
    suite = Suite()
    summarise.summarise(stored, {"s": suite})
    assert [context.disturbed and context.disturbed.cause for context in suite.contexts] == [
        None, Cause.OVERLOAD,
    ]  # fmt: skip


def test_a_gpu_that_was_throttled_at_one_look_disturbs_its_batch_alone() -> None:
    stored = facts(result(OWN, 0, 5.0), result(OWN, 1, 7.0), result(HOSTED, 0, 1.0))
    looked = {"gpu_state": {"throttle_reasons": 0x8, "throttled_ns": {}}}
    for target, suite in (("arm", "s"), ("arm", "other"), (HOST, "s")):
        facts_of = {} if target == HOST else looked
        stored.environments.append(EnvironmentRecord(target, "ort", "float32", suite, "during", facts_of))
    suite = Suite()
    summarise.summarise(stored, {"s": suite})
    slow = Reason(Cause.THROTTLING, "the GPU was held below its clocks by a hardware slowdown")
    assert [context.disturbed for context in suite.contexts] == [None, slow, slow]


def test_errors_that_no_gate_looked_at() -> None:
    rows = summarise.summarise(
        facts(result(OWN, 0, 1.0, Status.ERROR, "x"), result(OWN, 1, 1.0, Status.ERROR, "y")), {"s": Suite()}
    )
    errors = [row for row in rows if row.measurement.status is Status.ERROR]
    assert summarise.uncovered_errors(rows, errors[:1]) == errors[1:]
    assert summarise.uncovered_errors(rows, errors) == []


def test_an_exception_in_summarise_is_an_error_row_and_the_other_rows_are_made() -> None:
    class Planted(Suite):
        def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
            if job.case.name == "a":
                raise ZeroDivisionError("planted")
            return super().summarise(job, result, context)

    stored = facts(result(OWN, 0, 5.0), result(OWN, 1, 7.0))
    failed: list[JobResult] = []
    rows = summarise.summarise(stored, {"s": Planted()}, failed)
    error, made = rows[:2]
    assert (error.measurement.status, error.measurement.cause) == (Status.ERROR, Cause.UNEXPECTED)
    assert error.measurement.reason.startswith("s could not be summarised: ZeroDivisionError: planted (test_")
    assert made.measurement.status is Status.OK
    assert [item.key for item in failed] == [OWN.jobs[0].key]
    assert "Traceback (most recent call last)" in failed[0].raw


def test_a_suite_that_gives_something_else_than_measurements_is_an_error_row() -> None:
    class Planted(Suite):
        def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> Any:
            return [3.0]

    (row, _) = summarise.summarise(facts(result(OWN, 0, 5.0)), {"s": Planted()})
    assert row.measurement.status is Status.ERROR
    assert "summarise gave a float, not a Measurement" in row.measurement.reason


def test_a_gpu_that_only_the_session_reports_is_unconfirmed() -> None:
    measured = JobResult(
        OWN.jobs[0].key, Status.OK, "", Samples({}, {"v": 1.0}), {"provider": "CUDAExecutionProvider"}
    )
    seen = facts(measured)
    (row,) = [r for r in summarise.summarise(seen, {"s": Suite()}) if r.key == measured.key]
    assert row.identity["provider"] == "CUDAExecutionProvider; unconfirmed: the driver reports no GPU"
    records = [
        replace(record, facts={**record.facts, "gpu": {"name": "H100"}}) for record in seen.environments
    ]
    (row,) = [
        r for r in summarise.summarise(replace(seen, environments=records), {"s": Suite()})
        if r.key == measured.key
    ]  # fmt: skip
    assert row.identity["provider"] == "CUDAExecutionProvider"


def test_parts_of_a_job_that_has_not_ended_give_rows_and_it_stays_not_measured() -> None:
    cases = (replace(OWN.cases[0], in_parts=True), OWN.cases[1])
    long = replace(OWN, cases=cases)
    key = long.jobs[0].key
    parts = Samples({"x": np.zeros((2, 1))}, {"v": 3.0})

    def rows_of(*results: JobResult) -> tuple[list[tuple[str, float, Status]], set[JobKey]]:
        stored = Facts(RUN, Plan((long,)), None, {one.key: one for one in results}, parts={key: parts})
        rows = [row.measurement for row in summarise.summarise(stored, {"s": Suite()})]
        return [(row.metric, row.n, row.status) for row in rows], summarise.missing(stored)

    assert rows_of() == ([("difference", 0, Status.OK)], {job.key for job in long.jobs})
    crashed = JobResult(key, Status.ERROR, "ended by SIGKILL", Samples({"x": np.zeros((1, 1))}, {"v": 1.0}))
    rows, missing = rows_of(crashed)
    assert rows == [(WHOLE_CASE, 0, Status.ERROR), ("difference", 0, Status.OK)]
    assert missing == {long.jobs[1].key}
