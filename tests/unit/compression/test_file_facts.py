"""What ONNX files say of their integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node as node

from harness.compression.file_facts import onnx_facts
from harness.compression.model_file import inspect_onnx
from harness.core.artifact import Quantization

IN, OUT = Quantization(0.5, 3), Quantization(0.25, 7)
CONSTANTS = {
    "s": np.float32(0.5), "z": np.uint8(3), "t": np.float32(0.25), "u": np.uint8(7),
    "w": np.ones((2, 2), np.uint8), "z16": np.uint16(3), "channels": np.ones(2, np.float32),
}  # fmt: skip


def model(nodes: list[Any], x: int, y: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", x, ["N", 2])], [helper.make_tensor_value_info("y", y, ["N", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
QUANTIZE = node("QuantizeLinear", ["x", "s", "z"], ["q"])
QUANTIZE_16 = node("QuantizeLinear", ["x", "s", "z16"], ["q"])
DEQUANTIZE = node("DequantizeLinear", ["q", "s", "z"], ["y"])
MATMUL = node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "t", "u"], ["q"])


@pytest.mark.parametrize(
    ("nodes", "x", "y", "inputs", "outputs", "last", "precision"),
    [
        ([node("Relu", ["x"], ["y"])], FLOAT, FLOAT, None, None, None, ""),
        ([QUANTIZE, DEQUANTIZE], FLOAT, FLOAT, None, None, IN, "int8"),
        ([MATMUL, node("Identity", ["q"], ["y"])], UINT8, UINT8, IN, OUT, OUT, "int8"),
        ([MATMUL, node("DequantizeLinear", ["q", "t", "u"], ["y"])], UINT8, FLOAT, IN, None, OUT, "int8"),
        ([node("DequantizeLinear", ["x", "s", "z"], ["y"])], UINT8, FLOAT, IN, None, None, ""),
        # Pixels that are cast are integers, not codes.
        ([node("Cast", ["x"], ["y"], to=FLOAT)], UINT8, FLOAT, None, None, None, ""),
        ([QUANTIZE_16, DEQUANTIZE], FLOAT, FLOAT, None, None, IN, "int16"),
        ([node("DequantizeLinear", ["x", "channels", "z"], ["y"])], UINT8, FLOAT, None, None, None, ""),
    ],
)  # fmt: skip
def test_steps_and_precision(
    nodes: list[Any], x: int, y: int, inputs: Quantization | None, outputs: Quantization | None,
    last: Quantization | None, precision: str,
) -> None:  # fmt: skip
    made = model(nodes, x, y)
    facts = onnx_facts(made)
    assert (facts.quantization.get("x"), facts.quantization.get("y")) == (inputs, outputs)
    if last is not None:
        assert facts.output_quantization == {"y": last}
    assert facts.precision == precision
    info = inspect_onnx(made)
    assert (info.inputs[0].quantization, info.outputs[0].quantization) == (inputs, outputs)
