"""The slices of a soak as columns, over all of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.job import Samples

Values = NDArray[np.float64]
HOUR_NS = 3600e9


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of a soak over all of its processes, in order of time.

    Attributes
    ----------
    samples : Samples
    columns : mapping of name to ndarray, shape (n,)
    """

    samples: Samples
    columns: Mapping[str, Values]

    @classmethod
    def read(cls, samples: Samples) -> Slices:
        """Name the columns."""
        table, names = samples.arrays["slices"], samples.values["columns"]
        return cls(samples, {str(name): table[:, index] for index, name in enumerate(names)})

    def __len__(self) -> int:
        return len(self.columns["calls"])

    def __getitem__(self, name: str) -> Values:
        return self.columns[name]

    @property
    def hours(self) -> Values:
        """Of the soak at the middle of each slice: gaps between two processes do not count."""
        elapsed = self["elapsed_ns"]
        hours: Values = (np.cumsum(elapsed) - elapsed / 2) / HOUR_NS
        return hours

    @property
    def processes(self) -> list[NDArray[np.intp]]:
        """Positions of the slices of each process."""
        return [np.flatnonzero(self["process"] == one) for one in dict.fromkeys(self["process"].tolist())]

    @property
    def gaps_s(self) -> list[float]:
        """Time that passed between two processes, by the wall clock."""
        ends = self["began_ns"] + self["elapsed_ns"]
        starts = [int(part[0]) for part in self.processes[1:]]
        return [float(max(0.0, self["began_ns"][at] - ends[at - 1])) / 1e9 for at in starts]

    def by_process(self, x: Values, y: Values) -> list[tuple[Values, Values]]:
        """Series of each process."""
        return [(x[part], y[part]) for part in self.processes]

    def longest(self) -> NDArray[np.intp]:
        """Positions of the slices of the process that made most calls."""
        return max(self.processes, key=lambda part: float(self["calls"][part].sum()))

    def na(self, name: str) -> str:
        """Why a sensor says nothing at the end; empty where it does."""
        return str(self.samples.values.get("na", {}).get(name, ""))
