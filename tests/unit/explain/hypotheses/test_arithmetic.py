"""Arithmetic that errs inside of a runtime: which error, and the first layer that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession

from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.explain.emulation import changes
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.layers import tapped
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.side import Side
from tests.unit.explain import plants, scenes, strange
from tests.unit.explain.scenes import Files
from tests.unit.explain.strange import BF16, F16, Plant, changing_outputs, operands, results, rewriting

Sides = Callable[[Files], tuple[Side, Side]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def explained(files: Files, reference: Side, other: Side) -> Explanation:
    return procedure.explain(files.scene(reference, other), HYPOTHESES, 600.0)


def other(plant: Plant, backend: str = "onnxruntime") -> Sides:
    return lambda f: (f.side(f.float32), f.planted(f.side(f.float32, backend), plant))


def to_half(y: np.ndarray) -> np.ndarray:
    return y.astype(np.float16)


def reading_bfloat16(session: Session, feeds: Feeds) -> Outputs:
    return session.run({
        name: changes.BF16.values(x.astype(np.float64)).astype(x.dtype) for name, x in feeds.items()
    })  # fmt: skip


def cut(y: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(y).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def reading_cut(session: Session, feeds: Feeds) -> Outputs:
    return session.run({name: cut(x) for name, x in feeds.items()})


FROM_CONV5 = ("conv5", "conv5_relu", "pool6", "flat", "fc7")
PLANTED: dict[str, tuple[Sides, str, str]] = {
    "f16": (other(rewriting(results(F16))), "computes in f16", "conv1"),
    "bf16": (other(rewriting(results(BF16))), "computes in bf16", "conv1"),
    "bf16-one": (other(rewriting(results(BF16, ("conv3",)))), "computes in bf16 in conv3 alone", "conv3"),
    "f16-from": (other(rewriting(results(F16, FROM_CONV5))), "computes in f16 from conv5 on", "conv5"),
    "tf32": (other(rewriting(operands(strange.tf32, (0, 1)))), "multiplies in tf32", "conv1"),
    "bf16-operands": (
        other(rewriting(operands(BF16, (0, 1), ("conv5",)))), "multiplies in bf16 in conv5 alone", "conv5",
    ),
    "bf16-weights": (other(rewriting(operands(BF16, (1,)))), "has its weights in bf16", "conv1"),
    "cut-input": (
        other(strange.answering(lambda options: reading_cut)), "reads its input in bf16, which is cut off",
        "conv1",
    ),
    "cut-outputs": (
        other(changing_outputs(cut), "openvino"), "computes in bf16, which is cut off and not rounded", "fc7",
    ),
    "bf16-input": (
        other(strange.answering(lambda options: reading_bfloat16)), "reads its input in bf16", "conv1",
    ),
    "f16-outputs": (other(changing_outputs(to_half), "openvino"), "computes in f16, in its outputs", "fc7"),
    "the reference": (
        lambda f: (f.planted(f.side(f.float32), rewriting(results(BF16))), f.side(f.float32, "openvino")),
        "planted:onnxruntime computes in bf16", "conv1",
    ),
    "tflite": (
        lambda f: (
            f.side(f.tflite_float32(), "tflite"),
            f.planted(f.side(f.float32), rewriting(results(BF16, ("add4",)))),
        ),
        "computes in bf16 in add4 alone", "add4",
    ),
}  # fmt: skip


#: The others are run by the full tests alone.
QUICK = ("f16", "bf16-one", "tf32", "bf16-input", "f16-outputs", "the reference", "tflite")


@pytest.mark.parametrize(
    "name", [one if one in QUICK else pytest.param(one, marks=pytest.mark.full) for one in PLANTED]
)
def test_fewer_bits_are_named_with_the_first_layer(files: Files, name: str) -> None:
    sides, words, layer = PLANTED[name]
    explanation = explained(files, *sides(files))
    (cause,) = explanation.confirmed
    assert cause.hypothesis == "precision"
    assert words in cause.cause
    assert cause.layer == layer
    assert cause.share > 0.5  # a number near the middle of two others is rounded to either


def test_fewer_bits_and_other_weights_are_both_named(files: Files) -> None:
    changed = scenes.with_constant(files.float32, "conv3.w", lambda w: 1.2 * w)
    planted = files.planted(files.side(changed), rewriting(results(BF16)))
    causes = explained(files, files.side(files.float32), planted).confirmed
    assert {cause.hypothesis for cause in causes} == {"constants of the file", "precision"}
    assert {cause.layer for cause in causes} == {"conv3", "conv1"}


def test_fewer_bits_and_a_wrong_layer_are_both_named(files: Files) -> None:
    def wrong(model: onnx.ModelProto) -> None:
        results(F16)(model)
        plants.after(model, "conv3", "Add", [np.float32(0.3)])

    side = files.side(files.float32)
    causes = explained(files, side, files.planted(side, rewriting(wrong))).confirmed
    assert [(cause.hypothesis, cause.layer) for cause in causes] == [
        ("precision", "conv1"), ("wrong operator", "conv3"),
    ]  # fmt: skip


@pytest.mark.full
def test_two_layers_of_other_formats_are_named_together(files: Files) -> None:
    def mixed(model: onnx.ModelProto) -> None:
        results(BF16, ("conv1",))(model)
        results(F16, ("conv5",))(model)

    side = files.side(files.float32)
    (cause,) = explained(files, side, files.planted(side, rewriting(mixed))).confirmed
    assert (cause.hypothesis, cause.layer) == ("precision", "conv1")
    assert cause.share > 0.9


def between(original: onnx.ModelProto, value: str, nodes: list[onnx.NodeProto], **constants: float) -> object:
    """A copy with nodes that take a value and return ``changed``, which its readers get."""
    changed = onnx.ModelProto()
    changed.CopyFrom(original)
    place = next(i for i, node in enumerate(changed.graph.node) if value in node.output)
    for node in changed.graph.node:
        node.input[:] = ["changed" if name == value else name for name in node.input]
    for node in reversed(nodes):
        changed.graph.node.insert(place + 1, node)
    changed.graph.initializer.extend(
        numpy_helper.from_array(np.array(number, np.float32), name) for name, number in constants.items()
    )
    return changed


@pytest.fixture(scope="module")
def tiny(files: Files) -> Files:
    """The same, but the result of conv3 is made so small that it is not normal, and large again."""
    steps = [("conv3:r", "down"), ("down", "down2"), ("down2", "up"), ("up", "changed")]
    nodes = [
        helper.make_node("Mul", [x, "small" if y.startswith("down") else "large"], [y], name=y)
        for x, y in steps
    ]
    model = between(files.float32, "conv3:r", nodes, small=2.0**-65, large=2.0**65)
    return replace(files, float32=model)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def logarithm(files: Files) -> Files:
    """The same, but the result of conv3 goes through a logarithm, which gives NaN and infinity."""
    nodes = [
        helper.make_node("Sub", ["conv3:r", "shift"], ["shifted"], name="shift"),
        helper.make_node("Log", ["shifted"], ["changed"], name="log"),
    ]
    model = between(files.float32, "conv3:r", nodes, shift=0.4)
    return replace(files, float32=model)  # type: ignore[arg-type]


def test_small_numbers_that_are_flushed_are_named_with_the_layer(tiny: Files) -> None:
    plant = rewriting(results(strange.flushed))
    explanation = explained(tiny, tiny.side(tiny.float32), tiny.planted(tiny.side(tiny.float32), plant))
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == ("small numbers", "down2")
    assert "takes 0 for numbers below 2^-126" in cause.cause


@pytest.mark.parametrize("is_reference", [False, True])
def test_the_interpreter_of_tflite_flushes_small_numbers(tiny: Files, is_reference: bool) -> None:
    sides = [tiny.side(tiny.float32), tiny.side(tiny.tflite_float32(), "tflite")]
    (cause,) = explained(tiny, *(sides[::-1] if is_reference else sides)).confirmed
    assert (cause.hypothesis, cause.layer) == ("small numbers", "down2")
    assert cause.cause == "tflite:float32 takes 0 for numbers below 2^-126"
    assert cause.side == ("tflite:float32" if is_reference else "")


def test_small_inputs_that_are_flushed_are_named_in_the_layer_that_reads_them(files: Files) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["up"], name="up"),
        helper.make_node("Mul", ["up", "large"], ["changed"], name="up2"),
    ]
    large = numpy_helper.from_array(np.array(2.0**66, np.float32), "large")
    small = replace(files, float32=scenes.behind(files.float32, nodes, [large]))
    side = small.side(small.float32)
    side = replace(side, preprocess={"x": replace(scenes.STEP, scale=2.0**-140, mean=(0.0,), std=(1.0,))})

    def flushing(session: Session, feeds: Feeds) -> Outputs:
        return session.run({
            name: np.where(np.abs(x) < 2.0**-126, np.float32(0), x) for name, x in feeds.items()
        })  # fmt: skip

    plant = strange.answering(lambda options: flushing)
    (cause,) = explained(small, side, small.planted(side, plant)).confirmed
    assert (cause.hypothesis, cause.layer) == ("small numbers", "up")


@pytest.mark.full
def test_half_precision_that_overflows_is_one_of_bits(files: Files) -> None:
    nodes = [
        helper.make_node("Mul", ["conv3:r", "large"], ["up"], name="up"),
        helper.make_node("Mul", ["up", "small"], ["changed"], name="down"),
    ]
    model = between(files.float32, "conv3:r", nodes, large=2.0**18, small=2.0**-18)
    large = replace(files, float32=model)  # type: ignore[arg-type]
    side = large.side(large.float32)
    (cause,) = explained(large, side, large.planted(side, rewriting(results(F16)))).confirmed
    assert cause.hypothesis == "precision"
    assert (cause.cause, cause.layer) == ("planted:onnxruntime computes in f16", "conv1")


NAN: dict[str, tuple[Plant, str, str]] = {
    "result": (rewriting(results(strange.without_nan, ("log",))), "gives 0 for NaN", "log"),
    "read": (
        rewriting(operands(strange.without_nan, (0,), ("conv5",))),
        "gives 0 for NaN in conv5 alone",
        "conv5",
    ),
    "outputs": (changing_outputs(lambda y: np.nan_to_num(y, nan=0.0)), "gives 0 for NaN", "fc7"),
}


@pytest.mark.parametrize("name", NAN)
def test_nan_that_is_replaced_is_named_with_the_layer(logarithm: Files, name: str) -> None:
    plant, words, layer = NAN[name]
    f = logarithm
    explanation = explained(f, f.side(f.float32), f.planted(f.side(f.float32), plant))
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == ("NaN and infinity", layer)
    assert words in cause.cause


def test_openvino_gives_zero_for_nan_in_an_activation(logarithm: Files) -> None:
    f = logarithm
    explanation = explained(f, f.side(f.float32), f.side(f.float32, "openvino"))
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == ("NaN and infinity", "conv5")


class Half:
    """A session that computes each operator, and each sum, in half precision."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._run = ReferenceEvaluator(model).run

    def __call__(self, session: Session, feeds: Feeds) -> Outputs:
        names = [spec.name for spec in session.outputs]
        half = {name: x.astype(np.float16) for name, x in feeds.items()}
        with np.errstate(all="ignore"):
            results = self._run(names, half)
        return {name: np.asarray(y).astype(np.float32) for name, y in zip(names, results, strict=True)}


class InHalf(strange.Wrapped):
    """Opens each file in half precision."""

    def open(self, artifact: Artifact, options: Options) -> Session:
        model = onnx.load(artifact.path)
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                tensor.CopyFrom(
                    numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
                )
        answer = Half(model)
        return strange.answering(lambda _: answer)(self.real).open(artifact, options)


def test_sums_in_half_precision_are_named(files: Files) -> None:
    side = files.side(files.float32)
    other_side = files.planted(side, InHalf)  # type: ignore[arg-type]
    (cause,) = explained(files, side, other_side).confirmed
    assert (cause.hypothesis, cause.layer) == ("precision", "conv1")
    assert cause.cause == "planted:onnxruntime computes in f16"


@pytest.mark.parametrize("name", ["F16", "BF16", "TF32", "BF16_CUT", "TF32_CUT"])
def test_nodes_round_as_the_numbers_say(name: str, tmp_path: Path) -> None:
    change: changes.Change = getattr(changes, name)
    random = np.random.default_rng(0)
    x = (random.normal(size=500) * 2.0 ** random.integers(-14, 14, 500)).astype(np.float32)
    x[:4] = [0.0, -0.0, np.nan, np.inf]
    graph = helper.make_graph(
        list(change.nodes("x", "y", "n")), "change",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [500])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [500])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"x": x})
    np.testing.assert_array_equal(y.astype(np.float64), change.values(x.astype(np.float64)))


@pytest.mark.full
def test_layers_that_need_several_runs_are_compared_alike(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tapped, "CHUNK_BYTE", 100_000)
    sides, words, layer = PLANTED["f16-from"]
    (cause,) = explained(files, *sides(files)).confirmed
    assert words in cause.cause
    assert cause.layer == layer
