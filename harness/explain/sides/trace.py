"""What a file returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.explain.sides.steps import as_real


class Tensors(Mapping[str, NDArray[Any]]):
    """Tensors by name; a file is mapped into memory while its tensor is used.

    Parameters
    ----------
    stored : mapping of name to ndarray or Path
    """

    def __init__(self, stored: Mapping[str, NDArray[Any] | Path]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[Any]:
        tensor = self._stored[name]
        if not isinstance(tensor, Path):
            return tensor
        mapped: NDArray[Any] = np.load(tensor, mmap_mode="r", allow_pickle=False)
        return mapped

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a file returned.

    Parameters
    ----------
    tensors : mapping of name to ndarray, shape (calls, …)
        As the runtime returned them; what was fed under the names of the inputs, too, where rows were samples
        and the file does not return its inputs.
    steps : mapping of name to Quantization
        Of integers that stand for real numbers, where the runtime tells.
    outputs : tuple of str
        Names in the order of the file.
    effective : mapping
        Of the session.
    placement : mapping of provider to int
        Number of nodes, where it was asked for and the session tells it.
    axes : mapping of output name to axes
        In which the file has an output of the canonical model.
    """

    tensors: Mapping[str, NDArray[Any]]
    steps: Mapping[str, Quantization] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    effective: Mapping[str, str] = field(default_factory=dict)
    placement: Mapping[str, int] = field(default_factory=dict)
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def answer(self, name: str) -> NDArray[np.float64]:
        """Real numbers of an output, arranged as the canonical model has it."""
        real = self.real(name)
        axes = self.axes.get(name)
        return real if axes is None else real.transpose(0, *(1 + place for place in np.argsort(axes)))

    def axis_in_file(self, name: str, axis: int) -> int:
        """The axis of what the file returns that is an axis of `answer`."""
        axes = self.axes.get(name)
        return axis if axes is None or axis == 0 else 1 + int(np.argsort(axes)[axis - 1])

    def real(self, name: str, step: Quantization | None = None) -> NDArray[np.float64]:
        """Real numbers of a tensor."""
        return as_real(self.tensors[name], step or self.steps.get(name))
