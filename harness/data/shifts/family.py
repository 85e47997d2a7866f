"""What a family of shifts is, for ours and for those of plug-ins (``harness.shifts``).

A family changes samples in up to five severities. Each sample has its own random stream, so that a subset of
a set, or the set in another order, gets the same values (docs/adding-a-shift.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.preprocess import Preprocess

Values = npt.NDArray[np.float64]
Streams = Iterator[np.random.Generator]

SEVERITIES = (1, 2, 3, 4, 5)


class Kind(StrEnum):
    """A kind of data that families apply to."""

    #: uint8 pixels, (h, w, c).
    IMAGE = "image"
    #: One or more channels over time, (time, …, channels) or (time,).
    SERIES = "series"
    #: A row of columns, (columns,).
    TABLE = "table"
    #: Samples of sound, (time,) or (time, channels).
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class About:
    """The input that a family is to change.

    Parameters
    ----------
    kind : Kind
    shape : tuple of int
        Of one raw sample.
    dtype : dtype
        Of the raw samples.
    mean, spread : ndarray, shape of the last axis, or () if there is one feature; float64, optional
        Mean and standard deviation of each feature over the calibration samples; None for images.
    step : Preprocess
        From raw samples to the model's input.
    rate_hz : float, optional
        Samples a second, where ``[shifts] rate_hz`` gives them.
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mean: Values | None = None
    spread: Values | None = None
    step: Preprocess = field(default_factory=Preprocess)
    rate_hz: float | None = None


Change = Callable[[Values, int, Streams, About], npt.NDArray[Any]]
ChangeOne = Callable[[Values, int, np.random.Generator, About], npt.NDArray[Any]]


def always(about: About) -> str:
    """No reason against any data."""
    return ""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of shift in the field.

    Parameters
    ----------
    name : str
        Lower case with underscores; the case of its rows.
    kinds : tuple of Kind
        The kinds of data that it changes.
    change : callable
        ``(x, severity, streams, about)`` to the changed samples: `x` is float64, (n, …), a copy that may be
        overwritten; `severity` is 1 to 5; `streams` has one generator for each sample. The result is rounded
        and clipped to the dtype of the raw samples. ``one_by_one`` makes it of a function of one sample.
    stands_for : str
        What it stands for in the field; a sentence.
    source : str
        Where it comes from: a paper, a standard, a data set.
    loss_means : str
        What a loss there usually means, and what helps.
    applies : callable
        `About` to the reason why it does not apply; empty where it does.
    missing : callable
        Why it cannot be made here (a library is not installed), with the command that installs it; empty
        where it can.
    mistake : bool
        A mistake of a deployment, not a shift: a negative control, which has to cost accuracy. It has the
        severity 1 only.
    dtype : str
        Of the changed samples; empty: that of the raw ones.
    slow : bool
        Made in processes, one on each core.
    version : callable
        Versions of the libraries that decide the values: with others, the set is made again.
    """

    name: str
    kinds: tuple[Kind, ...]
    change: Change
    stands_for: str
    source: str
    loss_means: str = ""
    applies: Callable[[About], str] = always
    missing: Callable[[], str] = str
    mistake: bool = False
    dtype: str = ""
    slow: bool = False
    version: Callable[[], str] = str

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities that it has."""
        return SEVERITIES[:1] if self.mistake else SEVERITIES

    def reason_against(self, about: About) -> str:
        """Why it is not made for this input; empty where it is."""
        if about.kind not in self.kinds:
            return f"{self.name} changes {' or '.join(self.kinds)} data, and these are {about.kind} data"
        reason = self.applies(about)
        return f"{self.name} does not apply: {reason}" if reason else self.missing()


def one_by_one(change: ChangeOne) -> Change:
    """Make the change of a family of a function ``(sample, severity, random, about)`` of one sample."""

    def of_all(x: Values, severity: int, streams: Streams, about: About) -> npt.NDArray[Any]:
        pairs = zip(x, streams, strict=True)
        return np.stack([np.asarray(change(sample, severity, random, about)) for sample, random in pairs])

    return of_all
