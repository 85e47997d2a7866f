"""ONNX detectors that return given outputs: an image names its row of them in its first pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.detectors import SIZE

_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def model(path: Path, outputs: Any, rows: Any = None) -> Path:
    """Write a model that looks its outputs up.

    Parameters
    ----------
    outputs : mapping of str to ndarray, shape (n, …)
        Of each image.
    rows : sequence of int, optional
        How many rows of every output an image has, so that outputs have no axis of samples; default: all, and
        such an axis.
    """
    constants, nodes, values = {"where": np.array([0, 0, 0, 0]), "stop": np.array([1, 1, 1, 1])}, [], []
    first = "image"
    nodes += [
        helper.make_node("Slice", [first, "where", "last", "axes"], ["pixel"], "pixel"),
        helper.make_node("Reshape", ["pixel", "flat"], ["number"], "number"),
        helper.make_node("Cast", ["number"], ["index"], "index", to=TensorProto.INT64),
        helper.make_node("Min", ["index", "highest"], ["row"], "row"),
    ]
    count = len(next(iter(outputs.values())))
    constants |= {
        "where": np.array([0, 0, 0]), "last": np.array([1, 1, 1]), "axes": np.array([1, 2, 3]),
        "flat": np.array([-1]), "highest": np.array([count - 1]), "zero": np.array([0]),
    }  # fmt: skip
    constants.pop("stop")
    if rows is not None:
        constants["counts"] = np.array(rows)
        nodes.append(helper.make_node("Gather", ["counts", "row"], ["count"], "count"))
    for name, y in outputs.items():
        constants[f"{name}.table"] = y
        whole = f"{name}.all" if rows is not None else name
        nodes.append(helper.make_node("Gather", [f"{name}.table", "row"], [whole], f"{name}.gather", axis=0))
        shape = ["n", *y.shape[1:]]
        if rows is not None:
            nodes += [
                helper.make_node("Squeeze", [whole, "zero"], [f"{name}.one"], f"{name}.squeeze"),
                helper.make_node("Slice", [f"{name}.one", "zero", "count", "zero"], [name], f"{name}.slice"),
            ]
            shape = ["k", *y.shape[2:]]
        values.append(helper.make_tensor_value_info(name, _TYPES[y.dtype.name], shape))
    image = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, [1 if rows is not None else "n", 3, *SIZE]
    )
    graph = helper.make_graph(
        nodes, "lookup", [image], values,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, path)
    return path


def images(folder: Path, corners: Any, classes: Any, names: Any = ("a", "b", "c")) -> Path:
    """Write images and COCO labels of them; return the file of the labels."""
    (folder / "images").mkdir()
    rng, annotations = np.random.default_rng(0), []
    for number, (boxes, of_class) in enumerate(zip(corners, classes, strict=True)):
        pixels = rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(folder / "images" / f"{number:03}.png")
        for (x0, y0, x1, y1), class_ in zip(boxes.tolist(), of_class.tolist(), strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": class_,
                 "bbox": [x0, y0, x1 - x0, y1 - y0]}
            )  # fmt: skip
    table = {
        "images": [{"id": n, "file_name": f"{n:03}.png"} for n in range(len(corners))],
        "annotations": annotations, "categories": [{"id": c, "name": name} for c, name in enumerate(names)],
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(table))
    return folder / "labels.json"
