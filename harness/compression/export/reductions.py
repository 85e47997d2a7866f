"""Handlers of operators that reduce or normalise along axes."""

from __future__ import annotations

import numpy as np

from harness.compression.export.elementwise import Handler, copy
from harness.compression.export.emitter import Emitter
from harness.compression.export.layout import Layout, as_vector, channels_last, plain
from harness.compression.export.parts import Node


def reduce(kind: str) -> Handler:
    """Return the handler of a reduction over constant axes, or over the spatial axes."""

    def handle(node: Node, emitter: Emitter) -> None:
        rank = len(emitter.value(node.inputs[0]).shape)
        if node.op.startswith("Global"):
            axes, keeps_axes, layout = list(range(2, rank)), True, channels_last(rank)
            tensor = emitter.get(node.inputs[0], layout)
        else:
            axes = node.attribute("axes", []) or emitter.integers(node, 1) or []
            if not axes and node.attribute("noop_with_empty_axes", 0):
                copy(node, emitter)
                return
            axes = [axis % rank for axis in axes or range(rank)]
            keeps_axes = bool(node.attribute("keepdims", 1))
            tensor, layout = emitter.whole(node.inputs[0])
        positions = as_vector(sorted(layout.position(axis) for axis in axes))
        tensors = [tensor, emitter.constant(f"{node.name}/axes", positions)]
        target = emitter.add(emitter.value(node.outputs[0]), layout if keeps_axes else layout.without(axes))
        emitter.emit(kind, tensors, target, {"keepDims": keeps_axes})

    return handle


def arg(kind: str) -> Handler:
    """Return the handler of ArgMax or ArgMin; TFLite removes the axis."""

    def handle(node: Node, emitter: Emitter) -> None:
        if node.attribute("select_last_index", 0):
            node.refuse("it takes the last of equal elements, TFLite the first")
        tensor, layout = emitter.whole(node.inputs[0])
        axis = node.attribute("axis", 0) % len(layout.axes)
        result, dropped = emitter.value(node.outputs[0]), layout.without([axis])
        positions = emitter.constant(f"{node.name}/axis", as_vector([layout.position(axis)]))
        settings = {"outputType": "INT64"}
        if not node.attribute("keepdims", 1):
            emitter.emit(kind, [tensor, positions], emitter.add(result, dropped), settings)
            return
        shape = dropped.shape(tuple(n for a, n in enumerate(result.shape) if a != axis))
        flat = emitter.apply(kind, [tensor, positions], shape, settings, dtype=np.int64)
        emitter.reshape(flat, layout.shape(result.shape), result, emitter.add(result, layout))

    return handle


def softmax(kind: str, settings: dict[str, object] | None = None) -> Handler:
    """Return the handler of Softmax or LogSoftmax over any axis; TFLite supports the last only."""

    def handle(node: Node, emitter: Emitter) -> None:
        rank = len(emitter.value(node.inputs[0]).shape)
        axis = node.attribute("axis", -1) % rank
        layout = emitter.layout(node.inputs[0])
        if layout.features or layout.axes[-1] != axis:
            layout = Layout((*(a for a in range(rank) if a != axis), axis))
        target = emitter.add(emitter.value(node.outputs[0]), layout)
        emitter.emit(kind, [emitter.get(node.inputs[0], layout)], target, settings)

    return handle


def layer_normalization(node: Node, emitter: Emitter) -> None:
    """LayerNormalization over the last axes as (x - mean) / √(variance + epsilon) · scale + bias."""
    if any(node.outputs[1:]):
        node.refuse("its outputs for mean and deviation are used")
    result = emitter.value(node.outputs[0])
    shape, rank = result.shape, len(result.shape)
    axis = node.attribute("axis", -1) % rank
    tensor = emitter.get(node.inputs[0], plain(rank))
    axes = emitter.constant(f"{node.name}/axes", as_vector(list(range(axis, rank))))
    epsilon = emitter.constant(f"{node.name}/epsilon", np.array(node.attribute("epsilon", 1e-5), np.float32))
    reduced = (*shape[:axis], *(1,) * (rank - axis))
    mean = emitter.apply("MEAN", [tensor, axes], reduced, {"keepDims": True})
    centred = emitter.apply("SUB", [tensor, mean], shape)
    square = emitter.apply("MUL", [centred, centred], shape)
    variance = emitter.apply("MEAN", [square, axes], reduced, {"keepDims": True})
    raised = emitter.apply("ADD", [variance, epsilon], reduced)
    factor = emitter.apply("RSQRT", [raised], reduced)
    parts = [(kind, name) for kind, name in zip(("MUL", "ADD"), node.inputs[1:], strict=False) if name]
    tensor = emitter.apply("MUL", [centred, factor], shape)
    for kind, name in parts[:-1]:
        tensor = emitter.apply(kind, [tensor, emitter.get(name)], shape)
    kind, name = parts[-1]
    emitter.emit(kind, [tensor, emitter.get(name)], emitter.add(result, plain(rank)))
