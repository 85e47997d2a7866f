"""A head that joins boxes in pixels and scores: quantize keeps its end in float, and scores survive."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.compression.canonical import canonicalise
from harness.compression.joined_outputs import joined_outputs
from harness.compression.quantize import quantize


def head(scale: Any, *, transposed: Any = False) -> Any:
    """[1, 3, 4, 4] → two branches of a convolution: 4 values up to `scale`, 2 scores; joined on channels."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(0, 0.5, (8, 3, 3, 3)), "wb": np.abs(rng.normal(0, 0.3, (4, 8, 1, 1))),
        "ws": rng.normal(0, 0.5, (2, 8, 1, 1)), "scale": np.array(scale), "shape": np.array([0, 6, 16]),
    }  # fmt: skip
    dtypes = {"shape": np.int64}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["f"], "relu"),
        helper.make_node("Conv", ["f", "wb"], ["b"], "boxes"),
        helper.make_node("Mul", ["b", "scale"], ["pixels"], "mul"),
        helper.make_node("Conv", ["f", "ws"], ["l"], "logits"),
        helper.make_node("Sigmoid", ["l"], ["s"], "sigmoid"),
        helper.make_node("Concat", ["pixels", "s"], ["joined"], "concat", axis=1),
        helper.make_node("Reshape", ["joined", "shape"], ["y" if not transposed else "flat"], "reshape"),
    ]
    if transposed:
        nodes.append(helper.make_node("Transpose", ["flat"], ["y"], "transpose", perm=[0, 2, 1]))
    graph = helper.make_graph(
        nodes, "head", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 6] if transposed else [1, 6, 16])],
        [numpy_helper.from_array(v.astype(dtypes.get(k, np.float32)), k) for k, v in weights.items()],
    )  # fmt: skip
    return canonicalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


FEEDS = [{"x": x[None]} for x in np.random.default_rng(1).normal(0, 1, (16, 3, 4, 4)).astype(np.float32)]


def scores(model: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    outputs = np.concatenate([session.run(None, feed)[0] for feed in FEEDS])
    return outputs[:, 4:] if outputs.shape[1] == 6 else outputs[..., 4:]


@pytest.mark.parametrize("transposed", [False, True])
def test_scores_beside_pixels_survive_and_the_report_says_why(transposed: Any) -> None:
    model = head(200.0, transposed=transposed)
    result = quantize(model, FEEDS, {})
    np.testing.assert_allclose(scores(result.model), scores(model), atol=0.05)
    (reason,) = [text for node, text in result.report["kept_float"].items() if "concat" in node.lower()]
    assert "would share one scale with" in reason
    assert "of 255 steps" in reason
    assert result.report["float"]["Concat"] == 1
    assert result.report["quantized"]["Conv"] >= 1


def test_branches_of_one_size_share_their_scale_as_before() -> None:
    model = head(0.2)
    assert not joined_outputs(model, {"pixels": (0.0, 1.2), "s": (0.0, 1.0)}).nodes
    result = quantize(model, FEEDS, {})
    assert result.report["quantized"].get("Concat") == 1


def test_only_the_end_of_a_model_stays_in_float() -> None:
    model = head(200.0)
    joined = joined_outputs(model, {"pixels": (0.0, 500.0), "s": (0.0, 1.0)})
    kinds = {node.op_type for node in model.graph.node if node.name in joined.nodes}
    assert kinds == {"Concat", "Reshape", "Sigmoid"}
    (text,) = joined.reasons.values()
    assert text == (
        "its branches would share one scale with pixels, up to 500: s, up to 1, would have 0.5 of 255 steps; "
        "what computes them after the last layers with weights stays in float, too"
    )
    assert not joined_outputs(onnx.ModelProto(), {}).nodes


def middle(factor: Any) -> Any:
    """Two branches of which one is `factor` times as large, joined, and a layer that weighs both alike."""
    rng = np.random.default_rng(0)
    last = rng.normal(0, 0.5, (4, 8, 3, 3))
    last[:, :4] /= factor
    weights = {
        "w": rng.normal(0, 0.5, (8, 3, 3, 3)), "wl": rng.normal(0, 0.5, (4, 8, 1, 1)) * factor,
        "ws": rng.normal(0, 0.5, (4, 8, 1, 1)), "last": last,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["f"], "relu"),
        helper.make_node("Conv", ["f", "wl"], ["large"], "large"),
        helper.make_node("Conv", ["f", "ws"], ["small"], "small"),
        helper.make_node("Concat", ["large", "small"], ["joined"], "concat", axis=1),
        helper.make_node("Relu", ["joined"], ["positive"], "positive"),
        helper.make_node("Conv", ["positive", "last"], ["y"], "last", pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes, "middle", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )  # fmt: skip
    return canonicalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def error_of(model: Any, other: Any) -> Any:
    """Root of the mean square of the difference of all outputs, as a share of the first's."""
    one, two = (
        np.concatenate([session.run(None, feed)[0] for feed in FEEDS])
        for session in (onnxruntime.InferenceSession(m.SerializeToString()) for m in (model, other))
    )
    return np.sqrt(np.square(one - two).mean() / np.square(one).mean())


def test_a_concat_in_the_middle_that_harms_the_outputs_stays_in_float_and_the_report_says_why() -> None:
    model = middle(300.0)
    result = quantize(model, FEEDS, {})
    assert error_of(model, result.model) < 0.05
    assert result.report["kept_float"]["small"].endswith(
        "the Concat concat gives its branches one scale with large, up to 2.99e+03: small, up to 5.81, would "
        "have 0.8 of 255 steps"
    )
    assert result.report["float"]["Concat"] == 1
    assert result.report["quantized"]["Conv"] == 2


def test_a_concat_in_the_middle_whose_small_branch_does_not_count_is_quantized() -> None:
    model = middle(300.0)
    for tensor in model.graph.initializer:
        if tensor.name == "last":
            values = numpy_helper.to_array(tensor).copy()
            values[:, 4:] *= 1e-3
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    result = quantize(model, FEEDS, {})
    assert result.report["quantized"]["Concat"] == 1
    assert not [node for node in result.report["kept_float"] if "concat" in node.lower()]


def test_a_concat_whose_values_are_scaled_before_the_output_is_its_end() -> None:
    model = head(200.0)
    joined, shape = model.graph.node[-1].input[0], model.graph.node[-1].input[1]
    half = numpy_helper.from_array(np.float32(0.5), "half")
    model.graph.initializer.append(half)
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Mul", [joined, "half"], ["scaled"], "scaled")
    )
    model.graph.node[-1].input[:] = ["scaled", shape]
    joined = joined_outputs(model, {"pixels": (0.0, 500.0), "s": (0.0, 1.0)})
    assert "scaled" in joined.nodes
