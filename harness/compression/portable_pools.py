"""Pools that every runtime computes alike in int8.

OpenVINO 2026.4 counts the integer 0 as the padding of an int8 AveragePool, not the zero point (-5 dB instead
of 24 dB where the zero point is not 0; two in a row end in a segmentation fault). An explicit Pad before the
pool has the same integers on every runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.compression.canonical import attribute
from harness.compression.shared_scales import Step


def explicit_padding(
    model: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    left: Collection[str],
    activations: str,
) -> dict[str, str]:
    """Let a Pad do the padding of every AveragePool that counts its padding, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    ranges : mapping
        Activation to (low, high).
    left : collection of str
        Nodes that stay in float.
    activations : str
        Dtype of the integer activations.

    Returns
    -------
    dict
        The pools whose padding depends on a dynamic extent, which must stay in float, and the reason.
    """
    tensors = {value.name: value.type.tensor_type for value in [*model.graph.value_info, *model.graph.input]}
    reasons: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        source = node.input[0] if node.input else ""
        counted = node.op_type == "AveragePool" and attribute(node, "count_include_pad", 0)
        if not counted or node.name in left or _pads_with_zero(ranges.get(source), activations):
            nodes.append(node)
            continue
        dims = tensors[source].shape.dim
        pads = _pads(node, [d.dim_value if d.HasField("dim_value") else None for d in dims])
        if pads is None:
            reasons[node.name] = "its padding depends on a dynamic extent"
            nodes.append(node)
            continue
        if any(pads):
            nodes.append(_pad(model, node, pads))
        for name in ("pads", "auto_pad", "count_include_pad"):
            for old in [a for a in node.attribute if a.name == name]:
                node.attribute.remove(old)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return reasons


def _pads_with_zero(limits: tuple[float, float] | None, activations: str) -> bool:
    """Whether the zero point is the integer 0, which every runtime pads with."""
    if activations == "int16":
        return True
    return limits is not None and activations.startswith("u") and Step.of_range(*limits).zero_point == 0


def _pads(node: onnx.NodeProto, shape: list[int | None]) -> list[int] | None:
    """Return ONNX's pads, first those before every axis; None if they depend on a dynamic extent."""
    kernel: list[int] = attribute(node, "kernel_shape", [])
    rank = len(kernel)
    kind = attribute(node, "auto_pad", b"NOTSET")
    if kind == b"NOTSET":
        return list(attribute(node, "pads", [0] * 2 * rank))
    if kind == b"VALID":
        return [0] * 2 * rank
    before, after = [], []
    strides, dilations = (attribute(node, name, [1] * rank) for name in ("strides", "dilations"))
    for extent, window, stride, dilation in zip(shape[2:], kernel, strides, dilations, strict=True):
        if extent is None:
            return None
        reach = (window - 1) * dilation + 1
        total = max((-(-extent // stride) - 1) * stride + reach - extent, 0)
        less, more = total // 2, total - total // 2
        before.append(less if kind == b"SAME_UPPER" else more)
        after.append(more if kind == b"SAME_UPPER" else less)
    return [*before, *after]


def _pad(model: onnx.ModelProto, node: onnx.NodeProto, pads: list[int]) -> onnx.NodeProto:
    """Insert the padded tensor before a pool and return the Pad that computes it."""
    rank = len(pads) // 2
    widths = np.array([0, 0, *pads[:rank], 0, 0, *pads[rank:]], np.int64)
    padded, name = f"{node.name}/padded", f"{node.name}/pads"
    model.graph.initializer.append(numpy_helper.from_array(widths, name))
    model.graph.value_info.append(helper.make_tensor_value_info(padded, TensorProto.FLOAT, None))
    pad = helper.make_node("Pad", [node.input[0], name], [padded], f"{node.name}/Pad")
    node.input[0] = padded
    return pad
