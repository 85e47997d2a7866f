"""A layer that a runtime computes otherwise: the layer, what is wrong in it, and which side it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.explain.files import tflite
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.runtime.wrong_operator import WrongOperator
from harness.explain.operators.rewrites import rewrites
from harness.explain.scene import Finding
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Edit, Files


def network(size: float = 1.0) -> onnx.ModelProto:
    """Convolutions, pools with padding, activations of several kinds, a Concat.

    One branch of the Concat is `size` times smaller than else, and a depthwise convolution makes up for it.
    """
    random = np.random.default_rng(5)
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def add(kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{name}:y"], name=name, **attributes))
        return f"{name}:y"

    def conv(name: str, x: str, depth: int, count: int, by: float = 1.0) -> str:
        weight = by * random.normal(0, 1 / np.sqrt(9 * depth), (count, depth, 3, 3))
        names = [constant(f"{name}.w", weight), constant(f"{name}.b", by * random.normal(0.2, 0.2, count))]
        return add("Conv", name, [x, *names], pads=[1, 1, 1, 1])

    square = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    one = add("Relu", "relu1", [conv("conv1", "x", 3, 8)])
    two = add("AveragePool", "average2", [one], **square)
    three = add("LeakyRelu", "leaky3", [conv("conv3", two, 8, 8)], alpha=0.1)
    four = add("MaxPool", "largest4", [three], **square, strides=[2, 2])
    five = add("Concat", "concat5", [four, conv("conv5", four, 8, 8, 1 / size)], axis=1)
    back = constant("depthwise5.w", np.repeat([1.0, size], 8).reshape(16, 1, 1, 1))
    six = add("GlobalAveragePool", "mean6", [add("Conv", "depthwise5", [five, back], group=16)])
    flat = add("Flatten", "flat6", [six])
    last = [constant("fc7.w", random.normal(0, 0.6, (6, 16))), constant("fc7.b", random.normal(0, 0.1, 6))]
    nodes.append(helper.make_node("Gemm", [flat, *last], ["scores"], name="fc7", transB=1))
    graph = helper.make_graph(
        nodes, "several",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 6])], constants,
    )  # fmt: skip
    return canonicalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"), network())


def setting(node_name: str, **attributes: Any) -> Edit:
    """A runtime that computes one operator with other attributes."""

    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.name == node_name:
                stay = [one for one in node.attribute if one.name not in attributes]
                del node.attribute[:]
                node.attribute.extend(stay)
                node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())

    return edit


def after(node_name: str, kind: str, *arrays: Any, **attributes: Any) -> Edit:
    """A runtime that changes the result of one operator."""

    def edit(model: onnx.ModelProto) -> None:
        for place, node in enumerate(model.graph.node):
            if node.name == node_name:
                result = node.output[0]
                node.output[0] = "before"
                names = [f"extra{number}" for number in range(len(arrays))]
                model.graph.initializer.extend(map(numpy_helper.from_array, map(np.asarray, arrays), names))
                changed = helper.make_node(kind, ["before", *names], [result], name="extra", **attributes)
                model.graph.node.insert(place + 1, changed)
                return

    return edit


def without(node_name: str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.name == node_name:
                node.op_type = "Identity"
                del node.attribute[:]

    return edit


def number(x: object) -> np.ndarray:
    return np.asarray(x, np.float32)


EIGHT = np.arange(8, dtype=np.float32).reshape(8, 1, 1)
WRONG: dict[str, tuple[Edit, str, str]] = {
    "pool counts padding": (
        setting("average2", count_include_pad=1), "average2", "its padding counts in the mean",
    ),
    "pads moved": (
        setting("largest4", pads=[0, 0, 2, 2]), "largest4", "pads [0, 0, 2, 2] and not [1, 1, 1, 1]",
    ),
    "activation": (without("relu1"), "conv1", "Relu is left out"),
    "alpha": (setting("leaky3", alpha=0.2), "conv3", "LeakyRelu with alpha = 0.2"),
    "bound": (after("relu1", "Clip", number(0), number(0.5)), "conv1", "it ends above at 0.5"),
    "bias": (after("conv3", "Add", number(0.25)), "conv3", ""),
    "offset": (after("mean6", "Add", number(0.25)), "mean6", "0.25 is added"),
    "factor": (after("average2", "Mul", number(1.1)), "average2", "it is multiplied by 1.1"),
    "channels": (after("average2", "Mul", number(EIGHT == 3) + 1), "average2", "by 2 in channel 3 of 8"),
    "order": (
        after("average2", "Gather", np.array([1, 0, 2, 3, 4, 5, 6, 7]), axis=1), "average2",
        "its channels are in another order: 0 is 1, 1 is 0",
    ),
    "axes": (after("average2", "Transpose", perm=[0, 1, 3, 2]), "average2", "its axes are exchanged"),
    "gemm": (setting("fc7", beta=0.0), "fc7", "its bias is left out"),
}  # fmt: skip


def finding(files: Files, edit: Edit, *, backend: str = "onnxruntime", is_reference: bool = False) -> Finding:
    model = files.float32
    sides = files.side(model), files.edited(model, edit, backend)
    scene = files.scene(*(sides[::-1] if is_reference else sides))
    return WrongOperator().test(scene)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_layer_is_named(files: Files, name: str) -> None:
    edit, layer, text = WRONG[name]
    seen = finding(files, edit)
    assert seen.layer == layer
    assert text in seen.cause
    assert seen.cause.startswith(f"{seen.cause.split()[0]} {layer} is computed wrongly on onnxruntime")


@pytest.mark.parametrize("name", ["pool counts padding", "offset"])
def test_the_reference_is_accused_where_it_is_wrong(files: Files, name: str) -> None:
    edit, layer, text = WRONG[name]
    model = files.float32
    reference = files.edited(model, edit, "openvino")
    scene = files.scene(reference, files.side(model))
    seen = WrongOperator().test(scene)
    assert (seen.layer, seen.side) == (layer, reference.label)
    assert text in seen.cause


def in_tflite(result: str, change: Callable[[Any, Any], None]) -> Edit:
    """A runtime that computes the TFLite operator of a result otherwise, wherever the file has it."""

    def edit(model: Any) -> None:
        names = {tflite.name_of(one) for one in model.subgraphs[0].tensors}
        if result in names and any(
            result == tflite.name_of(model.subgraphs[0].tensors[one.outputs[0]])
            for one in model.subgraphs[0].operators
        ):
            change(model, scenes.operator(model, result))

    return edit


def without_activation(model: Any, operator: Any) -> None:
    operator.builtinOptions.fusedActivationFunction = 0


def with_a_larger_bias(model: Any, operator: Any) -> None:
    buffer = model.buffers[model.subgraphs[0].tensors[operator.inputs[2]].buffer]
    bias = np.frombuffer(buffer.data, np.float32).copy()
    bias[3] += 0.5
    buffer.data = bias.tobytes()


@pytest.mark.parametrize(
    ("result", "change", "layer", "text"),
    [
        ("relu1:y", without_activation, "conv1", "Relu is left out"),
        ("conv5:y", with_a_larger_bias, "conv5", "0.5 is added in channel 3 of 8"),
    ],
)
@pytest.mark.parametrize("is_reference", [False, True])
def test_what_is_wrong_in_a_layer_of_litert_is_named(
    files: Files, result: str, change: Callable[[Any, Any], None], layer: str, text: str, is_reference: bool
) -> None:
    content = export_tflite(files.float32, name="small").data
    wrong = files.edited(content, in_tflite(result, change), "tflite")
    sides = files.side(files.float32), wrong
    seen = WrongOperator().test(files.scene(*(sides[::-1] if is_reference else sides)))
    assert (seen.layer, seen.side) == (layer, wrong.label if is_reference else "")
    assert text in seen.cause


def test_integers_padded_with_the_code_0_are_named(files: Files) -> None:
    """As runtimes do that take the zero point of a padded image for 0."""

    def edit(model: onnx.ModelProto) -> None:
        makers = scenes.makers(model)
        for place, node in enumerate(model.graph.node):
            if node.name == "conv5":
                quantized = makers[node.input[0]]
                scale, zero = (scenes.constant(model, name) for name in quantized.input[1:3])
                arrays = np.array([0, 0, 1, 1, 0, 0, 1, 1]), number(-float(zero) * scale)
                names = ["pad:widths", "pad:value"]
                model.graph.initializer.extend(map(numpy_helper.from_array, arrays, names))
                pad = helper.make_node("Pad", [node.input[0], *names], ["padded"], name="pad")
                node.input[0] = "padded"
                setting("conv5", pads=[0, 0, 0, 0])(model)
                model.graph.node.insert(place, pad)
                return

    scene = files.scene(files.side(files.int8), files.edited(files.int8, edit))
    seen = WrongOperator().test(scene)
    assert seen.layer == "conv5"
    assert "it pads with the code 0 instead of the zero point" in seen.cause


def test_another_form_of_the_operator_is_run(files: Files) -> None:
    """A runtime that never counts padding is right where a Pad does it."""
    model = onnx.ModelProto()
    model.CopyFrom(files.float32)
    setting("average2", count_include_pad=1)(model)

    def edit(given: onnx.ModelProto) -> None:
        for node in given.graph.node:
            if node.op_type == "AveragePool":
                setting(node.name, count_include_pad=0)(given)

    scene = files.scene(files.side(model), files.edited(model, edit))
    explanation = procedure.explain(scene, [WrongOperator()], 600.0)
    (cause,) = explanation.confirmed
    assert (cause.layer, cause.remedy and cause.remedy.text) == ("average2", "a Pad before AveragePool")
    assert "its padding does not count in the mean" in cause.cause
    assert explanation.left_share < 0.01


def test_the_pool_that_openvino_computes_wrongly_is_named(files: Files) -> None:
    """OpenVINO 2026.4 divides by the whole window what ceil_mode adds beyond the padding."""
    model = onnx.ModelProto()
    model.CopyFrom(files.float32)
    setting("average2", count_include_pad=1, ceil_mode=1, strides=[2, 2])(model)
    scene = files.scene(files.side(model), files.side(model, "openvino"))
    cause = WrongOperator().test(scene)
    assert cause.layer == "average2"
    assert cause.cause.endswith("on openvino:float32: with ceil_mode each sum is divided by the whole window")
    assert cause.remedy is not None
    assert cause.remedy.text == "a Pad before AveragePool"


def test_the_int8_pool_that_openvino_pads_wrongly_is_named(tmp_path: Path) -> None:
    """OpenVINO 2026.4 pads with the code 0; a Pad of integers before the pool is right."""
    model = network()
    next(node for node in model.graph.node if node.name == "largest4").op_type = "AveragePool"
    made = scenes.make(tmp_path, model)
    setting("largest4", count_include_pad=1)(made.int8)
    scene = made.scene(made.side(made.int8), made.side(made.int8, "openvino"))
    explanation = procedure.explain(scene, [WrongOperator()], 600.0)
    (cause,) = explanation.confirmed
    assert cause.layer == "largest4"
    assert "it pads with the code 0 instead of the zero point" in cause.cause
    assert cause.remedy is not None
    assert cause.remedy.text == "a Pad before AveragePool"
    assert explanation.left_share < 0.1


@pytest.mark.parametrize("layer", ["average2", "largest4", "conv5", "mean6", "fc7", "relu1", "leaky3"])
def test_another_form_of_an_operator_has_the_same_numbers(files: Files, layer: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(files.float32)
    setting("average2", count_include_pad=1)(model)
    made = list(rewrites(model, layer))
    assert made
    for text, changed in made:
        onnx.checker.check_model(changed)
        scene = files.scene(files.side(model), files.side(changed))
        assert scene.gap < 1e-6, text


def test_an_operator_without_another_form_is_left(files: Files) -> None:
    assert list(rewrites(files.float32, "average2")) == []
    assert list(rewrites(files.float32, "concat5")) == []
    assert list(rewrites(files.float32, "absent")) == []


def explained(files: Files, edit: Edit) -> Explanation:
    scene = files.scene(files.side(files.float32), files.edited(files.float32, edit))
    return procedure.explain(scene, HYPOTHESES, 600.0)


def test_no_other_hypothesis_takes_a_wrong_layer(files: Files) -> None:
    explanation = explained(files, WRONG["pool counts padding"][0])
    assert [cause.hypothesis for cause in explanation.confirmed] == ["wrong operator"]


def test_an_edit_that_changes_nothing_is_healthy(files: Files) -> None:
    changes: Callable[[onnx.ModelProto], None] = setting("average2", count_include_pad=0)
    assert not explained(files, changes).confirmed
