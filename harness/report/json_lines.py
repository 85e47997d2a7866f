"""Progress as one JSON object a line, for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from harness.core.job import Event, JobKey, JobResult, Started
from harness.run.estimate import Remaining


class JsonLines:
    """Writes ``stage``, ``note``, ``begin``, ``started`` and ``result``, each as it happens.

    Parameters
    ----------
    stream : TextIO
        Flushed after each line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, event: str, **values: Any) -> None:  # noqa: ANN401 - whatever fits JSON
        """Write one line."""
        print(json.dumps({"event": event, **values}), file=self._stream, flush=True)

    def stage(self, text: str) -> None:
        """Say what is being prepared."""
        self.say("stage", text=text)

    def note(self, text: str) -> None:
        """Say something that the reader should not miss."""
        self.say("note", text=text)

    def begin(self, remaining: Remaining) -> None:
        """Say how much there is to do."""
        self._remaining = remaining
        jobs = len(remaining.seconds())
        self.say("begin", jobs=jobs, seconds_left=round(remaining.left_s(), 3))

    def event(self, event: Event) -> None:
        """Report the start of a job, and its result."""
        if isinstance(event, Started):
            self.say("started", **_job(event.key))
        elif isinstance(event, JobResult):
            self._remaining.end(event)
            self.say(
                "result", **_job(event.key), status=event.status.value, reason=event.reason,
                duration_ns=event.duration_ns,
                seconds_left=round(self._remaining.left_s(), 3),
            )  # fmt: skip

    def trends(self, key: JobKey, lines: Callable[[], Sequence[str]]) -> None:
        """Report what a long job shows so far."""
        self.say("trends", **_job(key), lines=list(lines()))

    def end(self) -> None:
        """Nothing; the command prints the outcome."""


def _job(key: JobKey) -> dict[str, Any]:
    return key._asdict()
