"""State is carried on within a sequence and reset where one begins, on each runtime that opens the file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from backends.onnxruntime_ import OnnxRuntimeBackend
from backends.openvino_ import OpenVinoBackend
from backends.tflite_ import TfliteBackend
from harness.core.artifact import Artifact, File, TensorSpec, sha256_file
from harness.core.errors import DataError
from harness.core.feeding import Feeding
from harness.core.in_order import InOrder
from harness.core.job import Case, Options, merge
from harness.core.preprocess import Preprocess, apply
from harness.core.suite import SetInfo
from harness.testing.models import write_artifact
from suites.accuracy.measure import measure
from tests.unit.backends import test_state_and_codes as state_files

remembering = state_files.remembering  # the fixture
ROWS, WIDTH, STATE = 11, 3, 4
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
W, U = (RNG.normal(size=shape).astype(np.float32) for shape in ((WIDTH, STATE), (STATE, STATE)))
STEPS = {"x": Preprocess(), "h": Preprocess(value=0.0, state="h_out")}


def recurrent(folder: Path, batch: int | str = "n", *, layers: bool = False) -> Artifact:
    """h_out = tanh(x W + h U), y = 2 h_out; with `layers` the state has a leading axis."""
    state = [1, batch, STATE] if layers else [batch, STATE]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, WIDTH]),
        helper.make_tensor_value_info("h", TensorProto.FLOAT, state),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, STATE]),
        helper.make_tensor_value_info("h_out", TensorProto.FLOAT, state),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("MatMul", ["h2", "u"], ["hu"]),
        helper.make_node("Add", ["xw", "hu"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h_new"]),
        helper.make_node("Add", ["h_new", "h_new"], ["y"]),
    ]
    stored = [numpy_helper.from_array(W, "w"), numpy_helper.from_array(U, "u")]
    if layers:
        stored.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
        nodes.insert(0, helper.make_node("Squeeze", ["h", "axis"], ["h2"]))
        nodes.append(helper.make_node("Unsqueeze", ["h_new", "axis"], ["h_out"]))
    else:
        nodes.insert(0, helper.make_node("Identity", ["h"], ["h2"]))
        nodes.append(helper.make_node("Identity", ["h_new"], ["h_out"]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return write_artifact(model.SerializeToString(), folder, "m.onnx")


def oracle(lengths: list[int]) -> NDArray[np.float32]:
    """The same with NumPy, row by row."""
    starts, rows, h = set(np.cumsum([0, *lengths]).tolist()), [], np.zeros(STATE, np.float32)
    for row, x in enumerate(X):
        h = np.tanh(x @ W + (np.zeros(STATE, np.float32) if row in starts else h) @ U)
        rows.append(2 * h)
    return np.array(rows)


def measured(
    backend: Any, artifact: Artifact, x: NDArray[Any], steps: Any, *, provider: str = "", **params: Any
) -> dict[str, NDArray[Any]]:
    """What the accuracy suite measures on the device."""
    bench = SimpleNamespace(
        open=lambda: backend.open(artifact, Options(threads=1, precision="f32", provider=provider)),
        feeding=lambda session: Feeding(session.inputs, session.outputs, steps, artifact),
        clock=lambda: 0,
        data=SimpleNamespace(feeds=lambda _, start, stop: {"x": apply(x[start:stop], steps["x"])}),
    )
    case = Case(
        "clean",
        data="clean",
        samples=len(x),
        params={"batch": 4, "keep": "outputs", "task": "regression", **params},
    )
    merged = merge(measure(bench, case))  # type: ignore[arg-type]
    names = [name for name, _ in merged.values["outputs"]]
    return {name: merged.arrays[f"output:{i}"] for i, name in enumerate(names)}


@pytest.mark.parametrize("form", [("n", False), (1, False), (3, False), ("n", True), (1, True)])
@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_explicit_state(tmp_path: Path, backend: Any, form: tuple[int | str, bool]) -> None:
    artifact = recurrent(tmp_path, form[0], layers=form[1])
    lengths = [4, 1, 6]
    together = measured(backend(), artifact, X, STEPS, sequences=lengths)
    np.testing.assert_allclose(together["y"], oracle(lengths), atol=1e-5)
    alone = measured(backend(), artifact, X, STEPS)
    np.testing.assert_allclose(alone["y"], oracle([1] * ROWS), atol=1e-5)
    assert not np.allclose(alone["y"][1:4], together["y"][1:4]), "the test can tell"


def test_a_start_value_is_that_of_every_sequence(tmp_path: Path) -> None:
    steps = {**STEPS, "h": Preprocess(value=0.5, state="h_out")}
    y = measured(OnnxRuntimeBackend(), recurrent(tmp_path), X, steps, sequences=[2, 9])["y"]
    for row in (0, 2):
        np.testing.assert_allclose(y[row], 2 * np.tanh(X[row] @ W + np.full(STATE, 0.5) @ U), atol=1e-5)


@pytest.mark.parametrize("provider", ["XNNPACK", "builtin", "reference"])
def test_state_in_the_file(remembering: Artifact, provider: str) -> None:
    """Its SVDF weighs the last three samples of the sequence."""
    x = np.arange(1.0, 8.0, dtype=np.float32)[:, None]
    lengths, expected, last = [3, 1, 3], [], [0.0] * 3
    starts = set(np.cumsum([0, *lengths]).tolist())
    for row, value in enumerate(x[:, 0].tolist()):
        last = [*([0.0] * 3 if row in starts else last)[1:], value]
        expected.append(sum(a * b for a, b in zip(state_files.MEMORY, last, strict=True)))
    steps = {"x": Preprocess()}
    together = measured(TfliteBackend(), remembering, x, steps, provider=provider, sequences=lengths)
    np.testing.assert_array_equal(together["y"][:, 0], expected)
    alone = measured(TfliteBackend(), remembering, x, steps, provider=provider)
    np.testing.assert_array_equal(alone["y"], x)


def test_state_in_a_model_of_openvino(tmp_path: Path) -> None:
    """Its variable holds the sum of the rows of the sequence."""
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset13
    x = ops.parameter([1, 1], np.float32, name="x")
    before = ops.read_value(ops.constant(np.zeros((1, 1), np.float32)), "sum", np.float32, [1, 1])
    total = ops.add(before, x, name="y")
    model = openvino.Model([ops.result(total)], [ops.assign(total, "sum")], [x], "m")
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    files = tuple(File(name, sha256_file(tmp_path / name), 1) for name in ("m.xml", "m.bin"))
    artifact = Artifact("m", "openvino", files, tmp_path)
    rows = np.arange(1.0, 7.0, dtype=np.float32)[:, None]
    steps = {"x": Preprocess()}
    (together,) = measured(OpenVinoBackend(), artifact, rows, steps, sequences=[2, 4]).values()
    assert together[:, 0].tolist() == [1, 3, 3, 7, 12, 18]
    (alone,) = measured(OpenVinoBackend(), artifact, rows, steps).values()
    np.testing.assert_array_equal(alone, rows)


def test_a_state_has_to_be_an_output_of_the_same_shape(tmp_path: Path) -> None:
    artifact = recurrent(tmp_path)
    for state, message in (("h_next", "'h_next', is no output of the file"), ("y2", "is no output")):
        steps = {**STEPS, "h": Preprocess(value=0.0, state=state)}
        with pytest.raises(DataError, match=message):
            measured(OnnxRuntimeBackend(), artifact, X, steps, sequences=[ROWS])
    specs = (TensorSpec("x", (None, 3), "float32"), TensorSpec("h", (None, 5), "float32"))
    feeding = Feeding(specs, (TensorSpec("h_out", (None, 4), "float32"),), STEPS)
    with pytest.raises(DataError, match=r"h_out of shape \[1, 4\] is no state of the input h"):
        feeding.carried({"h_out": np.zeros((1, 4), np.float32)})


class Counter:
    """A session that keeps a count of its calls since the last reset."""

    inputs = outputs = ()
    count = 0

    def run(self, feeds: Any) -> Any:
        self.count = 0
        return self.proceed(feeds)

    def proceed(self, feeds: Any) -> Any:
        self.count += 1
        return {"y": self.count}


@given(st.lists(st.integers(1, 6), max_size=8), st.integers(0, 30))
def test_each_sequence_begins_once(lengths: list[int], rows: int) -> None:
    within = SetInfo("clean", "clean", 0, sum(lengths), str, tuple(lengths)).sequences_within(rows)
    assert sum(within) == min(rows, sum(lengths))
    assert within[:-1] == lengths[: len(within)][:-1]
    feeding = SimpleNamespace(carried=lambda outputs: {})
    run = InOrder(Counter(), feeding, within).run  # type: ignore[arg-type]
    assert [run({})["y"] for _ in range(sum(within))] == [i + 1 for length in within for i in range(length)]
