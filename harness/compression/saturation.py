"""Which int8 weights overflow 16 bits on some CPU, and the smallest scale that prevents it.

On x86 without VNNI (AVX2), kernels multiply unsigned activations with signed weights and add two products in
16 saturating bits (``vpmaddubsw``). Any activation can be 255, because values beyond the calibrated range are
clamped to it. Signed activations are shifted by 128 first and use the same instruction. So a filter is safe
if no two of its weights sum to more than 128: 255 · 128 < 2^15. Which two are added depends on how a kernel
packs them, so every pair is considered. A depthwise convolution has no such sum: ONNX Runtime and OpenVINO
multiply it in 32 bits.

On ARM without dotprod (Cortex-A53, A72), kernels add two s8×s8 products in 16 wrapping bits. Only
-128 · -128 twice overflows there, and symmetric weights end at -127.
"""

from __future__ import annotations

import numpy as np
import onnx

from harness.compression.canonical import Array, attribute

LARGEST = 127
_MOST_PAIR = 128


def sums_in_16_bits(node: onnx.NodeProto, weights: Array) -> bool:
    """Whether kernels add products of this operator in pairs: true except for depthwise convolutions."""
    group = attribute(node, "group", 1)
    return not (node.op_type == "Conv" and group > 1 and weights.shape[:2] == (group, 1))


def largest_pairs(weights: Array, axis: int) -> Array:
    """Return the largest magnitude of the sum of two weights of each filter.

    Parameters
    ----------
    weights : ndarray
        Integers or reals.
    axis : int
        Axis of the filters.

    Returns
    -------
    ndarray, shape (filters,), float64
        At least the largest single magnitude: kernels pad filters with zeros.
    """
    filters = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    filters = np.pad(filters, ((0, 0), (0, 2)))
    highest = np.partition(filters, -2, axis=1)[:, -2:].sum(axis=1)
    lowest = np.partition(filters, 1, axis=1)[:, :2].sum(axis=1)
    return np.asarray(np.maximum(highest, -lowest))


def overflowing(integers: Array, axis: int) -> Array:
    """Return whether each filter can overflow 16 bits, shape (filters,), bool."""
    return largest_pairs(integers, axis) > _MOST_PAIR


def portable_bounds(weights: Array, axis: int, bounds: Array) -> Array:
    """Widen the range of the filters that overflow.

    Parameters
    ----------
    weights : ndarray, float32
    axis : int
        Axis of the filters.
    bounds : ndarray, shape (filters,)
        The real value that 127 represents.

    Returns
    -------
    ndarray, shape (filters,)
        If 127 represents the sum of the largest pair, two rounded weights sum to at most 128.
    """
    shape = [-1 if position == axis else 1 for position in range(weights.ndim)]
    integers = np.rint(weights * (LARGEST / bounds.astype(np.float64)).reshape(shape))
    widened = np.maximum(bounds, largest_pairs(weights, axis))
    return np.where(overflowing(integers, axis), widened, bounds)
