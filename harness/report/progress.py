"""Progress of a run on a terminal or in a log: what runs, how far it is, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from harness.core.job import Event, JobKey, JobResult, Started, Status
from harness.run.estimate import Remaining

#: In a log, trends are printed at most so often.
TRENDS_EVERY_S = 15.0


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} m {int(seconds % 60):02d} s"


class _Left(ProgressColumn):
    """The time left; between two events it runs down, as far as the running job is expected to take."""

    def render(self, task: Task) -> Text:
        """Say it, once something runs."""
        if "since_s" not in task.fields:
            return Text()
        job_s = task.fields["job_s"] - (task.get_time() - task.fields["since_s"])
        return Text(f"{duration(task.fields['rest_s'] + max(0.0, job_s))} left")


class _WithLines(Progress):
    """A bar with lines below it."""

    lines: tuple[str, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the lines."""
        yield from super().get_renderables()
        yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in self.lines)


class Live:
    """A bar on a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._progress = _WithLines(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Left(),
            console=console,
            transient=True,
            get_time=clock,
        )
        self._task: TaskID = self._progress.add_task("", total=None)
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

    def note(self, text: str) -> None:
        """Say something that stays."""
        self._progress.console.print(text, soft_wrap=True, highlight=False)

    def begin(self, remaining: Remaining) -> None:
        """Take in what will be measured."""
        self._remaining = remaining

    def event(self, event: Event) -> None:
        """Show what runs, and count what is done."""
        if isinstance(event, Started):
            key, left_s = event.key, self._remaining.left_s()
            self._progress.lines = ()
            where = f"{key.target} {key.variant} {key.suite} {key.case}"
            job_s = min(left_s, self._remaining.seconds().get(key, 0.0))
            rest_s = left_s - job_s
            self._progress.update(
                self._task, description=f"{where:<46}", total=self._done_s + rest_s + job_s,
                job_s=job_s, rest_s=rest_s, since_s=self._clock(),
            )  # fmt: skip
        elif isinstance(event, JobResult):
            self._remaining.end(event)
            self._done_s += event.duration_ns / 1e9
            self._progress.update(self._task, completed=self._done_s)

    def trends(self, key: JobKey, lines: Callable[[], Sequence[str]]) -> None:
        """Show the trends of a long job below the bar."""
        self._progress.lines = tuple(f"  {line}" for line in lines())

    def end(self) -> None:
        """Nothing stays."""


class Plain:
    """One line a batch, for logs and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._trends_s: dict[JobKey, float] = {}
        self._batches: set[tuple[str, ...]] = set()
        self._last_result: tuple[object, ...] = ()

    def stage(self, text: str) -> None:
        """Preparation is short; nothing is said."""

    def note(self, text: str) -> None:
        """Say something that stays."""
        self._say(text)

    def begin(self, remaining: Remaining) -> None:
        """Say how much there is to do."""
        self._remaining = remaining
        self._say(f"{len(remaining.seconds())} jobs, about {duration(remaining.left_s())}")

    def event(self, event: Event) -> None:
        """Print the start of each batch, and failed jobs; of several in a row with one reason, the first."""
        if isinstance(event, Started):
            batch = (event.key.target, event.key.backend, event.key.variant, event.key.suite)
            if batch not in self._batches:  # parallel batches alternate
                self._batches.add(batch)
                self._say(f"{' '.join(batch)}  ({duration(self._remaining.left_s())} left)")
        elif isinstance(event, JobResult):
            self._remaining.end(event)
            result = (event.key.target, event.key.variant, event.key.suite, event.reason)
            if event.status is Status.ERROR and result != self._last_result:
                reason = "; ".join(event.reason.splitlines()[:2])
                self._say(f"ERROR {' '.join(map(str, event.key))}: {reason}")
            self._last_result = result

    def trends(self, key: JobKey, lines: Callable[[], Sequence[str]]) -> None:
        """Print the trends of a long job, at most every `TRENDS_EVERY_S`."""
        now_s = self._clock()
        if now_s - self._trends_s.setdefault(key, now_s) >= TRENDS_EVERY_S:
            self._trends_s[key] = now_s
            self._say("\n".join([f"{key.target} {key.variant} {key.case}", *(f"  {x}" for x in lines())]))

    def end(self) -> None:
        """Nothing is left to say."""

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Quiet:
    """Says nothing."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def begin(self, remaining: Remaining) -> None:
        """Say nothing."""

    def event(self, event: Event) -> None:
        """Say nothing."""

    def trends(self, key: JobKey, lines: Callable[[], Sequence[str]]) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""
