"""Usual mistakes of a layer, each as the layer that makes it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from harness.compression.canonical import attribute
from harness.explain.operators.part import MARK, Part, Variant

POOLS = frozenset({"AveragePool", "MaxPool"})
PADDED = frozenset({"Conv", *POOLS})
ACTIVATIONS = frozenset({
    "Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "PRelu", "Elu", "Gelu",
})  # fmt: skip
#: They have their axes in the same place.
REDUCING = frozenset({"ReduceMean", "ReduceMax", "ReduceMin"})


def variants(part: Part) -> Iterator[Variant]:
    """Yield the mistakes that the layer can have."""
    if part.main < 0:
        return
    kind = part.model.graph.node[part.main].op_type
    makers: list[Callable[[Part], Iterator[Variant]]] = [_activations, _quantization]
    if kind in PADDED or kind == "ConvTranspose":
        makers.append(_padding)
    if kind in POOLS or kind.startswith("Global"):
        makers.append(_pools)
    if kind in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        makers.append(_weights)
    if kind in ("Softmax", "LogSoftmax", "Concat", "Flatten", "Gather", "LayerNormalization", *REDUCING):
        makers.append(_axes)
    if kind in ("Add", "Sub", "Mul", "Div", "Concat"):
        makers.append(_operands)
    if kind in ("Resize", "DepthToSpace", "Pad", "BatchNormalization", "Transpose"):
        makers.append(_attributes)
    for maker in makers:
        yield from maker(part)


def _padding(part: Part) -> Iterator[Variant]:
    node = part.model.graph.node[part.main]
    pads: list[int] = list(attribute(node, "pads", []))
    half = len(pads) // 2
    if any(pads) and node.op_type in PADDED:
        is_pool = node.op_type in POOLS
        values: list[tuple[str, object]] = [("with the numbers at the border", "edge")]
        values.append(("with mirrored numbers", "reflect"))
        zero = part.real_of_zero(node.input[0])
        if zero is not None:
            values.insert(0, ("with the code 0 instead of the zero point", np.float32(zero)))
        if node.op_type == "MaxPool":
            values.insert(0, ("with 0", np.float32(0)))
        for text, value in values:
            variant, copied = part.variant(f"it pads {text}")
            inner = [*(0, 0), *pads[:half], *(0, 0), *pads[half:]]
            widths = variant.constant("pads", np.array(inner, np.int64))
            mode, more = (value, []) if isinstance(value, str) else ("constant", [value])
            names = [variant.constant("value", np.asarray(one)) for one in more]
            padded = helper.make_node("Pad", [copied.input[0], widths, *names], [MARK + "padded"], mode=mode)
            new = copy.deepcopy(copied)
            new.input[0] = MARK + "padded"
            variant.set(new, "pads", None)
            if is_pool and attribute(node, "count_include_pad", 0):
                variant.set(new, "count_include_pad", None)
            variant.replace(copied, padded, new)
            yield variant
    moved = []
    for places in itertools.product((-1, 0, 1), repeat=half):
        other = [begin + move for begin, move in zip(pads[:half], places, strict=True)]
        other += [end - move for end, move in zip(pads[half:], places, strict=True)]
        if other != pads and min(other, default=0) >= 0:
            moved.append(other)
    for other in moved:
        variant, copied = part.variant(f"it pads {other} and not {pads} (begin of each axis, then end)")
        variant.set(copied, "pads", other)
        yield variant


def _pools(part: Part) -> Iterator[Variant]:
    node = part.model.graph.node[part.main]
    kind = node.op_type
    other = kind.replace("Average", "Max") if "Average" in kind else kind.replace("Max", "Average")
    words = "mean", "largest"
    text = "it gives the {} and not the {}".format(*(words if "Max" in kind else words[::-1]))
    variant, copied = part.variant(text)
    copied.op_type = other
    variant.set(copied, "count_include_pad", None)
    yield variant
    if kind == "AveragePool":
        counted = attribute(node, "count_include_pad", 0)
        text = "its padding counts in the mean" if not counted else "its padding does not count in the mean"
        variant, copied = part.variant(text)
        variant.set(copied, "count_include_pad", int(not counted))
        yield variant
        yield from _divided_by_all(part)
    if kind in POOLS:
        is_ceil = attribute(node, "ceil_mode", 0)
        variant, copied = part.variant(f"it computes with ceil_mode = {int(not is_ceil)}")
        variant.set(copied, "ceil_mode", int(not is_ceil))
        yield variant


def _divided_by_all(part: Part) -> Iterator[Variant]:
    """What ceil_mode adds beyond the padding counts, too, or the whole window divides."""
    node = part.model.graph.node[part.main]
    shape = part.shape(node.input[0])
    pads: list[int] = list(attribute(node, "pads", []))
    if not attribute(node, "ceil_mode", 0) or shape is None:
        return
    kernel: list[int] = list(attribute(node, "kernel_shape", []))
    strides = list(attribute(node, "strides", [1] * len(kernel)))
    pads = pads or [0] * (2 * len(kernel))
    more = []
    for axis, (extent, width, stride) in enumerate(zip(shape[2:], kernel, strides, strict=True)):
        begin, end = pads[axis], pads[axis + len(kernel)]
        count = -(-(extent + begin + end - width) // stride) + 1
        more.append(max(0, (count - 1) * stride + width - extent - begin))
    variant, copied = part.variant("with ceil_mode each sum is divided by the whole window")
    inner = [0, 0, *pads[: len(kernel)], 0, 0, *more]
    widths = variant.constant("pads", np.array(inner, np.int64))
    padded = helper.make_node("Pad", [copied.input[0], widths], [MARK + "padded"])
    new = copy.deepcopy(copied)
    new.input[0] = MARK + "padded"
    for name in ("pads", "ceil_mode", "count_include_pad"):
        variant.set(new, name, None)
    variant.replace(copied, padded, new)
    yield variant


def _weights(part: Part) -> Iterator[Variant]:
    node = part.model.graph.node[part.main]
    if len(node.input) > 2 and node.input[2]:
        variant, copied = part.variant("its bias is left out")
        del copied.input[2:]
        yield variant
    weight = part.array(node.input[1])
    if weight is None:
        return
    changes: list[tuple[str, NDArray[Any]]] = []
    if weight.ndim == 4 and max(weight.shape[2:]) > 1:
        changes.append(("its kernels are rotated by 180 degrees", weight[:, :, ::-1, ::-1]))
        if weight.shape[2] == weight.shape[3]:
            changes.append(("its kernels have rows and columns exchanged", weight.swapaxes(2, 3)))
    if weight.ndim == 2 and weight.shape[0] == weight.shape[1]:
        changes.append(("its weight is transposed", weight.T))
    axis = 1
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
        axis = 0
    if weight.ndim > 1 and weight.shape[axis] > 1:
        changes.append(("its input channels are in reverse order", np.flip(weight, axis)))
    changes.append(("its weights of less than 0 are 0", np.maximum(weight, np.zeros((), weight.dtype))))
    for text, array in changes:
        variant, copied = part.variant(text)
        part.with_array(variant, copied, 1, np.ascontiguousarray(array))
        yield variant


def _quantization(part: Part) -> Iterator[Variant]:
    """Scales of channels and zero points that are not used."""
    for place, node in enumerate(part.model.graph.node):
        if node.op_type not in ("DequantizeLinear", "QuantizeLinear"):
            continue
        scale = part.graph.constant(node.input[1])
        zero = part.graph.zero_point(node)
        if scale is not None and scale.size > 1 and part.array(node.input[0]) is not None:
            variant, _ = part.variant("the scale of its first channel is used for all")
            if np.ptp(scale):
                first = np.full_like(scale, scale.reshape(-1)[0])
                variant.nodes[place].input[1] = variant.constant(f"{place}scale", first)
                yield variant
        if zero is not None and np.any(zero):
            where = "result" if node.op_type == "QuantizeLinear" else "input"
            variant, _ = part.variant(f"the zero point of its {where} is not used")
            variant.nodes[place].input[2] = variant.constant(f"{place}zero", np.zeros_like(zero))
            yield variant


def _activations(part: Part) -> Iterator[Variant]:
    """An activation that is left out, or another one; also one too many."""
    nodes = part.model.graph.node
    for place, node in enumerate(nodes):
        if node.op_type not in ACTIVATIONS:
            continue
        variant, _ = part.variant(f"{node.op_type} is left out")
        variant.skip(variant.nodes[place])
        yield variant
        alphas = {"LeakyRelu": (0.01, 0.1, 0.2, 0.3, 0.0), "Elu": (1.0, 0.1), "HardSigmoid": (0.2, 1 / 6)}
        for alpha in alphas.get(node.op_type, ()):
            variant, _ = part.variant(f"it computes {node.op_type} with alpha = {alpha:.3g}")
            variant.set(variant.nodes[place], "alpha", float(alpha))
            yield variant
        if node.op_type == "Gelu":
            form = attribute(node, "approximate", b"none")
            other = "none" if form == b"tanh" else "tanh"
            variant, _ = part.variant(f"it computes Gelu in the form {other!r}")
            variant.set(variant.nodes[place], "approximate", other)
            yield variant
        for kind in ("Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh"):
            if kind != node.op_type:
                variant, _ = part.variant(f"it computes {kind} and not {node.op_type}")
                copied = variant.nodes[place]
                variant.replace(copied, helper.make_node(kind, copied.input[:1], copied.output))
                yield variant


def _axes(part: Part) -> Iterator[Variant]:
    node = part.model.graph.node[part.main]
    shape = part.shape(node.input[0])
    if shape is None:
        return
    if node.op_type in REDUCING:
        for kind in REDUCING - {node.op_type}:
            variant, copied = part.variant(f"it computes {kind} and not {node.op_type}")
            copied.op_type = kind
            yield variant
        return
    now = attribute(node, "axis", -1 if "Softmax" in node.op_type else 0 if node.op_type == "Gather" else 1)
    for axis in range(len(shape)):
        if axis != now % len(shape):
            variant, copied = part.variant(f"it computes along axis {axis} and not {now}")
            variant.set(copied, "axis", axis)
            yield variant


def _operands(part: Part) -> Iterator[Variant]:
    node = part.model.graph.node[part.main]
    if node.op_type in ("Sub", "Div", "Concat") and len(set(node.input)) > 1:
        variant, copied = part.variant("its operands are in reverse order")
        copied.input[:] = list(copied.input)[::-1]
        yield variant
    if node.op_type != "Concat":
        for place, which in enumerate(("second", "first")):
            variant, copied = part.variant(f"its {which} operand is left out")
            variant.skip(copied, place)
            yield variant
        for kind in {"Add", "Sub", "Mul", "Div"} - {node.op_type}:
            variant, copied = part.variant(f"it computes {kind} and not {node.op_type}")
            copied.op_type = kind
            yield variant


def _attributes(part: Part) -> Iterator[Variant]:
    node = part.model.graph.node[part.main]
    options: Mapping[str, Sequence[tuple[str, object]]] = {
        "Resize": [
            *(("coordinate_transformation_mode", mode) for mode in (
                "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")),
            *(("nearest_mode", mode) for mode in ("floor", "ceil", "round_prefer_floor",
                                                  "round_prefer_ceil")),
            *(("mode", mode) for mode in ("nearest", "linear", "cubic")),
        ],
        "DepthToSpace": [("mode", "DCR"), ("mode", "CRD")],
        "Pad": [("mode", mode) for mode in ("constant", "edge", "reflect")],
        "BatchNormalization": [("epsilon", size) for size in (0.0, 1e-5, 1e-3)],
        "Transpose": [("perm", list(axes)) for axes in itertools.permutations(
            range(len(attribute(node, "perm", []))))],
    }  # fmt: skip
    for name, value in options[node.op_type]:
        before = attribute(node, name, None)
        before = before.decode() if isinstance(before, bytes) else before
        if before != value:
            variant, copied = part.variant(f"it computes with {name} = {value!r}")
            variant.set(copied, name, value)
            yield variant
