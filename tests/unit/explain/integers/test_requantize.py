"""Rounding that is left out of a quantized file."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from harness.explain.files.graph import Graph
from harness.explain.integers.requantize import unrounded


@pytest.mark.parametrize("is_output", [True, False])
def test_rounding_is_left_out_where_its_result_is_an_output_of_the_file_too(is_output: bool) -> None:
    """The range stays, also where no other node reads the dequantized value."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["y" if is_output else "real"]),
    ]
    nodes += [] if is_output else [helper.make_node("Neg", ["real"], ["y"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    constants = [
        numpy_helper.from_array(np.float32(2.0), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "rounded", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    changed = copy.deepcopy(model)
    unrounded(Graph(model), changed, model.graph.node[0])
    onnx.checker.check_model(changed, full_check=True)
    x = np.array([-3.0, 0.3, 7.1, 600.0], np.float32)
    (y,) = ReferenceEvaluator(changed).run(None, {"x": x})
    np.testing.assert_array_equal(y, np.clip(x, 0, 510) * (1 if is_output else -1))
