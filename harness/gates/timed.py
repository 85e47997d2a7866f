"""What a comparison side by side came to, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.verdict import State
from harness.stats.intervals import Interval
from harness.stats.side_by_side import Look


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison, as it was measured or as it was read back.

    Parameters
    ----------
    metric : str
    limit : float
        Largest allowed ratio new / base.
    base, new : str
        What the sides are called.
    look : Look, optional
        The last one; None where the machine was disturbed too often.
    processes : int
        A side.
    disturbed : tuple of str
        Why processes were set aside.
    """

    metric: str
    limit: float
    base: str
    new: str
    look: Look | None
    processes: int
    disturbed: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """The look's answer; INVALID without one."""
        return State.INVALID if self.look is None else self.look.state

    def sentence(self) -> str:
        """The verdict in words."""
        what = f"{self.metric} of {self.new} against {self.base}"
        aside = len(self.disturbed)
        if self.look is None:
            return (
                f"{what} is not to be believed: {aside} processes were disturbed, more than were not; "
                f"{self.disturbed[-1]}"
            )
        said = f"{what} is {ratio_text(self.look.ratio)}, limit {self.limit:g}x, "
        said += f"{self.processes} processes a side"
        said += f" ({aside} disturbed ones set aside)" * bool(aside)
        if self.state is State.INCONCLUSIVE:
            return f"{said}: undecided, {self.look.why}; more time may decide it: --decide-within"
        return said


def ratio_text(interval: Interval) -> str:
    """A ratio with its interval."""
    return f"{interval.value:.3f}x [{interval.low:.3f}x, {interval.high:.3f}x]"
