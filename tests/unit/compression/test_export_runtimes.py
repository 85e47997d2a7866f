"""What the file says of itself, what the writer refuses, and the form for tflite-runtime 2.14."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite, float_layers
from harness.compression.quantize import quantize
from harness.core.errors import UnsupportedOperator, UsageError

from . import test_export_shaping
from .compression_graphs import Dims, Pattern, calibration, run_openvino
from .graphs import feeds_on_grid, graph, residual_cnn, run_onnx, run_tflite

DIMS = Dims(2, 2, 5, 5, 0)


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    return quantize(model, calibration(Pattern(lambda _: model), model, 0), {}).model


@pytest.fixture(scope="module")
def int8() -> onnx.ModelProto:
    return quantized(canonicalise(residual_cnn(0)))


@pytest.mark.xfail(strict=True, reason="OpenVINO 2026.4.1, CPU, int8: see openvino_wrong of the pattern")
@pytest.mark.parametrize("pattern", [test_export_shaping.pattern["concat_of_convs"]], ids=["concat_of_convs"])
def test_openvino_is_near_in_int8(pattern: Pattern) -> None:
    result = quantize(model := canonicalise(pattern.build(DIMS)), calibration(pattern, model, 0), {})
    feeds = feeds_on_grid(result.model, np.random.default_rng([0, 2]), batch=3)
    step = result.report["output_quantization"]["y"]["scale"]
    difference = run_openvino(result.model, feeds)["y"] - run_onnx(result.model, feeds)["y"]
    assert np.abs(difference / step).max() <= 10


def test_for_214_a_product_with_channel_scales_is_a_convolution_of_the_same_integers(
    int8: onnx.ModelProto,
) -> None:
    newest, older = (export_tflite(int8, name="cnn", runtime=r) for r in ("litert", "tflite-2.14"))
    assert "FULLY_CONNECTED" in {op.kind for op in newest.operators}
    codes = schema.ModelT.InitFromPackedBuf(older.data, 0).operatorCodes
    assert schema.BuiltinOperator.FULLY_CONNECTED not in {code.builtinCode for code in codes}
    feeds = feeds_on_grid(int8, np.random.default_rng(0), batch=8)
    expected = run_onnx(int8, feeds)["y"]
    for export in (newest, older):
        np.testing.assert_array_equal(run_tflite(export, feeds)["y"], expected)


def test_for_214_sequences_keep_their_axes() -> None:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    model = graph(nodes, {"w": DIMS.weights(4, 3), "b": DIMS.weights(3)}, {"x": ["n", 5, 4]})
    model = quantized(canonicalise(model))
    export = export_tflite(model, name="sequence", runtime="tflite-2.14")
    feeds = feeds_on_grid(model, np.random.default_rng(0), batch=3)
    np.testing.assert_array_equal(run_tflite(export, feeds)["y"], run_onnx(model, feeds)["y"])


@pytest.mark.full
@pytest.mark.skipif(
    "TFLITE_RUNTIME_PYTHON" not in os.environ, reason="needs a Python with tflite-runtime 2.14"
)
def test_214_itself_runs_it(int8: onnx.ModelProto, tmp_path: Path) -> None:
    export = export_tflite(int8, name="cnn", runtime="tflite-2.14")
    feeds = feeds_on_grid(int8, np.random.default_rng(0), batch=8)
    (tmp_path / "m.tflite").write_bytes(export.data)
    np.save(tmp_path / "x.npy", np.ascontiguousarray(feeds["x"].transpose(0, 2, 3, 1)))
    code = (
        "import numpy as np; from tflite_runtime.interpreter import Interpreter as I;"
        "r = I('m.tflite').get_signature_runner(); np.save('y.npy', r(x=np.load('x.npy'))['y'])"
    )
    subprocess.run([os.environ["TFLITE_RUNTIME_PYTHON"], "-c", code], cwd=tmp_path, check=True)
    step = schema.ModelT.InitFromPackedBuf(export.data, 0)
    graph_ = step.subgraphs[0]
    scale = graph_.tensors[graph_.operators[-1].inputs[0]].quantization.scale[0]
    difference = (np.load(tmp_path / "y.npy") - run_onnx(int8, feeds)["y"]) / scale
    assert np.abs(np.rint(difference)).max() <= 2  # its kernels round without XNNPACK


def test_unknown_runtime_names_the_known_ones(int8: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match=r"(?s)tflite-2\.13.*tflite-2\.14"):
        export_tflite(int8, name="cnn", runtime="tflite-2.13")  # type: ignore[arg-type]


def test_layers_in_float_are_named(int8: onnx.ModelProto) -> None:
    assert float_layers(export_tflite(int8, name="cnn")) == ()
    nodes = [node("Gemm", ["x", "w"], ["g"], name="first"), node("Erf", ["g"], ["e"], name="odd")]
    nodes.append(node("Gemm", ["e", "w"], ["y"], name="last"))
    model = quantized(canonicalise(graph(nodes, {"w": np.eye(4, dtype=np.float32)}, {"x": ["n", 4]})))
    assert float_layers(export_tflite(model, name="odd")) == ("odd",)


def test_softmax_on_scales_that_tflite_lacks_runs_in_float() -> None:
    nodes = [node("Gemm", ["x", "w"], ["g"]), node("Softmax", ["g"], ["s"], name="soft")]
    nodes.append(node("Gemm", ["s", "w"], ["y"]))
    model = quantized(canonicalise(graph(nodes, {"w": np.eye(4, dtype=np.float32)}, {"x": ["n", 4]})))
    assert float_layers(export_tflite(model, name="soft")) == ()
    for tensor in model.graph.initializer:
        if tensor.name == "s_scale":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(1 / 200, np.float32), "s_scale"))
    export = export_tflite(model, name="soft")
    assert float_layers(export) == ("soft",)
    feeds = feeds_on_grid(model, np.random.default_rng(0), batch=8)
    step = export_scale(model)
    difference = (run_tflite(export, feeds)["y"] - run_onnx(model, feeds)["y"]) / step
    assert np.abs(np.rint(difference)).max() <= 1


def export_scale(model: onnx.ModelProto) -> float:
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    (last,) = [n for n in model.graph.node if n.output[0] == "y"]
    return float(constants[last.input[1]])


RESIZE = {"s": np.array([1, 1, 2, 2], np.float32)}
WEIGHTS = {"w": np.ones((1, 8, 2), np.float32), "r": np.ones((1, 8, 2), np.float32)}


@pytest.mark.parametrize(
    ("made", "constants", "inputs", "word"),
    [
        (node("Resize", ["x", "", "s"], ["y"], mode="cubic"), RESIZE, {"x": [1, 1, 4, 4]}, "cubic"),
        (
            node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="align_corners"),
            RESIZE,
            {"x": [1, 1, 4, 4]},
            None,
        ),
        (node("Resize", ["x", "", "s"], ["y"]), RESIZE, {"x": [1, 1, "h", 4]}, "dynamic extent"),
        (
            node("Resize", ["x", "", "s"], ["y"], nearest_mode="floor"),
            RESIZE,
            {"x": [1, 1, 8, 8]},
            "no TFLite mode reads",
        ),
        (node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2), WEIGHTS, {"x": [65, 1, 2]}, "65 steps"),
        (node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2), WEIGHTS, {"x": ["t", 1, 2]}, "dynamic number"),
        (
            node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2, clip=1.0),
            WEIGHTS,
            {"x": [3, 1, 2]},
            "no clip",
        ),
        (
            node("Pad", ["x", "p"], ["y"], mode="edge"),
            {"p": np.array([0, 2, 0, 0])},
            {"x": [2, 3]},
            "mode 'edge'",
        ),
        (node("Pad", ["x", "p"], ["y"]), {"p": np.array([0, -1, 0, 0])}, {"x": [2, 3]}, "negative widths"),
        (node("PRelu", ["x", "z"], ["y"]), {}, {"x": [2, 3], "z": [2, 3]}, "slope"),
        (node("Elu", ["x"], ["y"], alpha=0.5), {}, {"x": [2, 3]}, "alpha"),
        (
            node("ConvTranspose", ["x", "w"], ["y"], group=2),
            {"w": np.ones((2, 1, 2, 2), np.float32)},
            {"x": [1, 2, 3, 3]},
            "one group",
        ),
    ],
)  # fmt: skip
def test_operator_without_a_tflite_form_is_refused_with_the_reason(
    made: onnx.NodeProto,
    constants: dict[str, np.ndarray],
    inputs: dict[str, list[int | str]],
    word: str | None,
) -> None:
    model = graph([made], constants, inputs)
    if word is None:
        export_tflite(model, name="held")
        return
    with pytest.raises(UnsupportedOperator, match=word):
        export_tflite(model, name="odd")


def test_plain_cnn_needs_no_transpose(int8: onnx.ModelProto) -> None:
    for model in (int8, canonicalise(residual_cnn(0))):
        assert "TRANSPOSE" not in {op.kind for op in export_tflite(model, name="cnn").operators}
