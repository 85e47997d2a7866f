"""Running a batch of planted cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from harness.core.job import Batch, Case, Event, JobResult, Options
from harness.core.target import Target
from harness.executors.local import LocalExecutor

OPTIONS = {"deploy": Options(), "parity": Options()}
MakeBatch = Callable[..., Batch]


def do(name: str, what: str = "", **more: object) -> Case:
    deadline_s = float(more.pop("deadline_s", 60.0))  # type: ignore[arg-type]
    return Case(name, deadline_s=deadline_s, params={"do": what, **more})


def run(batch: Batch, tmp_path: Path) -> Iterator[Event]:
    return LocalExecutor(Target("cpu", "", ("null",)), tmp_path).run([batch])


def results(batch: Batch, tmp_path: Path) -> dict[str, JobResult]:
    """Results by case; every case has exactly one."""
    events = [event for event in run(batch, tmp_path) if isinstance(event, JobResult)]
    assert [result.key for result in events] == [job.key for job in batch.jobs]
    return {result.key.case: result for result in events}
