"""Files with more outputs, and files whose layers are fed one by one, give the numbers of the file itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest

from harness.core.preprocess import apply
from harness.explain.files import edits, model_file
from harness.explain.files.graph import Graph
from harness.explain.layers.errors import compare
from harness.explain.layers.table import compare_layers
from harness.explain.layers.tapped import tap
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side
from harness.explain.sides.trace import Trace
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def test_points_are_after_activations_and_before_dequantizers(made: Files) -> None:
    assert [point.layer for point in Graph(made.float32).points()] == [
        "conv1", "depthwise2", "conv3", "add4", "conv5", "pool6", "fc7",
    ]  # fmt: skip
    integers = [point for point in Graph(made.int8).points() if point.step is not None]
    assert {"conv1", "depthwise2", "conv3", "add4", "conv5", "pool6"} <= {point.layer for point in integers}
    assert {point.value for point in integers} >= {"conv1:r", "conv3:r", "sum"}
    assert Graph(made.float32).points()[1].after == ("conv1:r",)


def test_a_file_that_more_outputs_change_is_told(made: Files) -> None:
    scene = made.scene(made.side(made.int8), made.side(made.int8, "openvino"))
    assert scene.tapped is not None
    assert scene.tapped.proved.relative > 0.1 * scene.gap
    assert "other numbers with its layers as outputs" in scene.refused["layers"]


def test_outputs_of_other_names_are_told(made: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some runtimes call an output by the node that makes it."""
    honest = Runner.samples

    def renamed(self: Runner, side: Side, rows: Sequence[int]) -> Trace:
        trace = honest(self, side, rows)
        names = {name: f"node_of_{name}" if side.backend == "openvino" else name for name in trace.tensors}
        return replace(
            trace,
            tensors={names[name]: tensor for name, tensor in trace.tensors.items()},
            outputs=tuple(names[name] for name in trace.outputs),
        )

    monkeypatch.setattr(Runner, "samples", renamed)
    scene = made.scene(made.side(made.float32), made.side(made.float32, "openvino"))
    assert scene.table == []
    assert "openvino:float32 does not return conv1:r" in scene.refused["layers"]


def test_a_file_whose_layers_are_fed_says_no_shape_twice(made: Files) -> None:
    """What is fed has the size of the samples, and what the file says of it has a free batch."""
    model = onnx.shape_inference.infer_shapes(made.float32)
    assert len(model.graph.value_info)
    fed = {"conv1:r": np.zeros((1, 8, 12, 12), np.float32)}
    exploded = edits.exploded(model, fed, ["conv3:r"])
    assert not len(exploded.graph.value_info)
    assert not any(value.type.tensor_type.HasField("shape") for value in exploded.graph.output)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tflite"])
def test_layers_fed_with_their_own_values_return_them(made: Files, backend: str) -> None:
    # OpenVINO fuses int8 layers otherwise where more of them are outputs: there the run says so.
    model = {"onnxruntime": made.int8, "openvino": made.float32, "tflite": made.tflite()}[backend]
    side = made.side(model, backend)
    file = model_file.read(side.artifact, made.side(made.int8).artifact)
    assert file is not None
    runner = made.scene(side, side).runner
    tapped = tap(runner, side, side, (file, file), [0, 1, 2])
    table = compare_layers(runner, tapped, side, file)
    assert len(table) >= 7
    assert tapped.proved.largest == 0
    assert {row.accumulated.largest for row in table} == {0.0}
    isolated = max(row.isolated.largest for row in table if row.isolated is not None)
    assert isolated <= (1e-6 if backend == "openvino" else 0.0)


def test_a_layer_is_isolated_from_the_errors_before_it(made: Files) -> None:
    """With other weights in conv3 everything behind it differs in the run, and conv3 alone when it is fed."""
    changed = scenes.with_constant(made.float32, "conv3.w", lambda w: 1.1 * w)
    reference, other = made.side(made.float32), made.side(changed)
    scene = made.scene(reference, other)
    wrong = [row.point.layer for row in scene.table if row.isolated and row.isolated.relative > 1e-3]
    assert wrong == ["conv3"]
    behind = [row.point.layer for row in scene.table if row.accumulated.relative > 1e-3]
    assert behind == ["conv3", "add4", "conv5", "pool6", "fc7"]


def test_an_error_is_what_numpy_says() -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=(3, 4))
    second = first + random.normal(scale=0.1, size=(3, 4))
    error = compare(first, second)
    assert error.relative == pytest.approx(np.linalg.norm(second - first) / np.linalg.norm(first))
    assert error.largest == np.abs(second - first).max()
    assert error.differing == 1.0
    assert error.sqnr_db == pytest.approx(-20 * np.log10(error.relative))
    assert compare(first, first).sqnr_db == np.inf
    nan = np.array([np.nan, np.inf, 1.0])
    assert compare(nan, nan).largest == 0
    assert compare(nan, np.array([np.nan, -np.inf, 1.0])).largest == np.inf


def test_the_referee_agrees_with_the_runtime_on_a_healthy_layer(made: Files) -> None:
    from harness.explain.operators import referee
    from harness.explain.operators.alone import cut_out

    reference = made.side(made.float32)
    scene = made.scene(reference, made.side(made.float32, "openvino"))
    verdict = referee.judge(scene, cut_out(scene, scene.table[0]))
    x = apply(scenes.images()[scene.worst[0]][None], scenes.STEP)
    assert [node.op_type for node in verdict.part.graph.node] == ["Conv", "Relu"]
    np.testing.assert_array_equal(verdict.feeds["x"], x)
    assert scene.tapped is not None
    seen = scene.tapped.reference.tensors["conv1:r"][0]
    np.testing.assert_allclose(verdict.expected, seen, atol=1e-5)
