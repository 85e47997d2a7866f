"""Events in streams of frames, such as wake words: what a board needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.settings import duration_s, option, whole
from harness.core.task import Block, Reading, scored
from suites.accuracy.tasks.classification.task import Classification


@dataclass(frozen=True, slots=True)
class Options:
    """The table ``[task]``.

    Parameters
    ----------
    hop_s : float
        Time from one frame to the next.
    hold : int
        Frames of one class that are so many frames apart, or fewer, are one event.
    tolerance : int
        Frames by which a detection may end before the labelled event, or begin after it.
    """

    hop_s: float = option(1.0, duration_s)
    hold: int = option(0, whole(0))
    tolerance: int = option(0, whole(0))


class Events(Classification):
    """A sample is a frame; its answer is a class, int64, of which 0 is nothing.

    Frames of one value of ``[data] sequence`` are a stream.
    """

    name = "events"
    has_classes = False  # of frames, which are not what the model is judged by
    Options = Options
    score_name = "mean accuracy of the classes of frames"
    chance_name = "one class for all frames has"

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        """Return ``frames``, the class of each frame: int64, shape (n,)."""
        frames: NDArray[np.int64] = self.read(reading, scored(reading, block.outputs))
        return {"frames": frames}
