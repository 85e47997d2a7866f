"""Which int8 weights overflow in 16 bits on some CPU, and the least widening of their scale that prevents it.

On x86 without VNNI (AVX2) kernels multiply unsigned activations with signed weights and add two such products
in 16 saturating bits (``vpmaddubsw``). Any activation can be 255, whatever was calibrated: what lies beyond
the range is clamped to it. Signed activations are shifted by 128 first and meet the same instruction. So a
filter is safe where no two of its weights sum to more than 128: 255 · 128 < 2^15. Which two meet depends on
how a kernel packs them, so every two are taken to. A depthwise convolution has no such sum: ONNX Runtime and
OpenVINO multiply it in 32 bits.

On ARM without dotprod (Cortex-A53, A72) kernels add two s8×s8 products in 16 wrapping bits, which only
-128 · -128 twice overflows. Symmetric weights stop at -127.
"""

from __future__ import annotations

import numpy as np
import onnx

from harness.compression.canonical import Array, attribute

LARGEST = 127
_MOST_PAIR = 128


def sums_in_16_bits(node: onnx.NodeProto, weights: Array) -> bool:
    """Whether kernels add products of this operator in pairs: all but depthwise convolutions."""
    group = attribute(node, "group", 1)
    return not (node.op_type == "Conv" and group > 1 and weights.shape[:2] == (group, 1))


def largest_pairs(weights: Array, axis: int) -> Array:
    """Return the largest sum in magnitude of two weights of a filter, for each filter.

    Parameters
    ----------
    weights : ndarray
        Integers or reals.
    axis : int
        Of the filters.

    Returns
    -------
    ndarray, shape (filters,), float64
        At least the largest single magnitude: a filter can be filled up with zeros.
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
    """Widen the range of those filters that overflow.

    Parameters
    ----------
    weights : ndarray, float32
    axis : int
        Of the filters.
    bounds : ndarray, shape (filters,)
        The real value that 127 stands for.

    Returns
    -------
    ndarray, shape (filters,)
        With 127 for the largest pair, two rounded weights sum to at most 128.
    """
    shape = [-1 if position == axis else 1 for position in range(weights.ndim)]
    integers = np.rint(weights * (LARGEST / bounds.astype(np.float64)).reshape(shape))
    widened = np.maximum(bounds, largest_pairs(weights, axis))
    return np.where(overflowing(integers, axis), widened, bounds)
