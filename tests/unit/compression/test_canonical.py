"""The canonical form: what it promises, and what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.helper import make_node as node

from harness.compression import canonical
from harness.compression.canonical import canonicalise, initializers, random_feeds
from harness.core.errors import ModelError

from .graphs import graph, residual_cnn, run_onnx

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.standard_normal((4, 3)).astype(np.float32)


def old_model() -> onnx.ModelProto:
    """A model of the year 2018: opset 8, IR 3, weights among the inputs, a bias of two axes."""
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    constants = {"w": WEIGHTS.T.copy(), "b": np.ones((1, 4), np.float32)}
    model = graph(nodes, constants, {"x": [1, 3]}, opset=8)
    model.ir_version = 3
    for name, value in constants.items():
        model.graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape))
    return model


def test_old_model_is_lifted_and_its_weights_are_constants() -> None:
    result = canonicalise(old_model())
    assert [value.name for value in result.graph.input] == ["x"]
    assert [(o.domain, o.version) for o in result.opset_import] == [("", 17)]
    x = RANDOM.standard_normal((1, 3)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(result, {"x": x})["y"], x @ WEIGHTS.T + 1, rtol=1e-5)


def test_matmul_and_add_become_one_gemm_with_rows_of_outputs() -> None:
    result = canonicalise(old_model())
    (gemm,) = result.graph.node
    constants = initializers(result)
    assert gemm.op_type == "Gemm"
    np.testing.assert_array_equal(constants[gemm.input[1]], WEIGHTS)
    np.testing.assert_array_equal(constants[gemm.input[2]], np.ones(4))


def test_gemm_factors_go_into_the_weights() -> None:
    gemm = node("Gemm", ["x", "w", "b"], ["y"], alpha=2.0, beta=3.0, transB=1)
    model = graph([gemm], {"w": WEIGHTS, "b": np.float32(1)}, {"x": ["n", 3]})
    result = canonicalise(model)
    assert {a.name for a in result.graph.node[0].attribute} == {"transB"}
    x = RANDOM.standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(result, {"x": x})["y"], 2 * x @ WEIGHTS.T + 3, rtol=1e-5)


def test_batch_normalization_behind_a_convolution_is_folded() -> None:
    result = canonicalise(residual_cnn(0))
    assert {n.op_type for n in result.graph.node} == {
        "Conv",
        "Relu",
        "Add",
        "GlobalAveragePool",
        "Flatten",
        "Gemm",
    }
    feeds = random_feeds(result, extent=2)
    expected = run_onnx(residual_cnn(0), feeds)["y"]
    np.testing.assert_allclose(run_onnx(result, feeds)["y"], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [["n", 3], ["n", 3, 5], ["n", 3, 5, 5]])
def test_batch_normalization_of_its_own_becomes_mul_and_add(shape: list[int | str]) -> None:
    parts = {
        "gamma": WEIGHTS[0] + 2,
        "beta": WEIGHTS[1],
        "mean": WEIGHTS[2],
        "variance": WEIGHTS[3] ** 2 + 0.1,
    }
    model = graph([node("BatchNormalization", ["x", *parts], ["y"], epsilon=0.01)], parts, {"x": shape})
    result = canonicalise(model)
    assert [n.op_type for n in result.graph.node] == ["Mul", "Add"]
    x = RANDOM.standard_normal([2 if n == "n" else n for n in shape]).astype(np.float32)
    g, b, m, v = (value.reshape(3, *[1] * (x.ndim - 2)) for value in parts.values())
    expected = (x - m) / np.sqrt(v + 0.01) * g + b
    np.testing.assert_allclose(run_onnx(result, {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)


def test_dynamic_batch_stays_and_the_given_model_too() -> None:
    model = residual_cnn(0)
    before = model.SerializeToString()
    result = canonicalise(model)
    assert model.SerializeToString() == before
    assert result.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_nodes_have_names_and_only_standard_operators() -> None:
    result = canonicalise(residual_cnn(0))
    names = [n.name for n in result.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert {n.domain for n in result.graph.node} <= {"", "ai.onnx"}


def test_same_model_gives_same_bytes_and_twice_is_once() -> None:
    once = canonicalise(residual_cnn(0))
    assert canonicalise(residual_cnn(0)).SerializeToString() == once.SerializeToString()
    assert canonicalise(once).SerializeToString() == once.SerializeToString()


def test_invalid_model_is_refused() -> None:
    model = graph([node("Relu", ["x"], ["y"])], {}, {"x": [1]})
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ModelError, match="not valid ONNX"):
        canonicalise(model)


def test_custom_operator_is_refused() -> None:
    model = graph([node("Relu", ["x"], ["y"])], {}, {"x": [1]})
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(ModelError, match="cannot open"):
        canonicalise(model)


def test_folding_that_changes_the_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = canonical._optimise

    def faulty(model: onnx.ModelProto) -> onnx.ModelProto:
        result = honest(model)
        weights = numpy_helper.to_array(result.graph.initializer[0])
        result.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights * np.float32(1.001), "w"))
        return result

    monkeypatch.setattr(canonical, "_optimise", faulty)
    model = graph([node("MatMul", ["x", "w"], ["y"])], {"w": WEIGHTS.T.copy()}, {"x": ["n", 3]})
    with pytest.raises(ModelError, match="folding changed output 'y'"):
        canonicalise(model)


def test_dynamic_axis_that_the_model_restricts_is_reported() -> None:
    model = graph([node("Reshape", ["x", "s"], ["y"])], {"s": np.array([3, 7])}, {"x": ["n", "m"]})
    with pytest.raises(ModelError, match=r"(?s)does not run.*\[shapes\]"):
        canonicalise(model)


def test_batch_of_one_that_is_only_declared_dynamic_is_taken() -> None:
    reshape = node("Reshape", ["x", "s"], ["y"])
    result = canonicalise(graph([reshape], {"s": np.array([1, 6])}, {"x": ["n", 2, 3]}))
    assert numpy_helper.to_array(result.graph.initializer[0]).tolist() == [1, 6]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_keep_their_type(dtype: str) -> None:
    gemm = node("Gemm", ["x", "w", "b"], ["y"], alpha=2.0, beta=3.0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = helper.make_graph(
        [gemm], "g", [helper.make_tensor_value_info("x", kind, ["n", 3])],
        [helper.make_tensor_value_info("y", kind, ["n", 4])],
        [numpy_helper.from_array(v.astype(dtype), k) for k, v in (("w", WEIGHTS.T), ("b", WEIGHTS[:, 0]))],
    )  # fmt: skip
    result = canonicalise(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert {value.dtype.name for value in initializers(result).values()} == {dtype}
    x = RANDOM.standard_normal((2, 3)).astype(dtype)
    expected = 2 * x.astype(float) @ WEIGHTS.T + 3 * WEIGHTS[:, 0]
    np.testing.assert_allclose(run_onnx(result, {"x": x})["y"], expected, rtol=1e-2, atol=1e-2)


def test_a_newer_ir_version_is_no_obstacle() -> None:
    model = old_model()
    model.ir_version = onnx.IR_VERSION + 1
    assert canonicalise(model).graph.node[0].op_type == "Gemm"


def test_an_exception_of_a_library_is_a_refusal_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    model = old_model()
    monkeypatch.setattr(canonical.shape_inference, "infer_shapes", fail)
    with pytest.raises(ModelError, match="has no canonical form: RuntimeError: planted"):
        canonicalise(model)
