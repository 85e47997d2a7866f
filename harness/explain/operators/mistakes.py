"""What a wrong layer computes instead: mistakes that layers can have, run on this machine, and changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import shape_inference

from harness.core.errors import HarnessError
from harness.explain.files.graph import Graph
from harness.explain.layers.tapped import CHUNK_BYTE
from harness.explain.operators.alone import Alone
from harness.explain.operators.description import EXPLAINED, Description, Results, describe
from harness.explain.operators.part import Part, Variant, joined, output_name
from harness.explain.operators.wrong_layers import variants
from harness.explain.sides.steps import as_real

if TYPE_CHECKING:
    from harness.explain.scene import Scene

#: A float number differs by rounding, relative to the root mean square of the tensor; an integer by a step.
FLOAT_GRAIN, STEP_GRAIN = 2.0**-11, 1.01
#: A change is looked for in so many numbers of a result, in whole samples.
MOST_NUMBERS = 2**22
FLOAT_BYTE = 4
#: Operators with channels on the second axis, and features on it where there are two.
ON_SECOND_AXIS = 3


def of_layer(
    scene: Scene, layer: Alone, *, is_reference_wrong: bool, grain: float | None = None
) -> Description | None:
    """Say what the wrong side computes: a mistake of the operator, else a change of the right numbers.

    Parameters
    ----------
    grain : float, optional
        A smaller difference is rounding; default: what the type of the result makes.
    """
    expected, seen = (layer.second, layer.first) if is_reference_wrong else (layer.first, layer.second)
    results = _results(layer, expected, seen)
    results = results if grain is None else replace(results, grain=grain)
    mistake = _mistake(scene, layer, results)
    return mistake or describe(results)


def _results(layer: Alone, expected: np.ndarray, seen: np.ndarray) -> Results:
    step = layer.step
    limits = None
    if step is None:
        finite = expected[np.isfinite(expected)]
        grain = FLOAT_GRAIN * (float(np.sqrt(np.mean(finite**2))) if finite.size else 1.0)
    else:
        grain = STEP_GRAIN * step.scale
        limits = _limits(layer)
    if expected.ndim > 2:  # calls of a batch each
        expected, seen = (one.reshape(-1, *one.shape[2:]) for one in (expected, seen))
    count = max(1, MOST_NUMBERS // max(1, expected[0].size))
    source = _source(layer, expected)
    return Results(
        expected[:count], seen[:count], _channels(layer, expected.ndim), grain, limits,
        None if source is None else source[:count],
    )  # fmt: skip


def _limits(layer: Alone) -> tuple[float, float] | None:
    """Ends of the range of integers of the layer's result, as real numbers."""
    assert layer.step is not None
    graph = Graph(layer.part)
    node = graph.maker.get(layer.part.graph.output[0].name)
    zero = None if node is None or node.op_type != "QuantizeLinear" else graph.zero_point(node)
    if zero is None or zero.dtype.kind not in "iu":
        return None
    ends = np.iinfo(zero.dtype)
    low, high = ((end - layer.step.zero_point) * layer.step.scale for end in (ends.min, ends.max))
    return float(low), float(high)


def _channels(layer: Alone, rank: int) -> int:
    """Axis of the channels of the samples' results."""
    is_first = not layer.axes or layer.axes == tuple(range(len(layer.axes)))
    return rank - 1 if rank <= ON_SECOND_AXIS or not is_first else 1


def _source(layer: Alone, expected: np.ndarray) -> np.ndarray | None:
    """The input of a layer with one, where it has the shape of the result."""
    if len(layer.feeds) != 1 or layer.axes:
        return None
    graph = Graph(layer.part)
    (name,) = layer.feeds
    (tensor,) = layer.feeds.values()
    reader = next(iter(graph.readers[name]), None)
    is_quantized = reader is not None and reader.op_type == "DequantizeLinear"
    real = as_real(tensor, graph.step(reader) if is_quantized else None)
    return real.reshape(expected.shape) if real.size == expected.size else None


def _mistake(scene: Scene, layer: Alone, results: Results) -> Description | None:
    """The mistake that gives the wrong numbers best, if it explains them."""
    part = Part(layer.part, layer.name, {name: tensor.shape[1:] for name, tensor in layer.feeds.items()})
    best: Description | None = None
    for variant, outputs in _run(scene, layer, part, _possible(part, list(variants(part)))):
        left = results.left(_samples(layer, outputs, results))
        if left <= EXPLAINED and (best is None or left < best.left):
            best = Description(variant.text, left)
    return best


def _samples(layer: Alone, outputs: np.ndarray, results: Results) -> np.ndarray:
    """Outputs as the results are arranged."""
    real = layer.real(outputs)
    return real.reshape(-1, *results.expected.shape[1:])[: len(results.expected)]


def _possible(part: Part, listed: Sequence[Variant]) -> list[Variant]:
    """Those whose result has the shape of the layer's, as far as shapes can be derived."""
    if not listed:
        return []
    right, _ = part.variant("")
    model = joined(part, [right, *listed])
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # noqa: BLE001 - any of onnx's errors: the runtime decides
        return list(listed)
    shapes = [_shape(value) for value in inferred.graph.output]
    return [variant for variant, shape in zip(listed, shapes[1:], strict=True) if shape == shapes[0]]


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    return tuple(extent.dim_value for extent in tensor.shape.dim) if tensor.HasField("shape") else None


def _run(
    scene: Scene, layer: Alone, part: Part, listed: Sequence[Variant]
) -> list[tuple[Variant, np.ndarray]]:
    """Run all in one file on this machine; halves of them where one is refused."""
    if not listed:
        return []
    most = max(1, CHUNK_BYTE // max(1, FLOAT_BYTE * layer.first.size))
    if len(listed) > most:
        return [
            *_run(scene, layer, part, listed[:most]), *_run(scene, layer, part, listed[most:]),
        ]  # fmt: skip
    content = joined(part, listed).SerializeToString()
    side = replace(scene.host, options=replace(scene.host.options, extra={}))
    try:
        trace = scene.runner.tensors(scene.runner.with_file(side, content, "variants.onnx"), layer.feeds)
    except HarnessError:
        if len(listed) == 1:
            return []
        half = math.ceil(len(listed) / 2)
        return [
            *_run(scene, layer, part, listed[:half]), *_run(scene, layer, part, listed[half:]),
        ]  # fmt: skip
    named = {output_name(part, place): one for place, one in enumerate(listed)}
    size = layer.first.size
    return [(named[name], trace.tensors[name]) for name in trace.outputs if trace.tensors[name].size == size]
