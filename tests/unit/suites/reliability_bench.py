"""A planted bench, and the rows that the reliability suite makes of a case on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.artifact import TensorSpec
from harness.core.job import Case, JobResult, Samples, Status, merge
from harness.core.measurement import Measurement
from harness.core.suite import CaseContext, SetInfo, SummaryContext
from harness.core.target import Target
from harness.executors.local import LocalExecutor
from suites.reliability import cases as plan
from suites.reliability.measure import measure
from suites.reliability.summarise import ReliabilitySuite
from tests.unit.suites.planted import ROWS, InProcessBench, batch


def case_named(name: str, setting: str = "", **settings: Any) -> Case:
    sets = (SetInfo("clean", "clean", 0, ROWS, lambda n: ""),)
    context = CaseContext(
        "float32", False, False, "regression", settings, sets, None, (TensorSpec("x", (None, 4), "float32"),)
    )
    every = [case for case in plan.cases(context) if case.name == name]
    return next(case for case in reversed(every) if setting in ("", case.setting))


def bench_of(folder: Path, case: Case, fault: str = "", **extra: str) -> InProcessBench:
    return InProcessBench(
        batch(folder, "reliability", (case,), {"fault": fault, **extra}), case, folder, measure
    )


def rows_of(bench: InProcessBench, samples: Samples) -> dict[str, Measurement]:
    options = bench._batch.options["deploy"]
    context = SummaryContext(
        bench.artifact, options, "regression", None, lambda *_: None, False, {}, rounding={"y": 1e-5}
    )
    result = JobResult(bench.job.key, Status.OK, samples=samples)
    rows = ReliabilitySuite().summarise(bench.job, result, context)
    for row in rows:
        assert row.unit == ("byte" if row.metric == "reload_memory_growth" else "1")
        assert row.n > 0 or row.status is Status.SKIPPED
    return {row.metric: row for row in rows}


def measured(folder: Path, case: Case, fault: str = "", **extra: str) -> dict[str, Measurement]:
    bench = bench_of(folder, case, fault, **extra)
    try:
        return rows_of(bench, merge(measure(bench, case)))
    finally:
        bench.close()


def values(rows: dict[str, Measurement]) -> dict[str, float]:
    return {metric: row.value for metric, row in rows.items()}


def results(facts: Any, store: Path) -> list[JobResult]:
    target = Target("here", "", ("planted",))
    return [event for event in LocalExecutor(target, store).run([facts]) if isinstance(event, JobResult)]
