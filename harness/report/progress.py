"""What a person sees while a run goes on: what runs now, how far it is, how long is left."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from harness.core.job import Event, JobKey, JobResult, Started, Status
from harness.plan import Plan


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} m {int(seconds % 60):02d} s"


class Live:
    """A bar on a terminal; the time left comes from what the jobs should take, corrected by how it goes."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=None, left="")
        self._seconds: dict[JobKey, float] = {}
        self._done_s = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        """Show what is being prepared."""
        self._progress.update(self._task, description=text)

    def begin(self, plan: Plan, seconds: Mapping[JobKey, float]) -> None:
        """Take in what will be measured."""
        self._seconds = dict(seconds)
        self._progress.reset(self._task, total=max(sum(seconds.values()), 1e-9))

    def event(self, event: Event) -> None:
        """Show what runs, and count what is done."""
        if isinstance(event, Started):
            key = event.key
            where = f"{key.target} {key.variant} {key.suite} {key.case}"
            self._progress.update(self._task, description=f"{where:<46}", left=self._left())
        elif isinstance(event, JobResult):
            cost = self._seconds.pop(event.key, 0.0)
            self._done_s += cost
            self._progress.update(self._task, advance=cost, left=self._left())

    def end(self) -> None:
        """Nothing stays."""

    def _left(self) -> str:
        elapsed_s = self._progress.tasks[self._task].elapsed or 0.0
        pace = elapsed_s / self._done_s if self._done_s > 1.0 else 1.0
        return f"{duration(sum(self._seconds.values()) * pace)} left"


class Plain:
    """One line a batch, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._batch: tuple[str, ...] = ()
        self._left_s: dict[JobKey, float] = {}
        self._told: tuple[object, ...] = ()

    def stage(self, text: str) -> None:
        """Preparation is short; nothing is said."""

    def begin(self, plan: Plan, seconds: Mapping[JobKey, float]) -> None:
        """Say how much there is to do."""
        self._left_s = dict(seconds)
        self._say(f"{len(seconds)} jobs, about {duration(sum(seconds.values()))}")

    def event(self, event: Event) -> None:
        """Say when a batch begins, and which jobs fail; one after the other for one reason, the first."""
        if isinstance(event, Started):
            batch = (event.key.target, event.key.backend, event.key.variant, event.key.suite)
            if batch != self._batch:
                self._batch = batch
                self._say(f"{' '.join(batch)}  ({duration(sum(self._left_s.values()))} left)")
        elif isinstance(event, JobResult):
            self._left_s.pop(event.key, None)
            told = (event.key.target, event.key.variant, event.key.suite, event.reason)
            if event.status is Status.ERROR and told != self._told:
                reason = "; ".join(event.reason.splitlines()[:2])
                self._say(f"ERROR {' '.join(map(str, event.key))}: {reason}")
            self._told = told

    def end(self) -> None:
        """Nothing is left to say."""

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Quiet:
    """Says nothing."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def begin(self, plan: Plan, seconds: Mapping[JobKey, float]) -> None:
        """Say nothing."""

    def event(self, event: Event) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""
