"""The TFLite file as a whole: structure, delegation, layouts, errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise
from harness.compression.export import TfliteExport, export_tflite
from harness.compression.passes import PassResult
from harness.compression.quantize import quantize
from harness.core.errors import ModelError, TargetUnavailable, UnsupportedOperator

from .graphs import graph, residual_cnn, run_onnx, run_tflite

WEIGHTS = np.ones((2, 1, 3, 3), np.float32)
PIXELS = (np.arange(256, dtype=np.float32) / np.float32(255) - np.float32(0.2)) / np.float32(0.4)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Images of 8-bit pixels, normalised, shape (64, 1, 16, 16)."""
    random = np.random.default_rng(0)
    return PIXELS[random.integers(0, 256, (64, 1, 16, 16))]


@pytest.fixture(scope="module")
def int8(images: np.ndarray) -> PassResult:
    return quantize(canonicalise(residual_cnn(0)), ({"x": image[None]} for image in images[:16]), {})


def parsed(export: TfliteExport) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(export.data, 0)


def test_residual_cnn_is_bit_exact_in_int8(int8: PassResult, images: np.ndarray) -> None:
    expected = run_onnx(int8.model, {"x": images})["y"]
    actual = run_tflite(export_tflite(int8.model, name="cnn"), {"x": images})["y"]
    assert len(np.unique(expected)) > 50
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("contrast", [0.25, 0.4, 0.5, 0.75])
def test_input_is_quantized_alike_at_any_contrast(contrast: float) -> None:
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1])
    model = canonicalise(graph([pool], {}, {"x": ["n", 1, 16, 16]}))
    ramp = PIXELS.reshape(1, 1, 16, 16)
    result = quantize(model, [{"x": ramp}], {})
    feeds = {
        "x": ((ramp * np.float32(0.4) + np.float32(0.2)) * np.float32(contrast) - np.float32(0.2))
        / np.float32(0.4)
    }
    actual = run_tflite(export_tflite(result.model, name="pool"), feeds)["y"]
    np.testing.assert_array_equal(actual, run_onnx(result.model, feeds)["y"])


def test_int8_file_is_integer_between_its_borders(int8: PassResult) -> None:
    kinds = [(op.kind, op.dtype) for op in export_tflite(int8.model, name="cnn").operators]
    assert kinds[0] == ("QUANTIZE", "float32")
    assert kinds[-1] == ("DEQUANTIZE", "int8")
    assert {dtype for _, dtype in kinds[1:]} == {"int8"}
    assert ("DEPTHWISE_CONV_2D", "int8") in kinds
    assert "TRANSPOSE" not in dict(kinds)


def test_xnnpack_takes_the_whole_file(int8: PassResult) -> None:
    for model in (int8.model, canonicalise(residual_cnn(0))):
        interpreter = Interpreter(model_content=export_tflite(model, name="cnn").data, num_threads=1)
        interpreter.allocate_tensors()
        delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        assert len(delegates) == 1
        assert interpreter.get_input_details()[0]["index"] in delegates[0]["inputs"]
        assert interpreter.get_output_details()[0]["index"] in delegates[0]["outputs"]


def test_file_says_what_it_is(int8: PassResult) -> None:
    export = export_tflite(int8.model, name="cnn")
    assert export.data[4:8] == b"TFL3"
    model = parsed(export)
    assert model.description == b"cnn"
    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"serving_default"
    subgraph = model.subgraphs[0]
    for entries, indices, name in (
        (signature.inputs, subgraph.inputs, b"x"),
        (signature.outputs, subgraph.outputs, b"y"),
    ):
        (entry,) = entries
        assert entry.name == name == subgraph.tensors[indices[0]].name
        assert entry.tensorIndex == indices[0]
    assert list(subgraph.tensors[subgraph.inputs[0]].shapeSignature) == [-1, 16, 16, 1]
    assert export.input_permutation == {"x": (0, 2, 3, 1)}
    assert export.output_permutation == {}


def test_int8_weights_have_one_scale_a_channel_along_the_right_axis(int8: PassResult) -> None:
    model = parsed(export_tflite(int8.model, name="cnn"))
    codes = [code.builtinCode for code in model.operatorCodes]
    tensors = model.subgraphs[0].tensors
    checked = set()
    for operator in model.subgraphs[0].operators:
        kind = codes[operator.opcodeIndex]
        axis = {
            schema.BuiltinOperator.CONV_2D: 0,
            schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
            schema.BuiltinOperator.FULLY_CONNECTED: 0,
        }.get(kind)
        if axis is None:
            continue
        source, weights, bias = (tensors[i] for i in operator.inputs)
        assert weights.quantization.quantizedDimension == axis
        assert len(weights.quantization.scale) == weights.shape[axis] == len(bias.quantization.scale)
        expected = np.float32(source.quantization.scale[0]) * weights.quantization.scale
        np.testing.assert_allclose(bias.quantization.scale, expected, rtol=1e-6)
        assert bias.type == schema.TensorType.INT32
        checked.add(kind)
    assert len(checked) == 3


def test_per_channel_fully_connected_has_version_12(int8: PassResult) -> None:
    codes = parsed(export_tflite(int8.model, name="cnn")).operatorCodes
    versions = {code.builtinCode: code.version for code in codes}
    assert versions[schema.BuiltinOperator.FULLY_CONNECTED] == 12


def test_constants_are_aligned_to_16_bytes(int8: PassResult) -> None:
    data = export_tflite(int8.model, name="cnn").data
    model = schema.Model.GetRootAs(data)
    start = np.frombuffer(data, np.uint8).ctypes.data
    filled = [model.Buffers(i).DataAsNumpy() for i in range(1, model.BuffersLength())]
    assert filled
    assert all((buffer.ctypes.data - start) % 16 == 0 for buffer in filled)


def test_same_model_gives_same_bytes(int8: PassResult) -> None:
    assert export_tflite(int8.model, name="cnn").data == export_tflite(int8.model, name="cnn").data


def test_image_output_is_reported_as_channels_last() -> None:
    conv = node("Conv", ["x", "w"], ["y"])
    export = export_tflite(canonicalise(graph([conv], {"w": WEIGHTS}, {"x": [1, 1, 5, 5]})), name="conv")
    assert export.output_permutation == {"y": (0, 2, 3, 1)}


def test_image_that_no_convolution_reads_keeps_its_order() -> None:
    model = canonicalise(graph([node("Relu", ["x"], ["y"])], {}, {"x": [1, 2, 3, 4]}))
    export = export_tflite(model, name="relu")
    assert (export.input_permutation, export.output_permutation) == ({}, {})


def test_float_operator_between_integer_ones_is_reported() -> None:
    """A model of another quantizer that left a Softmax in float: its neighbours stay integer."""
    nodes = [node("Gemm", ["x", "w"], ["g"], transB=1), node("Softmax", ["g"], ["y"])]
    weights = np.eye(4, dtype=np.float32)
    model = canonicalise(graph(nodes, {"w": weights}, {"x": ["n", 4]}))
    random = np.random.default_rng(0)
    quantized = quantize(model, [{"x": random.standard_normal((8, 4)).astype(np.float32)}], {}).model
    last = [n for n in quantized.graph.node if n.output[0] == "y" or n.op_type == "Softmax"]
    softmax = next(n for n in last if n.op_type == "Softmax")
    for extra in [n for n in quantized.graph.node if n.name.startswith("y_")]:
        quantized.graph.node.remove(extra)
    softmax.output[0] = "y"
    export = export_tflite(quantized, name="mixed")
    assert [(op.kind, op.dtype) for op in export.operators][-2:] == [
        ("DEQUANTIZE", "int8"),
        ("SOFTMAX", "float32"),
    ]
    feeds = {"x": random.standard_normal((5, 4)).astype(np.float32)}
    np.testing.assert_allclose(run_tflite(export, feeds)["y"], run_onnx(quantized, feeds)["y"], rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Hardmax", ["x"], ["y"], name="odd")], ["Hardmax", "odd", "prebuilt", "onnxruntime"]),
        (
            [
                node(
                    "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, name="odd"
                )
            ],
            ["AveragePool", "odd", "SAME"],
        ),
        (
            [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2], name="odd")],
            ["dilations", "odd"],
        ),
        ([node("Conv", ["x", "x"], ["y"], name="odd")], ["Conv", "constant weights"]),
    ],
    ids=["unknown", "padding", "dilated-pool", "computed-weights"],
)
def test_unsupported_operator_is_named_with_the_alternatives(
    nodes: list[onnx.NodeProto], words: list[str]
) -> None:
    model = graph(nodes, {}, {"x": [1, 1, 8, 8]})
    with pytest.raises(UnsupportedOperator) as caught:
        export_tflite(model, name="odd")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_custom_operator_is_named() -> None:
    model = graph([node("Relu", ["x"], ["c"]), node("Relu", ["c"], ["y"])], {}, {"x": [1, 4]})
    model.graph.node[1].domain, model.graph.node[1].name = "com.example", "mine"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(UnsupportedOperator, match=r"(?s)com\.example.*mine"):
        export_tflite(model, name="custom")


def test_shapes_that_do_not_fit_are_a_model_error() -> None:
    model = graph([node("Relu", ["x"], ["y"])], {}, {"x": [1, 4]})
    model.graph.node.append(node("MatMul", ["y", "y"], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    with pytest.raises(ModelError, match="shapes"):
        export_tflite(model, name="misfit")


def test_missing_schema_says_how_to_install_it(int8: PassResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(TargetUnavailable, match="pip install"):
        export_tflite(int8.model, name="cnn")


def test_writing_needs_no_interpreter() -> None:
    code = (
        "import sys; from harness.compression.export.schema import load_schema; load_schema(); "
        "print([m for m in sys.modules if 'interpreter' in m or '_pywrap' in m])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
