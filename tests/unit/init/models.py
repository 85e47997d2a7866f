"""Small models whose answers are right only for what they were made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES, SIDE = 5, 8
#: Grey level of each class and channel; no two classes are a scaled or a mirrored version of each other.
LEVELS = np.array([[30, 60, 200], [80, 40, 90], [120, 180, 60], [170, 90, 220], [225, 150, 120]])


def images(n: int, channels: int = 3, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Plain images in the colour of their class, with a little noise: shape (n, side, side, channels)."""
    rng = np.random.default_rng(5)
    labels = np.arange(n) % CLASSES
    noise = rng.integers(-12, 13, (n, side, side, channels))
    return (LEVELS[labels][:, None, None, :channels] + noise).clip(0, 255).astype(np.uint8), labels


def nearest(templates: NDArray[Any], path: Path, shape: Sequence[int | str], name: str = "image") -> Path:
    """Write a classifier that answers with the nearest template: x·t - |t|²/2 for each.

    Parameters
    ----------
    templates : ndarray, shape (classes, …)
        In the model's own input space, so that another scale or order of channels gives wrong answers.
    """
    flat = templates.reshape(len(templates), -1).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", [name], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"]),
    ]
    weights = {"w": flat.T.copy(), "b": -(flat**2).sum(axis=1) / 2}
    return save(nodes, weights, {name: shape}, {"scores": (shape[0], len(templates))}, path)


def save(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    path: Path,
    *,
    ids: Sequence[str] = (),
) -> Path:
    """Write a float model; the inputs of `ids` are int64."""

    def value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        dtype = TensorProto.INT64 if name in ids else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, dtype, list(shape))

    graph = helper.make_graph(
        list(nodes),
        "planted",
        [value(name, shape) for name, shape in inputs.items()],
        [value(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
