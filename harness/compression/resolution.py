"""Activations that a scale for their whole range would destroy; they stay in float.

One scale spans the whole range of a tensor. If a few values are far larger than those that matter, such as a
mask of -1e9 before a Softmax, or if values close to zero matter, such as a denominator, no level is left for
them. Such tensors are suspected by their range and their place in the graph, and judged by their effect: the
float model runs with only this tensor rounded, and the outputs are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.compression.calibration import Calibration, octaves
from harness.compression.canonical import Array, open_session
from harness.compression.passes import Feeds
from harness.core.errors import ModelError

#: Feeds on which the effect of rounding is measured.
FEEDS = 8
#: The least signal-to-noise ratio of the outputs with one tensor rounded; 8 bits usually leave 35 to 50 dB.
LEAST_DB = 20.0
#: A suspected tensor that alone leaves more is not at fault for outputs with less.
HARMLESS_DB = 30.0
#: The same for a tensor that is not suspected: several that are merely coarse are no reason.
DESTROYED_DB = 12.0
#: Beyond it the multipliers of integer kernels overflow; LiteRT aborts the process.
LARGEST = 1e30
_LEAST_LEVELS = 4  # fewer steps for half of the values, or for those below a gap, are suspicious
_LEAST_GAP = 3  # octaves without a value
_LEAST_SHARE = 0.001  # of the values that are not zero
_COARSE_STEP = 0.5  # of the argument of an exponential: an error of up to a quarter of the result
_FAR = 1024.0  # an output beyond a gap and this size stands for infinity

# An absolute error of their argument becomes a relative one of their result.
_EXPONENTIAL = frozenset({"Exp", "LogSoftmax", "Sigmoid", "Softmax", "Tanh"})
# A small argument rounded to zero changes their result without bound; with the position of the argument.
_SINGULAR: Mapping[str, int] = {"Div": 1, "Log": 0, "Pow": 0, "Reciprocal": 0, "Sqrt": 0}
# The error of an operand is one of the result; of these, a small operand makes a small result.
_KEEPS_SMALL = frozenset({
    "Add", "Clip", "Concat", "Expand", "Flatten", "Identity", "Max", "ReduceMean", "ReduceSum", "Reshape",
    "Slice", "Split", "Sqrt", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
_CARRIES = _KEEPS_SMALL | {"Gather", "MaxPool", "Min", "Mul", "Pad", "Relu", "Sub", "Where"}


@dataclass(frozen=True, slots=True)
class Grid:
    """The real values of an integer tensor: ``scale * (integer - zero_point)`` for 0 to ``levels``."""

    scale: float
    zero_point: int
    levels: int = 255


def unrepresentable(calibration: Calibration, names: Collection[str]) -> dict[str, str]:
    """Return the tensors among `names` that have no grid at all, and the reason."""
    reasons = dict.fromkeys(sorted(calibration.infinite & set(names)), "it has infinite values")
    for name, (low, high) in calibration.ranges.items():
        if name in names and name not in reasons and max(-low, high) > LARGEST:
            reasons[name] = f"its range {low:.3g} to {high:.3g} is too large for integer kernels"
    return reasons


def unresolved(
    model: onnx.ModelProto, calibration: Calibration, grids: Mapping[str, Grid], feeds: Sequence[Feeds]
) -> dict[str, str]:
    """Return the tensors whose grid destroys the outputs.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    calibration : Calibration
    grids : mapping
        The grid of each activation that would be quantized.
    feeds : sequence of mapping
        Input name to array.

    Returns
    -------
    dict
        Tensor name to the reason.
    """
    lost: dict[str, float] = {}
    suspected = suspects(model, calibration, grids)
    if suspected:
        effect = Effect(model, {name: grids[name] for name in suspected}, feeds)
        lost |= _worst(effect, suspected, HARMLESS_DB)
    others = [name for name in grids if name not in lost]
    lost |= _worst(Effect(model, {name: grids[name] for name in others}, feeds[:2]), others, DESTROYED_DB)
    reasons = {}
    for name, decibel in lost.items():
        low, high = calibration.ranges[name]
        left = f"{decibel:.0f} dB" if np.isfinite(decibel) else "NaN or infinity"
        reasons[name] = (
            f"its range {low:.3g} to {high:.3g} has steps of {grids[name].scale:.2g}, "
            f"which alone leave {left} in the outputs"
        )
    return reasons


def _worst(effect: Effect, names: Sequence[str], harmless_db: float) -> dict[str, float]:
    """Return the tensors to leave out, worst first, until the others leave enough; and what each leaves."""
    if effect.db(names) >= LEAST_DB:
        return {}
    alone = {name: effect.db([name]) for name in names}
    worst_first = sorted(names, key=lambda name: alone[name])
    lost: dict[str, float] = {}
    while worst_first and alone[worst_first[0]] < harmless_db and effect.db(worst_first) < LEAST_DB:
        name = worst_first.pop(0)
        lost[name] = alone[name]
    return lost


def suspects(model: onnx.ModelProto, calibration: Calibration, grids: Mapping[str, Grid]) -> list[str]:
    """Return the tensors whose grid may be too coarse, in the order of the graph."""
    exponential, singular = _sensitive(model)
    coarse_tensors = []
    for name, grid in grids.items():
        coarse = _has_few_levels(calibration.octaves[name], grid.scale)
        if coarse or name in singular or (name in exponential and grid.scale > _COARSE_STEP):
            coarse_tensors.append(name)
    return coarse_tensors


def _sensitive(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Return the tensors whose values reach an exponential, and those that reach a singular operator."""
    exponential: set[str] = set()
    singular: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type in _EXPONENTIAL:
            exponential.add(node.input[0])
        if node.op_type in _SINGULAR:
            singular.add(node.input[_SINGULAR[node.op_type]])
        for operators, reached in ((_CARRIES, exponential), (_KEEPS_SMALL, singular)):
            if node.op_type in operators and reached.intersection(node.output):
                reached.update(node.input)
    return exponential, singular


def _has_few_levels(counts: Array, step: float) -> bool:
    """Whether half of the values, or those below a gap, have hardly a level."""
    filled = np.flatnonzero(counts[1:]) + 1
    if not filled.size:
        return False
    below = np.cumsum(counts[filled]) / counts[filled].sum()
    bounds = _upper_bound(filled)
    if np.any((below >= 0.5) & (bounds <= _LEAST_LEVELS / 2 * step)):
        return True
    gaps = np.flatnonzero(np.diff(filled) > _LEAST_GAP)
    return bool(np.any((below[gaps] >= _LEAST_SHARE) & (bounds[gaps] <= _LEAST_LEVELS * step)))


def _upper_bound(exponents: Array) -> Array:
    """Return the magnitude that ends an octave of float32, by its biased exponent."""
    return np.exp2(exponents.astype(np.float64) - 126)


class Effect:
    """The effect on the outputs of rounding some tensors of a float model.

    Parameters
    ----------
    model : onnx.ModelProto
    grids : mapping
        Tensors that can be rounded.
    feeds : sequence of mapping
    """

    def __init__(self, model: onnx.ModelProto, grids: Mapping[str, Grid], feeds: Sequence[Feeds]) -> None:
        self._switches = {name: f"{name}/is_rounded" for name in grids}
        self._session = open_session(
            _with_switches(model, grids, self._switches), "the model with rounded activations"
        )
        self._feeds = feeds
        self._exact = self._outputs(())
        self._bounds = [bound_of_values(output) for output in self._exact]

    def db(self, names: Iterable[str]) -> float:
        """Return the least signal-to-noise ratio of an output in dB; -inf if one is no longer finite."""
        pairs = zip(self._exact, self._outputs(names), self._bounds, strict=True)
        return min((sqnr_db(*pair) for pair in pairs), default=np.inf)

    def _outputs(self, names: Iterable[str]) -> list[Array]:
        """Return each output of all feeds as one vector."""
        on = set(names)
        switches = {switch: np.array(name in on) for name, switch in self._switches.items()}
        try:
            runs = [self._session.run(None, {**feed, **switches}) for feed in self._feeds]
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ModelError(
                f"the model does not run with rounded activations: {str(error).strip().splitlines()[0]}",
                where=f"tensors {', '.join(sorted(on)) or 'none'}",
            ) from error
        return [
            np.concatenate([np.asarray(output, np.float64).reshape(-1) for output in outputs])
            for outputs in zip(*runs, strict=True)
        ]


def bound_of_values(output: Array) -> float:
    """Return the magnitude beyond which elements of an output stand for infinity."""
    filled = np.flatnonzero(octaves(output[np.isfinite(output)])[1:]) + 1
    gaps = np.flatnonzero(np.diff(filled) > _LEAST_GAP)
    far = [_upper_bound(filled[gap]) for gap in gaps if _upper_bound(filled[gap + 1]) > _FAR]
    return float(min(far, default=np.inf))


def sqnr_db(exact: Array, rounded: Array, bound: float) -> float:
    """Return the signal-to-noise ratio in dB of what lies within a bound; -inf if it is no longer finite."""
    counted = np.isfinite(exact) & (np.abs(exact) <= bound)
    exact, rounded = exact[counted], rounded[counted]
    if not np.isfinite(rounded).all():
        return -np.inf
    noise, signal = float(np.square(exact - rounded).sum()), float(np.square(exact).sum())
    if not noise:
        return np.inf
    return 10 * float(np.log10(signal / noise)) if signal else -np.inf


def _with_switches(
    model: onnx.ModelProto, grids: Mapping[str, Grid], switches: Mapping[str, str]
) -> onnx.ModelProto:
    """Return the model with a boolean input for each tensor: whether it is rounded to its grid."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    renamed = {name: f"{name}/switched" for name in grids}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    nodes: list[onnx.NodeProto] = []
    for value in model.graph.input:
        nodes += _switch(value.name, grids, switches, renamed)
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            nodes += _switch(name, grids, switches, renamed)
    outputs = [renamed.get(value.name, value.name) for value in model.graph.output]
    for name, grid in grids.items():
        for part, number in (("scale", grid.scale), ("zero", grid.zero_point), ("levels", grid.levels)):
            value = np.array(number, np.float32)
            graph.initializer.append(numpy_helper.from_array(value, f"{name}/{part}"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "harness/first_level"))
    graph.input.extend(helper.make_tensor_value_info(s, TensorProto.BOOL, []) for s in switches.values())
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    return result


def _switch(
    name: str, grids: Mapping[str, Grid], switches: Mapping[str, str], renamed: Mapping[str, str]
) -> list[onnx.NodeProto]:
    """Round in float arithmetic: ONNX has no 16-bit QuantizeLinear before opset 21."""
    if name not in grids:
        return []
    scale, zero, levels = (f"{name}/{part}" for part in ("scale", "zero", "levels"))
    steps: list[tuple[str, list[str]]] = [
        ("Div", [scale]), ("Round", []), ("Add", [zero]), ("Clip", ["harness/first_level", levels]),
        ("Sub", [zero]), ("Mul", [scale]),
    ]  # fmt: skip
    nodes, source = [], name
    for kind, operands in steps:
        result = f"{name}/{kind}/rounding"
        nodes.append(helper.make_node(kind, [source, *operands], [result], result))
        source = result
    switched = renamed[name]
    return [*nodes, helper.make_node("Where", [switches[name], source, name], [switched], switched)]
