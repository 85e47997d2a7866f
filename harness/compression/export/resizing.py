"""The handler of Resize."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.compression.export.emitter import Emitter
from harness.compression.export.layout import as_vector, channels_last, static
from harness.compression.export.parts import Array, Node

# Position in the source of result i in ONNX, for n sources, m results and the scale that the model gives.
_POSITIONS: dict[str, Callable[[Array, int, int, float], Array]] = {
    "align_corners": lambda i, n, m, scale: i * ((n - 1) / max(m - 1, 1)),
    "asymmetric": lambda i, n, m, scale: i / scale,
    "half_pixel": lambda i, n, m, scale: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, n, m, scale: (i + 0.5) / scale - 0.5 if m > 1 else i * 0.0,
}
_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
}
# TFLite's three modes: (align_corners, half_pixel_centers).
_MODES = ((False, False), (False, True), (True, False))


def resize(node: Node, emitter: Emitter) -> None:
    """Resize, nearest or linear, over two spatial axes, by the TFLite mode that reads the same pixels."""
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    mode = node.attribute("mode", "nearest")
    coordinates = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode not in ("nearest", "linear") or node.attribute("antialias", 0) or coordinates not in _POSITIONS:
        node.refuse(
            f"mode {mode!r}, {coordinates!r} with antialias={node.attribute('antialias', 0)} is not in TFLite"
        )
    if len(source.shape) != 4 or source.shape[:2] != result.shape[:2] or "axes" in node.attributes:
        node.refuse("only the two spatial axes of an image can be resized")
    if None in source.shape[2:] or None in result.shape[2:]:
        node.refuse("its image has a dynamic extent; fix it under [shapes]")
    extents = list(zip(static(source.shape[2:]), static(result.shape[2:]), strict=True))
    scales = emitter.data(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if scales is None or not scales.size:
        scales = np.array([1.0, 1.0, *(m / n for n, m in extents)])
    rounding = _ROUNDINGS[node.attribute("nearest_mode", "round_prefer_floor")]
    positions = []
    for (n, m), scale in zip(extents, scales[2:], strict=True):
        position = _POSITIONS[coordinates](np.arange(m, dtype=np.float32), n, m, float(scale))
        positions.append(np.clip(rounding(position) if mode == "nearest" else position, 0, n - 1))
    for corners, centres in _MODES:
        tflite = [_tflite_positions(n, m, corners, centres, mode == "nearest") for n, m in extents]
        if all(np.allclose(a, b, rtol=0, atol=1e-5) for a, b in zip(tflite, positions, strict=True)):
            break
    else:
        node.refuse(f"no TFLite mode reads the pixels of {coordinates!r} at these sizes")
    kind = "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR"
    tensor = emitter.get(node.inputs[0], channels_last(4))
    tensors = [tensor, emitter.constant(f"{node.name}/size", as_vector([m for _, m in extents]))]
    settings = {"alignCorners": corners, "halfPixelCenters": centres}
    emitter.emit_keeping_scale(kind, tensors, node, channels_last(4), settings)


def _tflite_positions(n: int, m: int, corners: bool, centres: bool, nearest: bool) -> Array:
    """Return what TFLite reads: pixels for nearest, positions between pixels for bilinear."""
    i = np.arange(m, dtype=np.float32)
    scale = np.float32((n - 1) / (m - 1) if corners and m > 1 else n / m)
    position: Array = (i + 0.5) * scale if centres else i * scale
    if nearest:
        position = np.floor(position + 0.5) if corners else np.floor(position)
    elif centres:
        position -= 0.5
    return np.asarray(np.clip(position, 0, n - 1))
