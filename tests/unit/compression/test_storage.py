"""Packed weights: what they stand for, that runtimes fold them, and that they come back dense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.export import export_tflite
from harness.compression.storage import Packed, expand, from_blocks, from_codebook, from_half, store

from .graphs import graph, run_onnx, run_tflite

Array = np.ndarray[Any, Any]


def matmul(weights: Array) -> onnx.ModelProto:
    return canonicalise(
        graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", len(weights)]})
    )


def packed_weight(model: onnx.ModelProto) -> Array:
    """The weight as ONNX Runtime makes it: identity in, weight out."""
    rows = next(v for v in model.graph.input).type.tensor_type.shape.dim[1].dim_value
    return run_onnx(model, {"x": np.eye(rows, dtype=np.float32)})["y"]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_codebook_stands_for_its_values(k: int, rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    codebook = random.standard_normal(k).astype(np.float32)
    indices = random.integers(0, k, (rows, columns))
    model = store(matmul(np.ones((rows, columns), np.float32)), {"w": from_codebook("w", codebook, indices)})
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(packed_weight(model), codebook[indices])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([4, 8]), st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(0, 1))
def test_blocks_stand_for_their_values(bits: int, rows: int, columns: int, block: int, axis: int) -> None:
    random = np.random.default_rng(rows)
    filters, length = (rows, columns) if axis == 0 else (columns, rows)
    largest = 2 ** (bits - 1)
    integers = random.integers(-largest, largest, (filters, -(-length // block), block))
    scales = random.uniform(0.5, 2, (*integers.shape[:2], 1)).astype(np.float32)
    packed = from_blocks("w", integers, scales, (rows, columns), axis, bits)
    model = store(matmul(np.ones((rows, columns), np.float32)), {"w": packed})
    onnx.checker.check_model(model, full_check=True)
    expected = (integers.astype(np.float32) * scales).reshape(filters, -1)[:, :length]
    np.testing.assert_array_equal(packed_weight(model), expected if axis == 0 else expected.T)


def conv_forms() -> list[Packed]:
    random = np.random.default_rng(0)
    codebook = random.standard_normal(16).astype(np.float32)
    integers, scales = random.integers(-7, 8, (6, 2, 32)), np.ones((6, 2, 1), np.float32)
    half = random.standard_normal((6, 5, 3, 3)).astype(np.float32)
    return [
        from_codebook("w", codebook, random.integers(0, 16, (6, 5, 3, 3))),
        from_blocks("w", integers, scales, (6, 5, 3, 3), 0, 4),
        from_half("w", half),
        from_codebook("w", codebook[:3], random.integers(0, 3, (6, 5, 3, 3))),
        from_codebook("w", codebook[:2], random.integers(0, 2, (6, 5, 3, 3))),
    ]


@pytest.fixture(params=range(5), ids=["codebook", "blocks", "half", "three values", "two values"])
def packed_conv(request: pytest.FixtureRequest) -> onnx.ModelProto:
    weights = np.ones((6, 5, 3, 3), np.float32)
    nodes = [node("Conv", ["x", "w"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["y"])]
    model = canonicalise(graph(nodes, {"w": weights}, {"x": ["n", 5, 8, 8]}))
    return store(model, {"w": conv_forms()[request.param]})


def test_onnx_runtime_folds_at_load(packed_conv: onnx.ModelProto, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    ort.InferenceSession(packed_conv.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert {n.op_type for n in onnx.load(tmp_path / "folded.onnx").graph.node} == {"Conv", "Relu"}


def test_openvino_folds_at_load(packed_conv: onnx.ModelProto) -> None:
    core = ov.Core()
    source = core.read_model(packed_conv.SerializeToString(), b"")
    compiled = core.compile_model(source, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    left = {op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops()}
    assert left <= {"Input", "Const", "Convolution", "Reorder", "Output"}


def test_expanded_and_exported_weights_are_the_same(packed_conv: onnx.ModelProto) -> None:
    before = packed_conv.SerializeToString()
    dense = expand(packed_conv)
    assert packed_conv.SerializeToString() == before
    assert [n.op_type for n in dense.graph.node] == ["Conv", "Relu"]
    assert list(initializers(dense)) == ["w"]
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 5, 8, 8)).astype(np.float32)}
    expected = run_onnx(packed_conv, feeds)["y"]
    np.testing.assert_array_equal(run_onnx(dense, feeds)["y"], expected)
    exported = run_tflite(export_tflite(packed_conv, name="m"), feeds)["y"]
    np.testing.assert_allclose(exported, expected, rtol=1e-5, atol=1e-4)


def test_dense_model_expands_to_itself() -> None:
    model = matmul(np.ones((2, 3), np.float32))
    assert expand(model) is model


def test_two_and_four_values_take_one_and_two_bits() -> None:
    random = np.random.default_rng(0)
    weigh = {
        k: from_codebook("w", np.arange(k, dtype=np.float32), random.integers(0, k, (64, 500))).byte_size
        for k in (2, 3, 4, 5, 16)
    }
    assert weigh[5] == pytest.approx(64 * 500 / 2, rel=0.05)
    assert weigh[3] == pytest.approx(64 * 500 / 4, rel=0.1)
    assert weigh[4] == pytest.approx(64 * 500 / 4, rel=0.1)
    assert weigh[2] == pytest.approx(64 * 500 / 8, rel=0.2)
