"""What a side-by-side timing came to, as text. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.verdict import State
from harness.stats.intervals import Interval
from harness.stats.side_by_side import Look


@dataclass(frozen=True, slots=True)
class TimingSummary:
    """One side-by-side timing, just measured or read back.

    Parameters
    ----------
    metric : str
    limit : float
        Largest allowed ratio new / base.
    base, new : str
        Names of the sides.
    look : Look, optional
        The last one; None where more processes were disturbed than not.
    processes : int
        Per side.
    disturbances : tuple of str
        Why processes were discarded and repeated.
    """

    metric: str
    limit: float
    base: str
    new: str
    look: Look | None
    processes: int
    disturbances: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """State of the last look; INVALID without one."""
        return State.INVALID if self.look is None else self.look.state

    def sentence(self) -> str:
        """The verdict in one sentence."""
        what = f"{self.metric} of {self.new} against {self.base}"
        count = len(self.disturbances)
        if self.look is None:
            return (
                f"{what} is invalid: {count} processes were disturbed, more than were not; "
                f"{self.disturbances[-1]}"
            )
        text = f"{what} is {ratio_text(self.look.ratio)}, limit {self.limit:g}x, "
        text += f"{self.processes} processes a side"
        if count:
            text += f" ({count} disturbed ones repeated)"
        if self.state is State.INCONCLUSIVE:
            return f"{text}: undecided, {self.look.why}; more time may decide it: --decide-within"
        return text


def ratio_text(interval: Interval) -> str:
    """A ratio with its interval."""
    return f"{interval.value:.3f}x [{interval.low:.3f}x, {interval.high:.3f}x]"
