"""What a run will measure, in order, and what it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.check import CheckPlace
from harness.core.job import Batch, JobResult

#: The target under whose name the reference runs; no target may be called so.
HOST = "host"
#: The suite of the rows about the artifacts themselves; it needs no measurement and is part of every run.
CARD = "compression"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run, in order, and what cannot.

    Parameters
    ----------
    batches : tuple of Batch
        The reference on the host first.
    skipped : tuple of JobResult
        One SKIPPED result for every case that cannot run, with its reason; one ERROR result for every suite
        that raised when it was asked for its cases, and for every suite of a variant that could not be built.
    unavailable : tuple of (target, backend, reason)
        Asked for, and cannot run here: its gates are NOT_RUN, unlike those of a variant that a runtime
        cannot hold.
    share : float
        Of all planned samples, those that fit the budget (1 without one).
    checks : tuple of CheckPlace
        The built-in checks that are judged, and where.
    stopped : str
        Why the jobs without a result were not measured, where the budget ended the run; else empty.
    """

    batches: tuple[Batch, ...]
    skipped: tuple[JobResult, ...] = ()
    unavailable: tuple[tuple[str, str, str], ...] = ()
    share: float = 1.0
    stopped: str = ""
    checks: tuple[CheckPlace, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that were asked for, in order."""
        names = [batch.target for batch in self.batches] + [result.key.target for result in self.skipped]
        return tuple(name for name in dict.fromkeys(names) if name != HOST)
