"""The log of a run that is not finished."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobResult, Options, Started, Status
from harness.core.plan import Plan
from harness.report.progress import TRENDS_EVERY_S, Live, Plain
from harness.run.estimate import Estimates, Remaining

CASES = tuple(Case(name) for name in ("clean", "fog", "snow"))
ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
BATCH = Batch("cpu", "null", "float32", "accuracy", ARTIFACT, {"deploy": Options()}, {}, {}, CASES)


def remaining(clock: Callable[[], float] = lambda: 0.0) -> Remaining:
    estimates = Estimates({job.key: 60.0 for job in BATCH.jobs}, {})
    return Remaining(Plan((BATCH,)), estimates, [{"cpu": 1}], clock=clock)


def lines_of(*results: tuple[Status, str]) -> list[str]:
    stream = io.StringIO()
    plain = Plain(stream)
    plain.begin(remaining())
    for job, (status, reason) in zip(BATCH.jobs, results, strict=True):
        plain.event(Started(job.key))
        plain.event(JobResult(job.key, status, reason))
    return stream.getvalue().splitlines()


def test_a_line_a_batch_with_the_time_left() -> None:
    assert lines_of(*[(Status.OK, "")] * 3) == [
        "3 jobs, about 3 m 00 s",
        "cpu null float32 accuracy  (3 m 00 s left)",
    ]


def test_jobs_with_one_cause_take_one_line_with_the_worker_output() -> None:
    died = (Status.ERROR, "the worker ended with exit status 2\nmy.onnx is missing\n  where  there")
    assert lines_of(died, died, (Status.ERROR, "another"))[2:] == [
        "ERROR cpu null deploy float32 accuracy clean 0: the worker ended with exit status 2; my.onnx is missing",  # noqa: E501
        "ERROR cpu null deploy float32 accuracy snow 0: another",
    ]
    assert len(lines_of(died, (Status.OK, ""), died)) == 4


def test_on_a_terminal_the_time_left_runs_down_and_learns() -> None:
    now_s, screen = 100.0, io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    live = Live(console, clock=lambda: now_s)

    def left() -> str:
        console.print(live._progress.get_renderable())
        return screen.getvalue().splitlines()[-1]

    assert "left" not in left()
    live.begin(remaining(lambda: now_s))
    first, second, _ = (job.key for job in BATCH.jobs)
    live.event(Started(first))
    assert "clean" in left()
    assert "3 m 00 s left" in left()
    now_s += 50
    assert "2 m 10 s left" in left()
    now_s += 80  # longer than it should: the others are still to come
    assert "2 m 00 s left" in left()
    live.event(JobResult(first, Status.OK, duration_ns=118_800_000_000))
    live.event(Started(second))
    # The estimate of the whole, 3 m, has grown by a half, and 2 m 10 s of it are over.
    assert "2 m 20 s left" in left()


def test_trends_of_a_long_job_are_lines_at_a_modest_rate_in_a_log() -> None:
    now_s, stream = 0.0, io.StringIO()
    plain = Plain(stream, clock=lambda: now_s)
    asked: list[float] = []

    def lines() -> list[str]:
        asked.append(now_s)
        return ["9 s left", "memory 5 MB"]

    for _ in range(31):
        plain.trends(BATCH.jobs[0].key, lines)
        now_s += 1.0
    assert asked == [TRENDS_EVERY_S, 2 * TRENDS_EVERY_S]
    assert stream.getvalue() == 2 * "cpu float32 clean\n  9 s left\n  memory 5 MB\n"


def test_trends_of_a_long_job_are_below_the_bar_until_the_next_job() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60)
    live = Live(console, clock=lambda: 0.0)
    live.begin(remaining())
    live.event(Started(BATCH.jobs[0].key))
    live.trends(BATCH.jobs[0].key, lambda: ["9 s left", "memory 5 MB " + "x" * 90])
    console.print(live._progress.get_renderable())
    assert [line.strip()[:11] for line in screen.getvalue().splitlines()[-2:]] == ["9 s left", "memory 5 MB"]
    live.event(Started(BATCH.jobs[1].key))
    assert not live._progress.lines
