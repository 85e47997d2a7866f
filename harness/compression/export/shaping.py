"""Handlers of operators that move elements and compute nothing."""

from __future__ import annotations

from math import prod

import numpy as np

from harness.compression.export.emitter import Emitter
from harness.compression.export.layout import Layout, as_vector, channels_last, plain, static
from harness.compression.export.parts import Node

_FAR = 2**31 - 1  # largest int32, which stands for the end of the axis


def reshape(node: Node, emitter: Emitter) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze; a flattened image stays channels last."""
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    layout, target = emitter.layout(node.inputs[0]), plain(len(result.shape))
    rank = len(source.shape)
    if not layout.plain and not layout.features:
        inner = source.shape[1:]
        flattens = layout == channels_last(rank) and len(result.shape) == 2 and None not in inner
        if flattens and result.shape[1] == prod(static(inner)):
            channels, *space = static(inner)
            if channels > 1 and prod(space) > 1:
                target = Layout((0, 1), (channels, *space))
        else:
            layout = plain(rank)
    elif layout.features:
        layout = plain(rank)
    tensor = emitter.get(node.inputs[0], layout)
    new_shape = [-1 if extent is None else extent for extent in result.shape]
    if new_shape.count(-1) > 1:
        node.refuse(f"its result {result.shape} has more than one dynamic axis; fix others under [shapes]")
    tensors = [tensor, emitter.constant(f"{node.name}/shape", as_vector(new_shape))]
    emitter.emit_keeping_scale("RESHAPE", tensors, node, target, {"newShape": as_vector(new_shape)})


def transpose(node: Node, emitter: Emitter) -> None:
    """Transpose: usually without an operator, by another layout of the same tensor."""
    rank = len(emitter.value(node.inputs[0]).shape)
    order = list(node.attribute("perm", list(range(rank))[::-1]))
    layout = emitter.layout(node.inputs[0])
    if layout.features:
        layout = plain(rank)
    tensor = emitter.get(node.inputs[0], layout)
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    renamed = Layout(tuple(order.index(axis) for axis in layout.axes))
    is_output = node.outputs[0] in emitter.graph.outputs
    same = source.quantization is None or source.quantization.same_as(result.quantization)
    if same and not is_output:
        emitter.alias(node.outputs[0], renamed, tensor)
        return
    axes = emitter.constant(f"{node.name}/order", as_vector([layout.position(axis) for axis in order]))
    emitter.emit_keeping_scale("TRANSPOSE", [tensor, axes], node, plain(rank))


def concat(node: Node, emitter: Emitter) -> None:
    """Concat; operands with another scale than the result are rescaled first."""
    result = emitter.value(node.outputs[0])
    layouts = [emitter.layout(name) for name in node.inputs]
    layout = next(
        (candidate for candidate in layouts if not candidate.plain and not candidate.features),
        plain(len(result.shape)),
    )
    tensors = [
        emitter.rescale(emitter.get(name, layout), emitter.value(name), layout, result.quantization)
        for name in node.inputs
    ]
    axis = layout.position(node.attribute("axis", 0))
    emitter.emit("CONCATENATION", tensors, emitter.add(result, layout), {"axis": axis})


def split(node: Node, emitter: Emitter) -> None:
    """Split along a static axis."""
    tensor, layout = emitter.whole(node.inputs[0])
    axis = node.attribute("axis", 0) % len(layout.axes)
    sizes = [emitter.value(name).shape[axis] for name in node.outputs]
    if None in sizes:
        node.refuse("its axis has a dynamic extent; fix it under [shapes]")
    tensors = [
        tensor,
        emitter.constant(f"{node.name}/sizes", as_vector(static(tuple(sizes)))),
        emitter.constant(f"{node.name}/axis", np.array(layout.position(axis), np.int32)),
    ]
    emitter.emit_keeping_scale("SPLIT_V", tensors, node, layout, {"numSplits": len(sizes)})


def slice_(node: Node, emitter: Emitter) -> None:
    """Slice with constant bounds, which mean the same in TFLite; a mask stands for one beyond the extent."""
    tensor, layout = emitter.whole(node.inputs[0])
    source, rank = emitter.value(node.inputs[0]), len(layout.axes)
    if rank > 5:
        node.refuse("more than five axes")
    starts, ends = (emitter.integers(node, position) for position in (1, 2))
    if starts is None or ends is None:
        node.refuse("it has no bounds")
    axes = emitter.integers(node, 3) or list(range(len(starts)))
    steps = emitter.integers(node, 4) or [1] * len(starts)
    first, last, stride, begin_mask, end_mask = [0] * rank, [0] * rank, [1] * rank, 2**rank - 1, 2**rank - 1
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        position, extent = layout.position(axis), source.shape[axis % rank]
        if extent is not None:
            begin, stop, _ = slice(start, end, step).indices(extent)
            open_begin, open_end = False, stop < 0  # a negative bound would count from the end
        else:
            begin, stop = start, end
            open_begin = start > _FAR or start < -_FAR
            open_end = end > _FAR or end < -_FAR
        first[position], last[position] = (int(np.clip(b, -_FAR, _FAR)) for b in (begin, stop))
        stride[position] = step
        begin_mask &= ~(0 if open_begin else 1 << position)
        end_mask &= ~(0 if open_end else 1 << position)
    numbers = [emitter.constant(f"{node.name}/bounds", as_vector(v)) for v in (first, last, stride)]
    masks = {"beginMask": begin_mask, "endMask": end_mask}
    emitter.emit_keeping_scale("STRIDED_SLICE", [tensor, *numbers], node, layout, masks)


def gather(node: Node, emitter: Emitter) -> None:
    """Gather; indices that the model computes must not be negative: TFLite does not count from the end."""
    source, indices = (emitter.value(name) for name in node.inputs)
    axis = node.attribute("axis", 0) % len(source.shape)
    if source.quantization is not None and source.quantization.per_channel:
        node.refuse("its table has per-channel scales")
    layout = emitter.layout(node.inputs[0])
    if layout.features or len(indices.shape) > 1:
        layout = plain(len(source.shape))
    if indices.data is not None:
        extent = source.shape[axis]
        if extent is None and (indices.data < 0).any():
            node.refuse("an index counts from the end of a dynamic extent")
        numbers = np.where(indices.data < 0, indices.data + (extent or 0), indices.data).astype(np.int32)
        positions = emitter.constant(indices.name, numbers)
    else:
        positions = emitter.get(node.inputs[1], plain(len(indices.shape)))
    target = layout
    if not indices.shape:
        target = layout.without([axis])
    elif len(indices.shape) > 1:
        target = plain(len(source.shape) + len(indices.shape) - 1)
    tensors = [emitter.get(node.inputs[0], layout), positions]
    emitter.emit_keeping_scale("GATHER", tensors, node, target, {"axis": layout.position(axis)})


def pad(node: Node, emitter: Emitter) -> None:
    """Pad with a constant, by reflection, or by one element of the edge."""
    tensor, layout = emitter.whole(node.inputs[0])
    source, rank, mode = emitter.value(node.inputs[0]), len(layout.axes), node.attribute("mode", "constant")
    flat = emitter.integers(node, 1)
    if flat is None or min(flat) < 0:
        node.refuse("it has negative widths or none")
    axes = emitter.integers(node, 3) or list(range(rank))
    widths = np.zeros((rank, 2), np.int32)
    widths[[layout.position(axis) for axis in axes]] = np.reshape(flat, (2, -1)).T
    tensors = [tensor, emitter.constant(f"{node.name}/widths", widths)]
    if mode == "reflect" or (mode == "edge" and widths.max() <= 1):
        kind = "REFLECT" if mode == "reflect" else "SYMMETRIC"
        emitter.emit_keeping_scale("MIRROR_PAD", tensors, node, layout, {"mode": kind})
        return
    if mode != "constant":
        node.refuse(f"mode {mode!r} is not supported by TFLite")
    fill = emitter.number(node, 2)
    if fill == 0.0:
        emitter.emit_keeping_scale("PAD", tensors, node, layout)
        return
    result = emitter.value(node.outputs[0])
    value = np.array([fill], source.dtype)
    if result.quantization is not None:  # its range has the fill value, that of the input perhaps not
        tensors[0] = emitter.rescale(tensor, source, layout, result.quantization)
        value = result.quantization.quantize(np.array([fill]))
    tensors.append(emitter.constant(f"{node.name}/fill", value, result.quantization))
    emitter.emit("PADV2", tensors, emitter.add(result, layout))


def space_to_depth(node: Node, emitter: Emitter) -> None:
    """SpaceToDepth: blocks become channels in the same order."""
    settings = {"blockSize": node.attribute("blocksize", 1)}
    tensor = emitter.get(node.inputs[0], channels_last(4))
    emitter.emit_keeping_scale("SPACE_TO_DEPTH", [tensor], node, channels_last(4), settings)


def depth_to_space(node: Node, emitter: Emitter) -> None:
    """DepthToSpace; TFLite has ONNX's channel order DCR, and CRD is converted to it."""
    tensor, source = emitter.get(node.inputs[0], channels_last(4)), emitter.value(node.inputs[0])
    block, channels = node.attribute("blocksize", 1), source.shape[1]
    if node.attribute("mode", "DCR") == "CRD":
        order = np.arange(channels or 0).reshape(-1, block * block).T.reshape(-1)
        positions = emitter.constant(f"{node.name}/order", as_vector(order.tolist()))
        shape = channels_last(4).shape(source.shape)
        tensor = emitter.apply("GATHER", [tensor, positions], shape, {"axis": 3}, like=source)
    settings = {"blockSize": block}
    emitter.emit_keeping_scale("DEPTH_TO_SPACE", [tensor], node, channels_last(4), settings)
