"""The weights with which a float layer computes, solved from what it is fed and what it gives.

A result is a sum of its inputs times its weights: with more results than weights these follow. The results of
the right side have to give the weights of the file back; else nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.compression.canonical import attribute
from harness.explain.files.graph import MOVING
from harness.explain.operators.alone import Alone
from harness.explain.operators.part import Part
from harness.explain.operators.windows import by_filter, filters, windows

Real = NDArray[np.float64]
#: So many results for each weight, and an offset, are used.
RESULTS = 4
#: The weights of the file come back but for so much of the largest.
EXACT = 0.01
#: Weights differ where they do by so many times the error of the right ones, or by this part of the largest.
ERRORS, MATERIAL = 10.0, 1e-3
#: Multiplications: of a large layer some filters are solved.
MOST_WORK = 2e9


@dataclass(frozen=True, slots=True)
class Solved:
    """What the weights of some filters are instead.

    Parameters
    ----------
    filters, zero : int
        Those with weights that could be solved, and those of them that are 0.
    weights, differing : int
        That could be solved, and those of them that differ.
    relative : float
        Root mean square of the difference, over that of the right weights.
    """

    filters: int
    zero: int
    weights: int
    differing: int
    relative: float

    @property
    def text(self) -> str:
        """In words."""
        if self.zero:
            return f"{self.zero} of {self.filters} filters are 0"
        return (
            f"{self.differing} of {self.weights} solved weights differ, by {self.relative:.1%} of their size"
        )


@dataclass(frozen=True, slots=True)
class _Problem:
    """What the results of a layer are sums over.

    Parameters
    ----------
    parts : list of ndarray, shape (results, k)
        One a group of filters.
    weights : list of ndarray, shape (filters, k)
        Of the file, one a group.
    is_image : bool
        The results have rows and columns.
    low, high : float
        Bounds of an activation behind.
    """

    parts: list[Real]
    weights: list[Real]
    is_image: bool
    low: float
    high: float

    def results(self, tensor: Real) -> Real | None:
        """Results of all calls, shape (results, filters); None where they are others."""
        calls = tensor.reshape(-1, *tensor.shape[2:]) if self.is_image else tensor
        results = by_filter(calls, is_image=self.is_image)
        return results if results.shape == (len(self.parts[0]), sum(map(len, self.weights))) else None

    def solve(self, rows: Real, results: Real) -> Real | None:
        """Weights of one filter by least squares; None where too few results lie within the bounds."""
        places = np.flatnonzero((results > self.low) & (results < self.high))
        needed = RESULTS * (rows.shape[1] + 1)
        if len(places) < needed // 2:
            return None
        places = places[:: max(1, len(places) // needed)]
        wide = np.column_stack([rows[places], np.ones(len(places))])
        return np.asarray(np.linalg.lstsq(wide, results[places], rcond=None)[0][:-1], np.float64)


def solve(layer: Alone, *, is_reference_wrong: bool) -> Solved | None:
    """Solve the weights of the wrong side; None where the layer is another one, or has too few results."""
    problem = _problem(Part(layer.part, layer.name, {}), layer)
    if problem is None:
        return None
    sides = (layer.second, layer.first) if is_reference_wrong else (layer.first, layer.second)
    right, wrong = (problem.results(side) for side in sides)
    if right is None or wrong is None:
        return None
    solved, first = list[_Filter](), 0
    for rows, weights in zip(problem.parts, problem.weights, strict=True):
        most = max(1, int(MOST_WORK / (len(problem.parts) * RESULTS * rows.shape[1] ** 3)))
        for place in range(0, len(weights), -(-len(weights) // most)):
            results = right[:, first + place], wrong[:, first + place]
            if (one := _filter(problem, rows, weights[place], *results)) is not None:
                solved.append(one)
        first += len(weights)
    return _summary(solved) if solved else None


@dataclass(frozen=True, slots=True)
class _Filter:
    """Weights of the file that could be solved, those that are used instead, and the error of solving."""

    right: Real
    other: Real
    error: float


def _filter(problem: _Problem, rows: Real, weights: Real, given: Real, seen: Real) -> _Filter | None:
    back = problem.solve(rows, given)
    is_zero = np.ptp(seen) == 0 < np.ptp(given)
    other = np.zeros_like(weights) if is_zero else problem.solve(rows, seen)
    is_used = np.ptp(rows, axis=0) > 0  # a channel that is always 0 says nothing of its weights
    if back is None or other is None or not is_used.any():
        return None
    error = float(np.abs(back - weights)[is_used].max())
    if error > EXACT * np.abs(weights).max():
        return None
    return _Filter(weights[is_used], other[is_used], error)


def _summary(solved: list[_Filter]) -> Solved:
    right, other = (
        np.concatenate(some) for some in zip(*((one.right, one.other) for one in solved), strict=True)
    )
    largest = float(np.abs(right).max())
    differing = sum(
        int((np.abs(one.other - one.right) > max(ERRORS * one.error, MATERIAL * largest)).sum())
        for one in solved
    )
    zero = sum(not one.other.any() for one in solved)
    relative = float(np.linalg.norm(other - right) / (np.linalg.norm(right) or 1.0))
    return Solved(len(solved), zero, right.size, differing, relative)


def _problem(part: Part, layer: Alone) -> _Problem | None:
    """What is solved; None where the layer is none of float products alone."""
    if part.main < 0 or layer.step is not None or layer.axes not in ((), tuple(range(len(layer.axes)))):
        return None
    nodes = list(part.model.graph.node)
    node = nodes[part.main]
    weight = part.graph.constant(node.input[1]) if len(node.input) > 1 else None
    bounds = _bounds(part, [one for one in nodes if one is not node and one.op_type not in MOVING])
    if node.op_type not in ("Conv", "Gemm", "MatMul") or weight is None or bounds is None:
        return None
    is_plain = all(attribute(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if weight.dtype.kind != "f" or weight.ndim not in (2, 4) or not is_plain or attribute(node, "transA", 0):
        return None
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
        weight = weight.T
    x = _fed(part, layer, node.input[0])
    if x is None:
        return None
    parts = windows(x.reshape(-1, *x.shape[2:]) if weight.ndim == 4 else x, node, weight.shape)
    if parts is None:
        return None
    real = [one.astype(np.float64) for one in parts]
    return _Problem(real, filters(weight.astype(np.float64), len(parts)), weight.ndim == 4, *bounds)


def _fed(part: Part, layer: Alone, name: str) -> NDArray[np.generic] | None:
    """What a value is fed, behind nodes that only move numbers; None where it is computed."""
    while name not in layer.feeds:
        maker = part.graph.maker.get(name)
        if maker is None or maker.op_type not in MOVING - {"Cast"}:
            return None
        name = maker.input[0]
    return layer.feeds[name]


def _bounds(part: Part, nodes: list[onnx.NodeProto]) -> tuple[float, float] | None:
    """Bounds of the activations; None where there is another node."""
    low, high = -np.inf, np.inf
    for node in nodes:
        if node.op_type == "Relu":
            low = 0.0
        elif node.op_type == "Clip":
            ends = [part.graph.constant(name) if name else None for name in [*node.input[1:], "", ""][:2]]
            low = low if ends[0] is None else max(low, float(ends[0]))
            high = high if ends[1] is None else min(high, float(ends[1]))
        else:
            return None
    return low, high
