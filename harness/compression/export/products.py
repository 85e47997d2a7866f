"""Handlers of matrix products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.compression.export.emitter import Emitter
from harness.compression.export.kinds import supports
from harness.compression.export.layout import plain
from harness.compression.export.parts import Array, Node, Quantization

# FULLY_CONNECTED: the first versions with per-channel scales, and with the leading axes kept.
_PER_CHANNEL_VERSION, _KEEP_AXES_VERSION = 12, 5


def gemm(node: Node, emitter: Emitter) -> None:
    """Gemm with constant weights: x @ w.T + b."""
    weights = emitter.data(node.inputs[1])
    scaled = node.attribute("alpha", 1.0) != 1.0 or node.attribute("beta", 1.0) != 1.0
    if weights is None or node.attribute("transA", 0) or scaled:
        node.refuse(
            "only constant weights, alpha = beta = 1 and no transA are supported; canonicalise the model"
        )
    _fully_connected(node, emitter, weights if node.attribute("transB", 0) else weights.T)


def matmul(node: Node, emitter: Emitter) -> None:
    """MatMul, with constant weights of two axes or between two values."""
    weights = emitter.data(node.inputs[1])
    if weights is not None and weights.ndim == 2 and emitter.data(node.inputs[0]) is None:
        _fully_connected(node, emitter, weights.T)
        return
    ranks = [len(emitter.value(name).shape) for name in node.inputs]
    if min(ranks) < 2:
        node.refuse("an operand is a vector")
    if any(q and q.per_channel for q in (emitter.value(name).quantization for name in node.inputs)):
        node.refuse("one of its operands has per-channel scales, BATCH_MATMUL needs one scale")
    tensors = [emitter.get(name, plain(rank)) for name, rank in zip(node.inputs, ranks, strict=True)]
    result = emitter.value(node.outputs[0])
    target = emitter.add(result, plain(len(result.shape)))
    if node.activation == "NONE":
        emitter.emit("BATCH_MATMUL", tensors, target)
    else:  # it cannot clamp its own output
        emitter.emit(
            node.activation, [emitter.apply("BATCH_MATMUL", tensors, result.shape, like=result)], target
        )


def _fully_connected(node: Node, emitter: Emitter, weights: Array) -> None:
    """Multiply by weights (out, in), with their columns in the order of the input."""
    value, result = emitter.value(node.inputs[1]), emitter.value(node.outputs[0])
    layout = emitter.layout(node.inputs[0])
    if layout.features:
        weights = weights[:, layout.feature_order]
        source = emitter.get(node.inputs[0])
    else:
        source = emitter.get(node.inputs[0], plain(len(layout.axes)))
    quantization = value.quantization and replace(value.quantization, axis=0)
    keeps_axes = len(result.shape) > 2
    version = _KEEP_AXES_VERSION if keeps_axes else None
    if quantization and quantization.per_channel:
        version = _PER_CHANNEL_VERSION
    if version is not None and not supports(emitter.runtime, "FULLY_CONNECTED", version):
        _as_convolution(node, emitter, source, weights, quantization)
        return
    filters = emitter.constant(value.name, weights, quantization)
    emitter.emit(
        "FULLY_CONNECTED",
        [source, filters, bias_of(node, emitter, len(weights))],
        emitter.add(result, plain(len(result.shape))),
        {"keepNumDims": keeps_axes, "fusedActivationFunction": node.activation},
        version=version,
    )


def _as_convolution(
    node: Node, emitter: Emitter, source: int, weights: Array, quantization: Quantization | None
) -> None:
    """Multiply by a 1×1 convolution: the same integers, and all runtimes support its per-channel scales."""
    value, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    lead = result.shape[:-1]
    image = {1: (lead[0], 1, 1), 2: (lead[0], 1, lead[-1]), 3: lead}.get(len(lead))
    if image is None:
        node.refuse(
            f"its {len(lead) + 1} axes do not fit the convolution that {emitter.runtime} needs instead"
        )
    outputs, inputs = weights.shape
    filters = emitter.constant(node.inputs[1], weights.reshape(outputs, 1, 1, inputs), quantization)
    tensors = [emitter.reshape(source, (*image, inputs), value), filters, bias_of(node, emitter, outputs)]
    settings = {"padding": "VALID", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    settings["fusedActivationFunction"] = node.activation
    product = emitter.apply("CONV_2D", tensors, (*image, outputs), settings, like=result)
    emitter.reshape(product, result.shape, result, emitter.add(result, plain(len(result.shape))))


def bias_of(node: Node, emitter: Emitter, outputs: int) -> int:
    """Return the bias (out,) of a weighted node; zeros if there is none, because some kernels need one."""
    weights = emitter.value(node.inputs[1])
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = emitter.value(node.inputs[2])
        if bias.data is None or bias.data.shape != (outputs,):
            node.refuse(f"its bias is not a constant of shape ({outputs},)")
        return emitter.constant(bias.name, bias.data, bias.quantization)
    if weights.quantization is None:
        return emitter.constant(f"{node.name}/bias", np.zeros(outputs, np.float32))
    source = emitter.value(node.inputs[0]).quantization
    assert source is not None
    scale = (source.scale * weights.quantization.scale).astype(np.float32)
    quantization = Quantization(scale, np.zeros(scale.size, np.int64))
    return emitter.constant(f"{node.name}/bias", np.zeros(outputs, np.int32), quantization)
