"""Options table and versions of each TFLite operator.

The versions are those of TensorFlow's ``lite/tools/versioning/op_version.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Runtime = Literal["litert", "tflite-2.14"]
RUNTIMES: tuple[Runtime, ...] = ("litert", "tflite-2.14")

OPTIONS: Mapping[str, str] = MappingProxyType({
    "ADD": "AddOptions", "ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions", "BATCH_MATMUL": "BatchMatMulOptions", "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions", "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DEQUANTIZE": "DequantizeOptions", "DIV": "DivOptions", "EXP": "ExpOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "GATHER": "GatherOptions", "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions", "LEAKY_RELU": "LeakyReluOptions", "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions", "MEAN": "ReducerOptions", "MINIMUM": "MaximumMinimumOptions",
    "MIRROR_PAD": "MirrorPadOptions", "MUL": "MulOptions", "NEG": "NegOptions", "PACK": "PackOptions",
    "PAD": "PadOptions", "PADV2": "PadV2Options", "POW": "PowOptions", "QUANTIZE": "QuantizeOptions",
    "REDUCE_MAX": "ReducerOptions", "REDUCE_MIN": "ReducerOptions", "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SHAPE": "ShapeOptions", "SOFTMAX": "SoftmaxOptions", "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT_V": "SplitVOptions", "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "STRIDED_SLICE": "StridedSliceOptions", "SUB": "SubOptions", "SUM": "ReducerOptions",
    "TRANSPOSE": "TransposeOptions", "TRANSPOSE_CONV": "TransposeConvOptions", "UNPACK": "UnpackOptions",
})  # fmt: skip

# The first version with int8, if it is not 2.
_INT8: Mapping[str, int] = MappingProxyType({
    "CAST": 3, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "HARD_SWISH": 1, "LEAKY_RELU": 1,
    "PRELU": 1, "QUANTIZE": 1, "RELU_N1_TO_1": 1, "RESHAPE": 1, "SHAPE": 1, "TRANSPOSE_CONV": 3,
})  # fmt: skip
# The first version with more than four axes.
_FIVE_AXES: Mapping[str, int] = MappingProxyType({
    "DIV": 2, "MAXIMUM": 3, "MINIMUM": 3, "PAD": 4, "PADV2": 4, "STRIDED_SLICE": 4, "SUB": 3,
    "TRANSPOSE": 4,
})  # fmt: skip
_FLOAT: Mapping[str, int] = MappingProxyType({"TRANSPOSE_CONV": 3})  # from 3 on it has a bias

# Newest versions of a runtime that are older than those written here, from its resolver.
_NEWEST: Mapping[Runtime, Mapping[str, int]] = MappingProxyType(
    {"litert": {}, "tflite-2.14": {"FULLY_CONNECTED": 10}}
)


def version(kind: str, *, integer: bool, rank: int) -> int:
    """Return the operator version for int8 (``integer``) or float tensors of a rank."""
    number = _INT8.get(kind, 2) if integer else _FLOAT.get(kind, 1)
    return max(number, _FIVE_AXES.get(kind, 1)) if rank > 4 else number


def supports(runtime: Runtime, kind: str, number: int) -> bool:
    """Whether a runtime supports a version of an operator."""
    return number <= _NEWEST[runtime].get(kind, number)
