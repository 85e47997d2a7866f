"""Which group or time window each sample belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Case of one group: the case of all samples, the column, the group.
CASE = "{case}/{column}={name}"


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups that one column of the data divides the samples into.

    Parameters
    ----------
    column : str
        Name of the column.
    names : tuple of str
        Of the groups; of windows, their first and last time, in time order.
    index : ndarray, shape (n,), int64
        Position in `names` of each sample's group, in the run's sample order.
    is_time : bool
        The groups are windows of time.
    """

    column: str
    names: tuple[str, ...]
    index: NDArray[np.int64]
    is_time: bool = False

    @property
    def kind(self) -> str:
        """``group`` or ``window``."""
        return "window" if self.is_time else "group"

    def take(self, positions: NDArray[np.int64]) -> Groups:
        """Return the groups of the samples at `positions`, in that order."""
        return replace(self, index=self.index[positions])

    def case(self, case: str, group: int) -> str:
        """Name of the case of one group."""
        return CASE.format(case=case, column=self.column, name=self.names[group])

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "column": self.column, "names": list(self.names), "index": self.index.tolist(),
            "is_time": self.is_time,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Groups:
        """Read what ``to_json`` wrote."""
        index = np.asarray(value["index"], np.int64)
        return cls(value["column"], tuple(value["names"]), index, value["is_time"])
