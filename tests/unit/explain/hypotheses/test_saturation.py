"""Sums in 16 bits are recognized on the layer, and weights that cannot overflow take them away.

No CPU that has them is needed: the products of a file are replaced by operators that add as such a CPU does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from harness.core.artifact import Artifact
from harness.core.preprocess import Preprocess
from harness.device import environment
from harness.explain.files.graph import Graph
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.runtime.saturation import Saturation
from harness.explain.integers.products import products
from harness.explain.integers.requantize import other_codes
from harness.explain.integers.sums import SATURATES, WRAPS, Way
from harness.explain.recipes.variants import Recipe, Recipes
from harness.explain.scene import Scene
from harness.explain.search import procedure
from harness.explain.sides.side import Side
from tests.board.overflow import saturates, wraps
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def _adder(nodes: list[onnx.NodeProto], constants: set[str]) -> Callable[..., None]:
    def add(kind: str, *inputs: str, result: str, **attributes: object) -> None:
        names = [f"sum:{name}" if name in constants or name.endswith(":") else name for name in inputs]
        nodes.append(helper.make_node(kind, names, [result], **attributes))

    return add


def adding(way: Way) -> scenes.Edit:
    """A runtime whose matrix products are sums in 16 bits."""

    def edit(model: onnx.ModelProto) -> None:
        graph = Graph(model)
        for place, node in enumerate(model.graph.node):
            if node.op_type == "MatMul":
                x, w = (graph.maker[name] for name in node.input)
                codes, scale = (graph.constant(name) for name in w.input[:2])
                step = graph.step(x)
                assert codes is not None
                assert step is not None
                depth, count = codes.shape
                size = way.apart
                nodes, arrays = [], {
                    "shape": np.array([-1, depth // (2 * size), 2, size, 1]),
                    "codes": codes.astype(np.float32).reshape(1, -1, 2, size, count),
                    "two": np.array([2]), "rest": np.array([1, 2]),
                    "low": np.float32(-(2**15)), "high": np.float32(2**15 - 1),
                    "turn": np.float32(2**16), "half": np.float32(2**15),
                    "zero": (step.zero_point * codes.sum(axis=0)).astype(np.float32),
                    "scale": np.float32(scale * step.scale),
                }  # fmt: skip

                add = _adder(nodes, set(arrays))
                add("Cast", x.input[0], result="sum:x:", to=onnx.TensorProto.FLOAT)
                add("Reshape", "x:", "shape", result="sum:parts:")
                add("Mul", "parts:", "codes", result="sum:products:")
                add("ReduceSum", "products:", "two", result="sum:pairs:", keepdims=0)
                if way.wraps:
                    add("Add", "pairs:", "half", result="sum:moved:")
                    add("Div", "moved:", "turn", result="sum:turns:")
                    add("Floor", "turns:", result="sum:whole:")
                    add("Mul", "whole:", "turn", result="sum:gone:")
                    add("Sub", "pairs:", "gone:", result="sum:short:")
                else:
                    add("Clip", "pairs:", "low", "high", result="sum:short:")
                add("ReduceSum", "short:", "rest", result="sum:total:", keepdims=0)
                add("Sub", "total:", "zero", result="sum:centred:")
                add("Mul", "centred:", "scale", result=node.output[0])
                model.graph.initializer.extend(
                    numpy_helper.from_array(np.asarray(array), f"sum:{name}")
                    for name, array in arrays.items()
                )
                model.graph.node.remove(node)
                for number, new in enumerate(nodes):
                    model.graph.node.insert(place + number, new)
                return

    return edit


def scene_of(folder: Path, plant: Callable[[Path], Path], way: Way | None) -> Scene:
    """The int8 file on this machine, against the same where products are added in 16 bits."""
    made = plant(folder)
    model = onnx.load(made / "int8.onnx")
    rows = np.load(made / "data.npz")["x"]
    files = Files(folder, onnx.load(made / "float.onnx"), model)

    def placed(side: Side) -> Side:
        return replace(side, preprocess={"x": Preprocess()}, raw={"x": rows})

    other = files.side(model) if way is None else files.edited(model, adding(way))
    scene = files.scene(placed(files.side(model)), placed(other))
    return replace(scene, host=placed(scene.host), bounds={"y": 1e-9})


CASES = {"saturates": (saturates, SATURATES), "wraps": (wraps, WRAPS)}


@pytest.mark.parametrize("name", CASES)
def test_sums_in_16_bits_are_named_with_their_layer(tmp_path: Path, name: str) -> None:
    plant, way = CASES[name]
    explanation = procedure.explain(scene_of(tmp_path, plant, way), HYPOTHESES, 600.0)
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == (Saturation.name, "m")
    assert way.text in cause.cause
    assert cause.remedy is not None
    assert cause.remedy.text == {SATURATES: "weights of 7 bits", WRAPS: "weights from -127 on"}[way]
    assert cause.remedy.was_run
    assert explanation.left_share < 0.1


def test_a_recipe_that_is_not_portable_is_made_again(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, saturates, SATURATES)
    graph = Graph(onnx.load(tmp_path / "int8.onnx"))
    safe = onnx.load(tmp_path / "int8.onnx")
    for layer in products(graph):
        other_codes(graph, safe, layer.node, *layer.safe(SATURATES))
    artifact = Files(tmp_path, safe, safe).side(safe).artifact

    class Fixed(Recipes):
        def of(self, variant: str) -> Recipe:
            return ({"pass": "quantize", "portable": False},)

        def made(self, variant: str, recipe: Recipe, fmt: str) -> dict[str, Artifact]:
            assert recipe == ({"pass": "quantize", "portable": True},)
            return {"onnx": artifact}

    recipes = Fixed(*[cast(Any, None)] * 4)
    finding = Saturation().test(replace(scene, recipes=recipes))
    assert finding.remedy is not None
    assert finding.remedy.text == "made again with portable = true"
    assert finding.remedy.line == '[variants.int8] recipe = [{ pass = "quantize", portable = true }]'
    assert finding.share > 0.9


@pytest.mark.parametrize(
    ("name", "facts", "is_first"),
    [
        ("saturates", {"arch": "x86_64", "isa": ["avx2"]}, True),
        ("saturates", {"arch": "x86_64", "isa": ["avx2", "avx512_vnni"]}, False),
        ("wraps", {"arch": "aarch64", "isa": ["asimd"]}, True),
        ("wraps", {"arch": "aarch64", "isa": ["asimd", "asimddp"]}, False), ("wraps", {}, False),
    ],
)  # fmt: skip
def test_it_is_tested_first_where_the_flags_speak_for_it(
    tmp_path: Path, name: str, facts: dict[str, object], is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, way = CASES[name]
    scene = scene_of(tmp_path, plant, way)
    monkeypatch.setattr(scene.runner, "machine", lambda side: facts if side is scene.other else {})
    lines = list[str]()
    procedure.explain(scene, HYPOTHESES, 600.0, lines.append)
    assert (lines[1] == f"testing: {Saturation.name}") is is_first


@pytest.mark.parametrize("name", CASES)
def test_exact_sums_are_not_accused(tmp_path: Path, name: str) -> None:
    plant, _ = CASES[name]
    assert not procedure.explain(scene_of(tmp_path, plant, None), HYPOTHESES, 600.0).confirmed


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_is_added_channels_last(files: Files, groups: int) -> None:
    """The oracle adds each pair by loops."""
    (layer,) = (one for one in products(Graph(files.int8)) if one.name == "conv5")
    random, depth = np.random.default_rng(0), 8 // groups
    x = random.integers(0, 256, (1, 8, 12, 12)).astype(np.uint8)
    x[:, :, 4:8] = 255
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=layer.input_step.zero_point)
    weights = layer.weights[:, :depth].astype(np.int64)
    weights[3, :4] = 127
    step = replace(layer.step, scale=40 * layer.step.scale)
    node = onnx.NodeProto()
    node.CopyFrom(layer.node)
    del node.attribute[next(at for at, one in enumerate(node.attribute) if one.name == "group")]
    node.attribute.append(helper.make_attribute("group", groups))
    layer = replace(layer, node=node, weights=weights.astype(np.int8), step=step)
    sums = np.zeros((1, 16, 6, 6), np.int64)
    for k, row, column in np.ndindex(16, 6, 6):
        first = depth * (k * groups // 16)
        window = padded[0, first : first + depth, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        flat = (window.transpose(1, 2, 0).astype(np.int64) * weights[k].transpose(1, 2, 0)).reshape(-1, 2)
        sums[0, k, row, column] = np.clip(flat.sum(1), -(2**15), 2**15 - 1).sum()
        sums[0, k, row, column] -= layer.input_step.zero_point * weights[k].sum()
    real = np.maximum(sums * layer.scale[:, None, None] + layer.bias[:, None, None], layer.low)
    seen = np.clip(np.rint(real / layer.step.scale) + layer.step.zero_point, 0, 255).astype(np.uint8)
    assert layer.can(SATURATES)
    assert layer.explains(x, seen, SATURATES)
    assert not layer.explains(x, seen, WRAPS)


def test_depthwise_layers_are_left_out(files: Files) -> None:
    assert [one.name for one in products(Graph(files.int8))] == ["conv1", "conv3", "conv5", "fc7"]


@pytest.mark.parametrize("way", [SATURATES, WRAPS])
def test_an_operator_of_integers_is_read_and_changed(way: Way) -> None:
    """As other tools write it; the changed file has the same numbers but for rounding."""
    random = np.random.default_rng(2)
    dtype = np.int8 if way.wraps else np.uint8
    codes = random.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    codes[0, 0, 0, :2] = -128
    arrays = {
        "xs": np.float32(0.02), "xz": np.zeros((), dtype), "w": codes,
        "ws": np.full(4, 0.01, np.float32), "wz": np.zeros(4, np.int8), "ys": np.float32(0.3),
        "yz": np.zeros((), dtype), "b": random.integers(-2000, 2000, 4).astype(np.int32),
    }  # fmt: skip
    kind = onnx.TensorProto.INT8 if way.wraps else onnx.TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", ["x", *arrays], ["y"], name="conv")], "one",
        [helper.make_tensor_value_info("x", kind, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", kind, [1, 4, 4, 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (layer,) = products(Graph(model))
    assert (layer.name, layer.source, layer.result, layer.can(way)) == ("conv", "x", "y", True)
    x = random.integers(0, 100, (1, 3, 6, 6)).astype(dtype)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    other_codes(Graph(model), changed, model.graph.node[0], *layer.safe(way))
    (safe,) = products(Graph(changed))
    assert not safe.can(WRAPS)
    before, after = (
        onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"x": x})[0]
        for one in (model, changed)
    )
    assert not layer.explains(x, before, way)
    np.testing.assert_allclose(after.astype(int), before.astype(int), atol=2)


@pytest.mark.parametrize(
    ("arch", "isa", "is_saturating", "is_wrapping"),
    [
        ("x86_64", ["avx2"], True, False), ("x86_64", ["avx2", "avx512_vnni"], False, False),
        ("aarch64", ["asimd"], False, True), ("aarch64", ["asimd", "asimddp"], False, False),
        ("aarch64", [], False, False),
    ],
)  # fmt: skip
def test_the_flags_say_which_machines_add_so(
    arch: str, isa: list[str], is_saturating: bool, is_wrapping: bool
) -> None:
    facts = {"arch": arch, "isa": isa}
    assert environment.saturates(facts) == is_saturating
    assert environment.wraps(facts) == is_wrapping
