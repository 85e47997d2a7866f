"""Who is informed about the progress of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from harness.core.job import Event, JobKey
from harness.run.estimate import Remaining


class Observer(Protocol):
    """Receives the progress of a run."""

    def stage(self, text: str) -> None:
        """Show what is being prepared."""

    def note(self, text: str) -> None:
        """Show a message that stays on the screen."""

    def begin(self, remaining: Remaining) -> None:
        """Receive the jobs to measure and their estimated durations, which are updated as jobs end."""

    def event(self, event: Event) -> None:
        """Receive an event of an executor."""

    def trends(self, key: JobKey, lines: Callable[[], Sequence[str]]) -> None:
        """Receive that a long job has sent a part; `lines` says in a line a metric what it shows so far."""

    def end(self) -> None:
        """Leave the screen as it should stay."""
