"""Why a row has no valid value, as a type: decisions never depend on the wording of a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a row is INVALID, SKIPPED or ERROR; the row's ``reason`` gives the details in words.

    The values are stored in journals. ``UNSPECIFIED`` is the cause of rows that were stored before causes
    existed, and of plug-ins that give none.
    """

    UNSPECIFIED = ""
    EMULATED_CLOCK = "emulated clock"
    EMULATED_MEMORY = "emulated memory"
    TOO_FEW_SAMPLES = "too few samples"
    COARSE_CLOCK = "coarse clock"
    OVERLOAD = "overload"
    THROTTLING = "throttling"
    CPU_STEAL = "CPU steal"
    OTHER_INPUTS = "other inputs"
    MISSING_DATA = "missing data"
    MISSING_ABILITY = "missing ability"
    MISSING_FORMAT = "missing format"
    RECIPE_REFUSED = "recipe refused"
    RUNTIME_UNAVAILABLE = "runtime unavailable"
    RUNTIME_REFUSED = "runtime refused"
    WORKER_FAILED = "worker failed"
    UNEXPECTED = "unexpected exception"

    @property
    def is_of_emulation(self) -> bool:
        """Whether an emulated target can never measure the metric: known before the run, no fault of it."""
        return self in (Cause.EMULATED_CLOCK, Cause.EMULATED_MEMORY)

    @classmethod
    def read(cls, text: object) -> Cause:
        """Read a stored cause; one of a newer version, or none, is ``UNSPECIFIED``."""
        return next((cause for cause in cls if cause.value == text), cls.UNSPECIFIED)


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause and its details in words."""

    cause: Cause
    text: str

    def __str__(self) -> str:
        return self.text


def join(reasons: Iterable[Reason]) -> Reason | None:
    """One reason of several: the first cause, all texts; None of none."""
    reasons = tuple(reasons)
    if not reasons:
        return None
    return Reason(reasons[0].cause, "; ".join(reason.text for reason in reasons))
