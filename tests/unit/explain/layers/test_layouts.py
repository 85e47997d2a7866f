"""Channels last against channels first, where every extent is the same: the values tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files


def cube() -> onnx.ModelProto:
    """A convolution with 12 channels of 12 x 12."""
    random = np.random.default_rng(0)
    arrays = {"w": random.normal(0, 0.2, (12, 3, 3, 3)), "fc": random.normal(0, 0.3, (12, 6))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["d"], name="flat"),
        helper.make_node("MatMul", ["d", "fc"], ["scores"], name="product"),
    ]
    graph = helper.make_graph(
        nodes, "cube",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    return canonicalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"), cube())


@pytest.mark.parametrize("is_tflite_first", [True, False])
def test_no_layer_differs_whichever_side_has_channels_last(files: Files, is_tflite_first: bool) -> None:
    lite = files.side(export_tflite(files.float32, name="cube").data, "tflite")
    artifact = replace(lite.artifact, variant="float32", precision="")
    lite = replace(lite, variant="float32", artifact=artifact)
    sides = [lite, files.side(files.float32)]
    scene = files.scene(*(sides if is_tflite_first else sides[::-1]))
    rows = {row.point.layer: row.accumulated.relative for row in scene.table}
    assert "conv" in rows
    assert max(rows.values()) < 1e-5
