"""The numbers over which each result of a convolution or a product is a sum, and its weights so ordered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.compression.canonical import attribute


def windows(
    x: NDArray[Any], node: onnx.NodeProto, shape: Sequence[int], fill: float = 0
) -> list[NDArray[Any]] | None:
    """What the results of a node are sums over; None where that cannot be derived.

    Parameters
    ----------
    x : ndarray, shape (n, channels, rows, columns) or (…, k)
        Input of the node.
    shape : sequence of int
        Of its weights: filters and k, or filters, channels of a group, and the kernel.
    fill : float
        What the padding counts as.

    Returns
    -------
    list of ndarray, shape (results, k)
        One a group of filters; the channels are last, as kernels add them.
    """
    if len(shape) == 2:
        return [x.reshape(-1, shape[1])] if x.size % shape[1] == 0 else None
    groups: int = attribute(node, "group", 1)
    if x.ndim != 4 or len(shape) != 4 or x.shape[1] != groups * shape[1]:
        return None
    pads: Sequence[int] = attribute(node, "pads", [0] * 4)
    strides: Sequence[int] = attribute(node, "strides", [1, 1])
    dilations: Sequence[int] = attribute(node, "dilations", [1, 1])
    widths = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(x, widths, constant_values=fill)
    reach = [dilation * (extent - 1) + 1 for dilation, extent in zip(dilations, shape[2:], strict=True)]
    if any(size < needed for size, needed in zip(padded.shape[2:], reach, strict=True)):
        return None
    views = np.lib.stride_tricks.sliding_window_view(padded, tuple(reach), axis=(2, 3))
    views = views[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    size = int(np.prod(shape[1:]))
    return [part.transpose(0, 2, 3, 4, 5, 1).reshape(-1, size) for part in np.split(views, groups, axis=1)]


def filters(weights: NDArray[Any], groups: int) -> list[NDArray[Any]]:
    """Weights of each group, shape (filters, k), in the order of `windows`."""
    if weights.ndim == 4:
        weights = weights.transpose(0, 2, 3, 1)
    return np.split(weights.reshape(len(weights), -1), groups)


def by_filter(results: NDArray[Any], *, is_image: bool) -> NDArray[Any]:
    """Results of a node in the order of `windows`, shape (results, filters)."""
    moved = np.moveaxis(results, 1, -1) if is_image else results
    return moved.reshape(-1, moved.shape[-1])
