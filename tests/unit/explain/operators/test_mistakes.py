"""Every mistake in the catalogue of a layer gives its own numbers back: it is named where they are seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from harness.explain.operators import mistakes
from harness.explain.operators.alone import Alone
from harness.explain.operators.part import Part, joined
from harness.explain.operators.wrong_layers import variants
from harness.explain.scene import Scene
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files

RANDOM = np.random.default_rng(4)
IMAGE = RANDOM.normal(size=(2, 1, 4, 6, 6)).astype(np.float32)
ROWS = RANDOM.normal(size=(2, 1, 6)).astype(np.float32)
WEIGHT = RANDOM.normal(size=(4, 4, 3, 3)).astype(np.float32)
SQUARE = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}

#: Operator, what it is fed, its constants, its attributes, and a mistake that has to be among them.
LAYERS: dict[str, tuple[str, NDArray[Any], list[NDArray[Any]], dict[str, Any], str]] = {
    "conv": ("Conv", IMAGE, [WEIGHT, RANDOM.normal(size=4).astype(np.float32)], {"pads": [1, 1, 1, 1]},
             "its kernels have rows and columns exchanged"),
    "average": ("AveragePool", IMAGE, [], SQUARE, "its padding counts in the mean"),
    "ceil": ("AveragePool", IMAGE, [], {**SQUARE, "ceil_mode": 1, "count_include_pad": 1, "strides": [2, 2]},
             "with ceil_mode each sum is divided by the whole window"),
    "largest": ("MaxPool", IMAGE - 3, [], SQUARE, "it pads with 0"),
    "softmax": ("Softmax", IMAGE, [], {"axis": 1}, "it computes along axis 3 and not 1"),
    "mean": ("ReduceMean", IMAGE, [], {"axes": [2]}, "it computes ReduceMax and not ReduceMean"),
    "leaky": ("LeakyRelu", IMAGE, [], {"alpha": 0.1}, "it computes LeakyRelu with alpha = 0.3"),
    "sigmoid": ("HardSigmoid", IMAGE, [], {}, "it computes Sigmoid and not HardSigmoid"),
    "clip": ("Clip", 9 * IMAGE, [np.float32(0), np.float32(6)], {}, "Clip is left out"),
    "subtract": ("Sub", IMAGE, [np.float32(2)], {}, "its operands are in reverse order"),
    "multiply": ("Mul", IMAGE, [np.float32(2)], {}, "its second operand is left out"),
    "product": ("MatMul", ROWS, [RANDOM.normal(size=(6, 6)).astype(np.float32)], {},
                "its weight is transposed"),
    "depth": ("DepthToSpace", IMAGE, [], {"blocksize": 2, "mode": "DCR"}, "it computes with mode = 'CRD'"),
    "transpose": ("Transpose", IMAGE, [], {"perm": [0, 1, 3, 2]}, "it computes with perm = [0, 1, 2, 3]"),
    "resize": ("Resize", IMAGE, [np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)],
               {"mode": "linear"}, "it computes with coordinate_transformation_mode = 'asymmetric'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("files")
    model = scenes.model()
    files = Files(folder, model, model)
    return files.scene(files.side(model), files.side(model))


def layer_of(name: str) -> Alone:
    kind, x, constants, attributes, _ = LAYERS[name]
    names = [f"c{place}" for place in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], name="one", **attributes)], "part",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape[1:])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), each)
         for array, each in zip(constants, names, strict=True)],
    )  # fmt: skip
    part = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    right = run(part, x)
    return Alone("one", part, {"x": x}, right, right)


def run(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.stack([session.run(None, {"x": one})[0] for one in x]).astype(np.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_each_mistake_is_named_by_its_numbers(scene: Scene, name: str) -> None:
    right = layer_of(name)
    part = Part(right.part, right.name, {"x": right.feeds["x"].shape[1:]})
    possible = mistakes._possible(part, list(variants(part)))
    texts = [one.text for one in possible]
    assert LAYERS[name][-1] in texts
    for one in possible:
        seen = run(joined(part, [one]), right.feeds["x"])
        is_other = seen.shape == right.first.shape
        if not is_other or np.abs(seen - right.first).max() < 0.01 * np.abs(right.first).max():
            continue  # it makes no difference here, or the shape tells
        wrong = Alone(right.name, right.part, right.feeds, right.first, seen)
        described = mistakes.of_layer(scene, wrong, is_reference_wrong=False)
        assert described is not None, one.text
        assert described.left < 1e-3
        # Two mistakes can give the same numbers.
        same = run(joined(part, [possible[texts.index(described.text)]]), right.feeds["x"])
        np.testing.assert_allclose(same, seen, atol=1e-5)
        swapped = Alone(right.name, right.part, right.feeds, seen, right.first)
        assert mistakes.of_layer(scene, swapped, is_reference_wrong=True) == described
