"""The layout of a tensor in the TFLite file compared with its ONNX shape.

Convolutions and pools have channels last in TFLite and first in ONNX. A value keeps the layout of the
operator that computed it, and is transposed only for an operator that needs another one; a simple CNN needs
no transposes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from harness.compression.export.parts import Array, Shape


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of the axes in the file.

    Parameters
    ----------
    axes : tuple of int
        The file's axis i is the ONNX axis ``axes[i]``.
    features : tuple of int
        If not empty: the last ONNX axis is a flattened (channels, height, width) of these extents, which is
        (height, width, channels) in the file because the image was channels last.
    """

    axes: tuple[int, ...]
    features: tuple[int, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the file has the order of ONNX."""
        return self.axes == tuple(range(len(self.axes))) and not self.features

    @property
    def feature_order(self) -> Array:
        """The ONNX positions along the last axis in the order of the file."""
        positions = np.arange(prod(self.features)).reshape(self.features)
        return np.moveaxis(positions, 0, -1).reshape(-1)

    def shape(self, shape: Shape) -> Shape:
        """Return the shape in the file of an ONNX shape."""
        return tuple(shape[axis] for axis in self.axes)

    def arrange(self, data: Array) -> Array:
        """Convert an ONNX constant, of this rank or a lower one that broadcasts, to the order of the file."""
        full = data.reshape((1,) * (len(self.axes) - data.ndim) + data.shape).transpose(self.axes)
        if self.features and full.shape[-1] > 1:
            full = full[..., self.feature_order]
        return np.ascontiguousarray(full)

    def without(self, axes: Collection[int]) -> Layout:
        """Return the layout without some axes (not negative)."""
        remaining = [axis for axis in self.axes if axis not in axes]
        return Layout(tuple(sorted(remaining).index(axis) for axis in remaining))

    def position(self, axis: int) -> int:
        """Return the position of an ONNX axis in the file."""
        return self.axes.index(axis % len(self.axes))


def plain(rank: int) -> Layout:
    """Return the order of ONNX."""
    return Layout(tuple(range(rank)))


def channels_last(rank: int) -> Layout:
    """Return the order of TFLite's convolutions: batch, space, channels."""
    return Layout((0, *range(2, rank), 1))


def moves_only_ones(shape: Shape, axes: tuple[int, ...]) -> bool:
    """Whether a transpose only moves axes of extent 1, so that the memory does not change."""
    moved = [axis for axis in axes if shape[axis] != 1]
    return moved == sorted(moved)


def static(shape: Shape) -> list[int]:
    """Return a shape with 1 for dynamic extents, which TFLite needs beside the signature."""
    return [1 if extent is None else extent for extent in shape]


def signature(shape: Shape) -> list[int]:
    """Return a shape with −1 for dynamic extents."""
    return [-1 if extent is None else extent for extent in shape]


def as_vector(values: list[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return shapes, axes or paddings as an int32 vector."""
    return np.asarray(values, np.int32)
