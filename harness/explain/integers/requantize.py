"""Changes of a quantized ONNX model: another range of a value, another scale of a weight.

What depends on them follows: runtimes take for granted that a bias counts in steps of input times weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from harness.compression.canonical import attribute
from harness.explain.files.graph import Graph

#: Operators with a bias.
BIASED = ("Conv", "Gemm", "ConvTranspose")


def set_range(
    graph: Graph,
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    values: NDArray[np.float64],
    limits: np.iinfo[Any],
) -> None:
    """Give a quantizer and the dequantizers after it the range of some values."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = max(high - low, 1e-12) / (limits.max - limits.min)
    zero = int(np.clip(np.rint(limits.min - low / scale), limits.min, limits.max))
    dtype = np.uint8 if limits.min == 0 else np.int8
    for name in _after(graph, node):
        for reader in graph.readers[name]:
            if reader.input[0] == name:
                _rescale_bias(graph, model, reader, of_input=np.array(scale))
    _constants(
        model,
        node.output[0],
        np.float32(scale),
        np.array(zero, dtype),
        {node.output[0], *_after(graph, node)},
    )


def unrounded(graph: Graph, model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Keep the range of a quantizer, which may stand for an activation, and leave its rounding out."""
    scale = graph.constant(node.input[1])
    zero = graph.zero_point(node)
    if scale is None or zero is None or scale.size != 1:
        return
    limits = np.iinfo(zero.dtype)
    step, centre = float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])
    names = [f"{node.output[0]}:{what}" for what in ("low", "high", "within")]
    for name, end in zip(names, (limits.min, limits.max), strict=False):
        array = np.array((end - centre) * step, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    place = next(at for at, each in enumerate(model.graph.node) if node.output[0] in each.output)
    model.graph.node.insert(place, onnx.helper.make_node("Clip", [node.input[0], *names[:2]], names[2:]))
    after = _after(graph, node)
    for each in model.graph.node:
        each.input[:] = [names[2] if name in after else name for name in each.input]
        # An output of the file has its name from the node that makes it.
        each.output[:] = [
            f"{name}:rounded" if name in after and name in graph.outputs else name for name in each.output
        ]
    for name in after:
        if name in graph.outputs:
            model.graph.node.insert(place + 1, onnx.helper.make_node("Identity", [names[2]], [name]))


def _rescale_bias(
    graph: Graph, model: onnx.ModelProto, node: onnx.NodeProto, *,
    of_input: NDArray[Any] | None = None, of_weight: NDArray[Any] | None = None,
) -> None:  # fmt: skip
    """Integers of a bias count in steps of input times weight: runtimes take that for granted.

    Parameters
    ----------
    of_input, of_weight : ndarray, optional
        The scale that changed; the other is read.
    """
    if node.op_type not in BIASED or len(node.input) < 3:
        return
    readers = [graph.maker.get(name) for name in node.input[:3]]
    if any(reader is None or reader.op_type != "DequantizeLinear" for reader in readers):
        return
    source, weight, bias = (reader for reader in readers if reader is not None)
    of_input = graph.constant(source.input[1]) if of_input is None else of_input
    of_weight = graph.constant(weight.input[1]) if of_weight is None else of_weight
    codes, before = (graph.constant(name) for name in bias.input[:2])
    if codes is None or before is None or of_input is None or of_weight is None:
        return
    steps = np.maximum(of_input.astype(np.float64) * of_weight, 1e-300)
    changed = np.rint(codes.astype(np.float64) * before / steps).clip(-(2**31), 2**31 - 1).astype(np.int32)
    names = [f"{bias.output[0]}:{what}" for what in ("codes", "scale", "zero")]
    zero = np.zeros(steps.shape, np.int32)
    model.graph.initializer.extend(
        map(numpy_helper.from_array, (changed, steps.astype(np.float32), zero), names)
    )
    for each in model.graph.node:
        if each.output[0] == bias.output[0]:
            each.input[:] = names
            del each.attribute[:]
            each.attribute.append(onnx.helper.make_attribute("axis", 0))


def _after(graph: Graph, node: onnx.NodeProto) -> set[str]:
    """Names of the dequantizers of one quantizer."""
    return {
        reader.output[0] for reader in graph.readers[node.output[0]] if reader.op_type == "DequantizeLinear"
    }


def _constants(
    model: onnx.ModelProto, name: str, scale: np.float32, zero: NDArray[np.generic], outputs: set[str]
) -> None:
    names = f"{name}:scale", f"{name}:zero"
    arrays = np.array(scale), zero
    model.graph.initializer.extend(
        numpy_helper.from_array(array, each) for array, each in zip(arrays, names, strict=True)
    )
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.output[0] in outputs:
            node.input[1:] = names


def channel_axis(node: onnx.NodeProto) -> int:
    """Axis of a weight that has a scale for each entry."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def per_channel(
    graph: Graph, model: onnx.ModelProto, node: onnx.NodeProto, real: NDArray[np.float64], axis: int
) -> None:
    """Give the weight of a node a scale for each channel, from the real numbers."""
    reader = graph.maker[node.input[1]]
    others = tuple(place for place in range(real.ndim) if place != axis)
    scale = np.maximum(np.abs(real).max(axis=others), 1e-12) / 127
    shape = [1] * real.ndim
    shape[axis] = -1
    codes = np.clip(np.rint(real / scale.reshape(shape)), -127, 127).astype(np.int8)
    names = [f"{reader.output[0]}:{what}" for what in ("codes", "scale", "zero")]
    arrays = codes, scale.astype(np.float32), np.zeros(len(scale), np.int8)
    model.graph.initializer.extend(map(numpy_helper.from_array, arrays, names))
    for each in model.graph.node:
        if each.output[0] == reader.output[0]:
            each.input[:] = names
            del each.attribute[:]
            each.attribute.append(onnx.helper.make_attribute("axis", axis))
    _rescale_bias(graph, model, node, of_weight=scale)


def other_codes(
    graph: Graph, model: onnx.ModelProto, node: onnx.NodeProto, codes: NDArray[Any], factor: float = 1.0
) -> None:
    """Give the weight of a node other integers, and a scale that is `factor` times as large."""
    is_integer = node.op_type.startswith("QLinear")  # weight and scale are inputs of its own
    reader = node if is_integer else graph.maker[node.input[1]]
    at = 3 if is_integer else 0
    before = graph.constant(reader.input[at + 1])
    assert before is not None  # it is a quantized constant
    scale = (before * factor).astype(np.float32)
    arrays = {f"{reader.output[0]}:{what}": array for what, array in (("codes", codes), ("scale", scale))}
    copied = next(each for each in model.graph.node if each.output[0] == reader.output[0])
    copied.input[at : at + 2] = list(arrays)
    if is_integer and factor != 1 and len(node.input) > 8:
        bias = graph.constant(node.input[8])
        assert bias is not None  # so the caller has checked
        arrays[f"{reader.output[0]}:bias"] = np.rint(bias / factor).astype(np.int32)
        copied.input[8] = f"{reader.output[0]}:bias"
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    if factor != 1 and not is_integer:
        _rescale_bias(graph, model, node, of_weight=scale.astype(np.float64))
