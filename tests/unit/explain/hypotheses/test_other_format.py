"""A TFLite or OpenVINO file that is not what its ONNX file gives is named, with what differs where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.compression.export import export_tflite
from harness.explain.files import tflite, tflite_differences
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.files.other_format import OtherFormat
from harness.explain.scene import State
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files, operator, tensor, with_constant, with_tflite


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def result(model: Any, layer: str) -> str:
    """Name of the tensor of a layer's quantized result."""
    names = (tflite.name_of(one) for one in model.subgraphs[0].tensors)
    return next(name for name in names if name.startswith(f"{layer}:r") and "Quantize" in name)


def scaled(layer: str, factor: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        steps = tensor(model, result(model, layer)).quantization
        steps.scale = np.asarray(steps.scale, np.float32) * np.float32(factor)

    return change


def moved(layer: str, by: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        steps = tensor(model, result(model, layer)).quantization
        steps.zeroPoint = np.asarray(steps.zeroPoint) + by

    return change


def constants(layer: str, place: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def changed(model: Any) -> None:
        graph = model.subgraphs[0]
        tensors = graph.tensors[operator(model, result(model, layer)).inputs[place]]
        buffer = model.buffers[tensors.buffer]
        dtype = {1: np.int8, 2: np.int32}[place]
        buffer.data = change(np.frombuffer(buffer.data, dtype)).astype(dtype).tobytes()

    return changed


def without_activation(model: Any) -> None:
    operator(model, result(model, "conv1")).builtinOptions.fusedActivationFunction = 3  # Relu6


CHANGED: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "scale": (scaled("conv3", 1.5), "conv3", "the scale of its result is"),
    "zero point": (moved("conv1", 9), "conv1", "the zero point of its result is"),
    "weights": (constants("conv5", 1, lambda w: w[::-1]), "conv5", "numbers of its weights differ"),
    "bias": (constants("conv5", 2, lambda b: b + 20_000), "conv5", "numbers of its bias differ"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_tflite_file_that_was_changed_is_named(files: Files, name: str) -> None:
    change, layer, text = CHANGED[name]
    changed = with_tflite(files.tflite(), change)
    scene = files.scene(files.side(files.int8), files.side(changed, "tflite"))
    explanation = procedure.explain(scene, HYPOTHESES, 600.0)
    assert [(one.hypothesis, one.layer) for one in explanation.confirmed] == [(OtherFormat.name, layer)]
    assert text in explanation.confirmed[0].cause
    assert explanation.left_share < 0.1


def test_the_reference_is_named_where_its_file_is_stale(files: Files) -> None:
    changed = with_tflite(files.tflite(), scaled("conv3", 1.5))
    reference = files.side(changed, "tflite")
    finding = OtherFormat().test(files.scene(reference, files.side(files.int8)))
    assert (finding.state, finding.layer, finding.side) == (State.CONFIRMED, "conv3", reference.label)


def test_a_float_file_of_other_weights_is_stale(files: Files) -> None:
    other = with_constant(files.float32, "conv3.w", lambda w: 1.3 * w)
    stale = files.side(export_tflite(other, name="small").data, "tflite")
    finding = OtherFormat().test(files.scene(files.side(files.float32), stale))
    assert (finding.state, finding.layer) == (State.CONFIRMED, "conv3")


def test_an_openvino_file_of_other_weights_is_stale(files: Files) -> None:
    other = with_constant(files.float32, "conv3.w", lambda w: 1.3 * w)
    scene = files.scene(files.side(files.float32), files.openvino(other))
    finding = OtherFormat().test(scene)
    assert (finding.state, finding.layer) == (State.CONFIRMED, "conv3")
    finding = OtherFormat().test(files.scene(files.side(files.float32), files.openvino(files.float32)))
    assert (finding.state, finding.layer) == (State.CONFIRMED, "conv1")
    assert "conv1.w is stored in half precision" in finding.cause


def test_what_the_export_writes_is_no_other_file(files: Files) -> None:
    for model, content in (
        (files.int8, files.tflite()),
        (files.float32, export_tflite(files.float32, name="x").data),
        (files.int8, export_tflite(files.int8, name="x", runtime="tflite-2.14").data),
    ):
        finding = OtherFormat().test(files.scene(files.side(model), files.side(content, "tflite")))
        assert finding.state is State.REFUTED


def test_options_and_operators_are_compared(files: Files) -> None:
    first = files.tflite()
    (difference,) = tflite_differences.differences(first, with_tflite(first, without_activation))
    assert (difference.what, "fusedActivationFunction is 3" in difference.text) == ("options", True)

    def shorter(model: Any) -> None:
        model.subgraphs[0].operators = model.subgraphs[0].operators[:-1]

    (difference,) = tflite_differences.differences(first, with_tflite(first, shorter))
    assert difference.text.startswith("the end is in the place of")
    assert tflite_differences.differences(first, first) == []
