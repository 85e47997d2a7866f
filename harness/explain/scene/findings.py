"""What the test of one hypothesis comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.explain.sides.side import Side

#: The layer of a cause that lies before the model.
INPUT, OUTPUT = "the input", "the output"


class State(StrEnum):
    """What a test came to."""

    CONFIRMED = "confirmed"
    PARTLY = "partly"
    REFUTED = "refuted"
    EXPECTED = "as expected"
    UNTESTED = "not testable here"


def percent_left(share: float, digits: int = 1) -> str:
    """What of a difference is left where a share of it is gone, in percent."""
    return f"{max(0.0, 1 - share):.{digits}%}"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What takes the difference away.

    Parameters
    ----------
    text : str
        What was changed, and run; what to do, where it was not run.
    line : str
        What to write, and where.
    side : str
        Label of the side that is changed.
    was_run : bool
    """

    text: str
    line: str
    side: str
    was_run: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What one hypothesis came to.

    Parameters
    ----------
    hypothesis : str
    state : State
    evidence : str
        What was seen; why it cannot be tested here.
    share : float
        Of the difference that it explains.
    cause : str
        One line, where it is confirmed.
    layer : str
        The first that it concerns; empty where it concerns the whole file.
    remedy : Remedy, optional
    after : tuple of Side, optional
        The reference and the other without this cause, where a second one is looked for.
    side : str
        Label of the side that is wrong, where that is the reference.
    may_leave : float
        Share of the difference that may be left where the cause was imitated: the imitation rounds otherwise.
    """

    hypothesis: str
    state: State
    evidence: str
    share: float = 0.0
    cause: str = ""
    layer: str = ""
    remedy: Remedy | None = None
    after: tuple[Side, Side] | None = None
    side: str = ""
    may_leave: float = 0.0
