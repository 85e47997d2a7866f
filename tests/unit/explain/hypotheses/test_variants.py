"""Variants with other float weights: which, and what they became."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.explain.files.graph import Graph
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.files.variants import _computed
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def packed(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The weight as 4 values and their numbers, as `cluster` stores it."""
    changed = copy.deepcopy(model)
    weight = scenes.constant(model, name)
    values = np.quantile(weight, [0.1, 0.4, 0.6, 0.9]).astype(np.float32)
    places = np.abs(weight[..., None] - values).argmin(-1)
    tensors = [tensor for tensor in changed.graph.initializer if tensor.name != name]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(tensors)
    changed.graph.initializer.extend(
        [numpy_helper.from_array(values, "values"), numpy_helper.from_array(places, "places")]
    )
    changed.graph.node.insert(0, helper.make_node("Gather", ["values", "places"], [name], name="unpack"))
    return changed


def pruned(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    return scenes.with_constant(model, name, lambda w: np.where(np.abs(w) < np.median(np.abs(w)), 0, w))


@pytest.mark.parametrize(
    ("make", "words"), [(packed, "its weights have 4 values"), (pruned, "50% of its weights are zero")]
)
@pytest.mark.parametrize("backend", ["openvino", "tflite"])
def test_a_variant_with_other_weights_is_explained_by_them(
    files: Files, backend: str, make: object, words: str
) -> None:
    model = make(files.float32, "conv5.w")  # type: ignore[operator]
    what = model if backend == "openvino" else scenes.export_tflite(model, name="small").data
    side = files.side(what, backend)
    other = replace(
        side, label="packed", variant="packed",
        artifact=replace(side.artifact, variant="packed", precision=""),
    )  # fmt: skip
    scene = files.scene(files.side(files.float32), other)
    scene = replace(scene, onnx={**scene.onnx, "packed": files.side(model).artifact})
    (cause,) = procedure.explain(scene, HYPOTHESES, 600.0).confirmed
    assert cause.hypothesis == "weights of the variant"
    assert (cause.layer, words in cause.cause) == ("conv5", True)


def test_files_of_one_variant_are_not_two_variants(files: Files) -> None:
    (hypothesis,) = [one for one in HYPOTHESES if one.name == "weights of the variant"]
    scene = files.scene(files.side(files.float32), files.side(pruned(files.float32, "conv5.w")))
    assert hypothesis.test(scene).state == "not testable here"


def test_packed_weights_are_computed_at_the_version_of_quantized_files() -> None:
    """onnx.reference has no DequantizeLinear of version 17; the numbers are those of its definition."""
    codes, scales = np.array([[-3, 7], [5, -128]], np.int8), np.array([0.5, 0.25], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scales"], ["real"], axis=1),
        helper.make_node("Cast", ["real"], ["weight"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in "xy"]
    constants = [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")]
    graph = helper.make_graph(nodes, "packed", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    np.testing.assert_array_equal(_computed(Graph(model), ["weight"])["weight"], codes * scales)
