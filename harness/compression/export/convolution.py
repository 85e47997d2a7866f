"""Handlers of convolutions and pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.compression.export.emitter import Emitter
from harness.compression.export.layout import as_vector, channels_last, static
from harness.compression.export.parts import Node, Shape
from harness.compression.export.products import bias_of

Pads = tuple[tuple[int, int], ...]


def conv(node: Node, emitter: Emitter) -> None:
    """Conv, grouped or depthwise, with constant weights."""
    weights = emitter.value(node.inputs[1])
    if weights.data is None or weights.data.ndim != 4:
        node.refuse("only two spatial axes and constant weights are supported")
    outputs, inputs_of_group = weights.data.shape[:2]
    group = node.attribute("group", 1)
    strides, dilations = node.attribute("strides", [1, 1]), node.attribute("dilations", [1, 1])
    source, padding = _padded(node, emitter, weights.data.shape[2:], strides, dilations, fill=0.0)
    settings: dict[str, object] = {
        "padding": padding,
        "strideH": strides[0], "strideW": strides[1],
        "dilationHFactor": dilations[0], "dilationWFactor": dilations[1],
        "fusedActivationFunction": node.activation,
    }  # fmt: skip
    depthwise = group > 1 and inputs_of_group == 1
    order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    quantization = weights.quantization and replace(weights.quantization, axis=axis)
    filters = emitter.constant(weights.name, weights.data.transpose(order), quantization)
    tensors = [source, filters, bias_of(node, emitter, outputs)]
    result = emitter.add(emitter.value(node.outputs[0]), channels_last(4))
    if depthwise:
        version = None if weights.quantization else 2 if max(dilations) > 1 else 1
        settings["depthMultiplier"] = outputs // group
        emitter.emit("DEPTHWISE_CONV_2D", tensors, result, settings, version=version)
    else:
        version = 6 if group > 1 else None
        emitter.emit("CONV_2D", tensors, result, settings, version=version)


def conv_transpose(node: Node, emitter: Emitter) -> None:
    """ConvTranspose with constant weights: without padding, then cropped by ``pads``."""
    weights, source = emitter.value(node.inputs[1]), emitter.value(node.inputs[0])
    result = emitter.value(node.outputs[0])
    if weights.data is None or weights.data.ndim != 4 or node.attribute("group", 1) != 1:
        node.refuse("only two spatial axes, one group and constant weights are supported")
    if max(node.attribute("dilations", [1])) > 1 or node.attribute("auto_pad", "NOTSET") != "NOTSET":
        node.refuse("dilations and automatic padding are not supported")
    space, cut = source.shape[2:], result.shape[2:]
    if None in space or None in cut:
        node.refuse("its image has a dynamic extent; fix it under [shapes]")
    outputs, *kernel = weights.data.shape[1:]
    strides, pads = node.attribute("strides", [1, 1]), node.attribute("pads", [0, 0, 0, 0])
    extents = static(cut)
    whole = [s * (n - 1) + k for s, n, k in zip(strides, static(space), kernel, strict=True)]
    whole = [max(w, p + n) for w, p, n in zip(whole, pads[:2], extents, strict=True)]  # output_padding
    settings: dict[str, object] = {"padding": "VALID", "strideH": strides[0], "strideW": strides[1]}
    settings["fusedActivationFunction"] = node.activation
    tensor = emitter.get(node.inputs[0], channels_last(4))
    quantization = weights.quantization and replace(weights.quantization, axis=0)
    filters = emitter.constant(weights.name, weights.data.transpose(1, 2, 3, 0), quantization)
    bias = bias_of(node, emitter, outputs)
    shape = (source.shape[0], *whole, outputs)
    tensors = [_shape_tensor(node, emitter, tensor, shape), filters, tensor, bias]
    version = 4 if node.activation != "NONE" else None  # the first with a fused activation
    if whole == extents:
        emitter.emit(
            "TRANSPOSE_CONV", tensors, emitter.add(result, channels_last(4)), settings, version=version
        )
        return
    full = emitter.temporary(f"{result.name}/whole", shape, result)
    emitter.emit("TRANSPOSE_CONV", tensors, full, settings, version=version)
    first = [0, *pads[:2], 0]
    last = [0, *(p + n for p, n in zip(pads[:2], extents, strict=True)), outputs]
    numbers = [emitter.constant(f"{node.name}/cut", as_vector(v)) for v in (first, last, [1, 1, 1, 1])]
    target = emitter.add(result, channels_last(4))
    emitter.emit("STRIDED_SLICE", [full, *numbers], target, {"beginMask": 1, "endMask": 1})


def _shape_tensor(node: Node, emitter: Emitter, tensor: int, shape: Shape) -> int:
    """Return a shape as a tensor; a dynamic batch is that of ``tensor``."""
    if shape[0] is not None:
        return emitter.constant(f"{node.name}/shape", as_vector(static(shape)))
    extents = emitter.apply("SHAPE", [tensor], (4,), {"outType": "INT32"}, dtype=np.int32)
    numbers = [emitter.constant(f"{node.name}/batch", as_vector([n])) for n in (0, 1, 1)]
    batch = emitter.apply("STRIDED_SLICE", [extents, *numbers], (1,), dtype=np.int32)
    rest = emitter.constant(f"{node.name}/shape", as_vector(static(shape[1:])))
    return emitter.apply("CONCATENATION", [batch, rest], (4,), {"axis": 0}, dtype=np.int32)


def max_pool(node: Node, emitter: Emitter) -> None:
    """MaxPool over two spatial axes."""
    if len(node.outputs) > 1 or max(node.attribute("dilations", [1])) > 1:
        node.refuse("indices and dilations are not supported")
    _pool(node, emitter, "MAX_POOL_2D", fill=-np.inf)


def average_pool(node: Node, emitter: Emitter) -> None:
    """AveragePool over two spatial axes."""
    if max(node.attribute("dilations", [1])) > 1:
        node.refuse("dilations are not supported")
    _pool(node, emitter, "AVERAGE_POOL_2D", fill=0.0)


def _pool(node: Node, emitter: Emitter, kind: str, fill: float) -> None:
    kernel = node.attribute("kernel_shape", [1, 1])
    if len(kernel) != 2:
        node.refuse("only two spatial axes are supported")
    strides = node.attribute("strides", [1, 1])
    source, padding = _padded(node, emitter, tuple(kernel), strides, [1, 1], fill=fill)
    settings: dict[str, object] = {
        "padding": padding,
        "strideH": strides[0], "strideW": strides[1],
        "filterHeight": kernel[0], "filterWidth": kernel[1],
        "fusedActivationFunction": node.activation,
    }  # fmt: skip
    emitter.emit_keeping_scale(kind, [source], node, channels_last(4), settings)


def _padded(
    node: Node, emitter: Emitter, kernel: Shape, strides: list[int], dilations: list[int], *, fill: float
) -> tuple[int, str]:
    """Return the input, channels last and padded if needed, and TFLite's name of the remaining padding.

    TFLite's SAME pads less before than after, and nothing before at stride 2 if ONNX's ``pads=1`` pads both
    sides. Any other padding becomes an explicit PAD with the zero point, followed by VALID.
    """
    value = emitter.value(node.inputs[0])
    if len(value.shape) != 4:
        node.refuse("only two spatial axes are supported")
    space = value.shape[2:]
    reach = [(k - 1) * d + 1 for k, d in zip((k or 1 for k in kernel), dilations, strict=True)]
    source = emitter.get(node.inputs[0], channels_last(4))
    pads = _pads(node, space, emitter.value(node.outputs[0]).shape[2:], reach, strides)
    counts_zeros = node.op == "AveragePool" and node.attribute("count_include_pad", 0)
    if not any(map(any, pads)):
        return source, "VALID"
    if not counts_zeros and pads == _same(space, reach, strides):
        return source, "SAME"
    if node.op == "AveragePool" and not counts_zeros:
        node.refuse("its padding is not TFLite's SAME and is excluded from the average")
    widths = [[0, 0], *map(list, pads), [0, 0]]
    shape = (
        value.shape[0],
        *(None if n is None else n + sum(p) for n, p in zip(space, pads, strict=True)),
        value.shape[1],
    )
    result = emitter.temporary(f"{value.name}/padded", shape, value)
    tensors = [source, emitter.constant(f"{value.name}/pads", np.asarray(widths, np.int32))]
    zero_is_lowest = value.quantization is not None and value.quantization.zero_point[0] == -128
    if fill == 0.0 or zero_is_lowest:
        emitter.emit("PAD", tensors, result)
        return result, "VALID"
    lowest = (
        np.array([-128], np.int8) if value.quantization else np.array([np.finfo(np.float32).min], np.float32)
    )
    tensors.append(emitter.constant(f"{value.name}/lowest", lowest, value.quantization))
    emitter.emit("PADV2", tensors, result)
    return result, "VALID"


def _same(space: Shape, reach: list[int], strides: list[int]) -> Pads | None:
    """Return the padding of TFLite's SAME, None if it depends on a dynamic extent."""
    pads = []
    for extent, window, stride in zip(space, reach, strides, strict=True):
        if extent is None and stride > 1:
            return None
        outputs = extent if extent is None else -(-extent // stride)
        total = (
            window - 1
            if outputs is None or extent is None
            else max((outputs - 1) * stride + window - extent, 0)
        )
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def _pads(node: Node, space: Shape, result: Shape, reach: list[int], strides: list[int]) -> Pads:
    """Return ONNX's padding (before, after) of each spatial axis."""
    kind = node.attribute("auto_pad", "NOTSET")
    if kind == "VALID":
        return ((0, 0), (0, 0))
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(space, reach, strides)
        if pads is None:
            node.refuse("its padding depends on a dynamic extent; fix it under [shapes]")
        return pads if kind == "SAME_UPPER" else tuple((after, before) for before, after in pads)
    flat = node.attribute("pads", [0, 0, 0, 0])
    pads = tuple(zip(flat[:2], flat[2:], strict=True))
    if not node.attribute("ceil_mode", 0):
        return pads
    grown = []
    for extent, outputs, (before, after), window, stride in zip(
        space, result, pads, reach, strides, strict=True
    ):
        if extent is None or outputs is None:
            node.refuse("ceil_mode over a dynamic extent; fix it under [shapes]")
        missing = max((outputs - 1) * stride + window - extent - before - after, 0)
        if missing and node.op == "AveragePool":
            node.refuse("ceil_mode lets a window extend beyond the edge")
        grown.append((before, after + missing))
    return tuple(grown)
