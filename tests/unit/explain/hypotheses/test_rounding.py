"""Integer layers that round otherwise: each side's way is named, with the first layer."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from harness.core.job import Options
from harness.explain.files.model_file import OnnxFile
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.runtime.options import Kernels
from harness.explain.hypotheses.runtime.rounding import Rounding
from harness.explain.integers.exact import Exact, exact_result
from harness.explain.integers.rounding import down, half_away, half_to_even, half_up, to_zero, twice
from harness.explain.scene import State
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.scenes import PARITY, Files

ONCE, TWICE = "rounds once, half to even", "rounds twice, half away from zero"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="there is no wheel of tflite-micro"
)
def test_the_rounding_of_a_microcontroller_is_named(files: Files) -> None:
    scene = files.scene(files.side(files.int8), files.side(files.tflite(), "tflm"))
    explanation = procedure.explain(scene, HYPOTHESES, 600.0)
    (cause,) = explanation.confirmed
    assert cause.cause == f"tflm:int8 {TWICE}; onnxruntime:int8 {ONCE}"
    assert (cause.hypothesis, cause.layer) == ("rounding", "conv1")
    assert explanation.is_expected  # and yet it is named: it is all that there is between the two


def test_kernels_and_rounding_name_one_layer(files: Files) -> None:
    def side(provider: str) -> scenes.Side:
        options: Options = replace(PARITY, provider=provider)
        return replace(files.side(files.tflite(), "tflite", options), label=provider or "XNNPACK")

    by_option = Kernels().test(files.scene(side(""), side("reference")))
    by_rounding = Rounding().test(files.scene(side(""), side("reference")))
    assert (by_option.state, by_rounding.state) == (State.CONFIRMED, State.CONFIRMED)
    assert by_option.layer == by_rounding.layer == "conv1"
    assert by_rounding.cause == f"reference {TWICE}; XNNPACK {ONCE}"


def cut_off(model: onnx.ModelProto) -> None:
    """Quantize the result of conv5 by cutting off what is behind the point."""
    graph = model.graph
    quantizer = next(
        (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "conv5:r"), None
    )
    if quantizer is None:
        return
    # Half a step less is rounded where the number itself is cut off.
    graph.initializer.append(numpy_helper.from_array(np.float32(0.4999), "cut:part"))
    steps = [
        helper.make_node("Mul", [quantizer.input[1], "cut:part"], ["cut:half"]),
        helper.make_node("Sub", [quantizer.input[0], "cut:half"], ["cut:less"]),
    ]
    place = list(graph.node).index(quantizer)
    quantizer.input[0] = "cut:less"
    for step in reversed(steps):
        graph.node.insert(place, step)


def test_a_layer_that_cuts_off_is_named(files: Files) -> None:
    scene = files.scene(files.side(files.int8), files.edited(files.int8, cut_off))
    finding = Rounding().test(scene)
    assert (finding.layer, finding.share) == ("conv5", 1.0)
    assert finding.cause.endswith(f"rounds down; onnxruntime:int8 {ONCE}")
    # One layer alone makes no more difference here than rounding explains.
    assert (scene.is_within_rounding, finding.state) == (True, State.EXPECTED)
    large = Rounding().test(replace(scene, bounds={"scores": 1e-6}))
    assert large.state is State.CONFIRMED


def test_the_input_of_a_model_is_quantized_exactly(files: Files) -> None:
    scene = files.scene(files.side(files.int8), files.side(files.int8))
    assert scene.tapped is not None
    assert scene.files is not None
    pair = next(pair for pair in scene.tapped.pairs if pair.reference.layer == "x_QuantizeLinear")
    exact = exact_result(OnnxFile(scene.reference.artifact.path).graph, pair.reference,
                           scene.tapped.reference.tensors, 0)  # fmt: skip
    assert exact is not None
    assert pair.reference.step is not None
    real = scene.tapped.reference.tensors["x"][0].astype(np.float64)
    assert np.allclose(exact.steps, real / pair.reference.step.scale, rtol=1e-12)
    assert np.array_equal(half_to_even(exact), scene.tapped.first(pair)[0] / pair.reference.step.scale)


@pytest.mark.parametrize("pair", ["openvino", "tflite"])
def test_runtimes_that_round_alike_are_not_named(files: Files, pair: str) -> None:
    other = files.side(files.int8 if pair == "openvino" else files.tflite(), pair)
    finding = Rounding().test(files.scene(files.side(files.int8), other))
    assert finding.state is State.REFUTED


def twice_in_integers(total: int, factor: float) -> int:
    """``MultiplyByQuantizedMultiplier`` of TensorFlow Lite, with integers of Python."""
    mantissa, shift = np.frexp(factor)
    multiplier = round(float(mantissa) * 2**31)
    product = total * 2 ** max(int(shift), 0) * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    right = max(-int(shift), 0)
    rest, half = high % 2**right, (2**right - 1) // 2
    return high // 2**right + (rest > half + (high < 0))


@given(st.integers(-(2**20), 2**20), st.floats(1e-5, 0.9))
def test_two_roundings_are_those_of_the_library(total: int, factor: float) -> None:
    sums, factors = np.array([float(total)]), np.array([factor])
    rounded = twice(Exact(sums * factors, 0, sums, factors))
    assert rounded is not None
    assert rounded.tolist() == [twice_in_integers(total, factor)]
    assert abs(rounded[0] - total * factor) < 1.001


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (half_to_even, [-2, -2, 0, 2, 2]),
        (half_away, [-3, -2, 1, 2, 3]),
        (half_up, [-2, -1, 1, 2, 3]),
        (down, [-3, -2, 0, 1, 2]),
        (to_zero, [-2, -1, 0, 1, 2]),
    ],
)
def test_ways_to_round_halves(way: object, expected: list[int]) -> None:
    halves = Exact(np.array([-2.5, -1.5, 0.5, 1.5, 2.5]), 0)
    assert way(halves).tolist() == expected  # type: ignore[operator]
