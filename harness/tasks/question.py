"""What ``harness init`` asks a task, and how the task answers: ways to read the outputs of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from numpy.typing import NDArray

from harness.core.task import Reading


class Rank(IntEnum):
    """How likely a reading is meant before it is scored; of one rank the tasks stand by name."""

    #: Labels and outputs allow no other task.
    CERTAIN = 0
    LIKELY = 1
    #: Tried where the likely ones are no better than chance.
    POSSIBLE = 2
    #: Only where nothing else fits.
    LAST = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to read the outputs, and how likely it is meant."""

    reading: Reading
    rank: Rank = Rank.LIKELY


@dataclass(frozen=True, slots=True)
class Question:
    """What is known of a model and its data.

    Parameters
    ----------
    outputs : mapping of output name to ndarray, shape (n, …)
        Of some samples, in the model's order; only the one that the user named, where he named one.
    labels : ndarray, shape (N, …), optional
        Of all samples, as they were read; None where there are none.
    names : tuple of str
        Of the classes; empty where labels are numbers.
    asked : bool
        The user named this task: what does not fit is refused, and not left to other tasks.
    threshold : float, optional
        As the user gave it.
    where : str
        Source of the labels, for messages.
    tried : tuple of mapping of output name to ndarray, shape (n, …)
        Outputs for the same samples with each preprocessing that was tried, those of `outputs` first.
    sampled : ndarray, shape (n, …), optional
        Labels of these samples, as they were read.
    size : tuple of int, optional
        Height and width of the model's input in pixels; None where it takes no images.
    inputs : mapping of input name to ndarray, shape (n, …)
        These samples, raw.
    hop_s : float, optional
        Time from a sample to the next one, where samples are windows of streams with events.
    """

    outputs: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None
    names: tuple[str, ...] = ()
    asked: bool = False
    threshold: float | None = None
    where: str = ""
    tried: tuple[Mapping[str, NDArray[Any]], ...] = ()
    sampled: NDArray[Any] | None = None
    size: tuple[int, int] | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    hop_s: float | None = None

    @property
    def targets(self) -> int:
        """Values a sample of the labels; 0 without labels."""
        return 0 if self.labels is None else math.prod(self.labels.shape[1:])

    @property
    def listed(self) -> str:
        """The outputs with their shapes, for messages."""
        return ", ".join(f"{name} {list(y.shape[1:])} {y.dtype}" for name, y in self.outputs.items())
