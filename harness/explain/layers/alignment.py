"""Layers of two files with different names, matched by operator, size, values and position.

Of each tensor a few numbers are kept that do not depend on its layout, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from harness.explain.files.graph import Point
from harness.explain.files.model_file import ModelFile
from harness.explain.layers.pairs import Pair
from harness.explain.layers.tapped import chunks
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side

#: Of each sample so many quantiles are compared, of so many numbers at most.
QUANTILES, NUMBERS = 65, 2**18
#: Samples.
SAMPLES = 2
#: Tensors of another operator are the same value only if they differ by less, relative to their size.
ALIKE = 0.1
#: Values that differ by so much say nothing.
UNLIKE = 0.3
#: What values count for, and what position does, where the operator is the same.
OF_VALUES, OF_POSITION = 2.0, 0.5
#: Kinds of operators of TFLite files, and ONNX operators that are written as the same.
KINDS = {
    "CONV_2D": "conv", "DEPTHWISE_CONV_2D": "conv", "FULLY_CONNECTED": "gemm", "BATCH_MATMUL": "gemm",
    "MatMul": "gemm", "AVERAGE_POOL_2D": "mean", "MEAN": "mean", "AveragePool": "mean", "ReduceMean": "mean",
    "GlobalAveragePool": "mean", "MAX_POOL_2D": "maxpool", "CONCATENATION": "concat",
    "LOGISTIC": "sigmoid", "QUANTIZE": "quantizelinear", "DEQUANTIZE": "dequantizelinear",
    "TRANSPOSE_CONV": "convtranspose", "RESIZE_BILINEAR": "resize", "RESIZE_NEAREST_NEIGHBOR": "resize",
}  # fmt: skip
QUANTIZING = frozenset({"quantizelinear", "dequantizelinear"})


@dataclass(frozen=True, slots=True)
class _Value:
    """What is compared of a point: numbers of one call, and quantiles of each."""

    size: int
    quantiles: NDArray[np.float64]


def align(
    runner: Runner, reference: Side, other: Side, files: tuple[ModelFile, ModelFile], rows: Sequence[int]
) -> list[Pair]:
    """Pair the points of two files; the other's take the layers of the reference.

    Raises
    ------
    HarnessError
        A side refuses its file with more outputs.
    """
    values = [
        _values(runner, side, file, rows[:SAMPLES])
        for side, file in zip((reference, other), files, strict=True)
    ]
    points = [[point for point in file.points if point.name in some]
              for file, some in zip(files, values, strict=True)]  # fmt: skip
    worth = np.zeros((len(points[0]), len(points[1])))
    for i, one in enumerate(points[0]):
        for j, two in enumerate(points[1]):
            likeness = _likeness(one, two, values[0][one.name], values[1][two.name])
            if likeness:
                apart = abs(i / len(points[0]) - j / len(points[1]))
                worth[i, j] = likeness + OF_POSITION * (1 - apart)
    chosen = np.transpose(linear_sum_assignment(-worth)).tolist()
    pairs = {j: points[0][i] for i, j in chosen if worth[i, j] > 0}
    return [
        Pair(pairs[j], replace(point, layer=pairs[j].layer, operator=pairs[j].operator))
        for j, point in enumerate(points[1])
        if j in pairs
    ]


def _values(runner: Runner, side: Side, file: ModelFile, rows: Sequence[int]) -> dict[str, _Value]:
    plain = runner.samples(side, rows)
    shapes = {name: tensor.shape[1:] for name, tensor in plain.tensors.items()}
    steps = {point.name: point.step for point in file.points}
    values = {}
    for part in chunks(list(steps), file.sizes_byte(shapes), len(rows)):
        trace = runner.samples(runner.with_file(side, file.tapped(part), file.name), rows)
        for name in part:
            if name in trace.tensors:
                real = trace.real(name, steps[name]).reshape(len(rows), -1)
                some = np.nan_to_num(real[:, :: max(1, real.shape[1] // NUMBERS)])
                quantiles = np.quantile(some, np.linspace(0, 1, QUANTILES), axis=1)
                values[name] = _Value(real.shape[1], np.asarray(quantiles))
    return values


def _likeness(one: Point, two: Point, first: _Value, second: _Value) -> float:
    """How likely two points stand for the same value; 0 where they cannot."""
    if first.size != second.size:
        return 0.0
    size = float(np.linalg.norm(first.quantiles)) or 1.0
    apart = float(np.linalg.norm(first.quantiles - second.quantiles)) / size
    of_values = OF_VALUES * max(0.0, 1.0 - apart / UNLIKE)
    kinds = _kind(one), _kind(two)
    if kinds[0] != kinds[1]:
        if not QUANTIZING.isdisjoint(kinds):  # in one file it belongs to the layer before
            return 0.5 + of_values
        return of_values if apart <= ALIKE else 0.0
    return 1.0 + of_values


def _kind(point: Point) -> str:
    return KINDS.get(point.operator) or point.operator.replace("_", "").lower()
