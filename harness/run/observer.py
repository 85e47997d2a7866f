"""Who is informed about the progress of a run."""

from __future__ import annotations

from typing import Protocol

from harness.core.job import Event
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

    def end(self) -> None:
        """Leave the screen as it should stay."""
