"""Real refusals of every runtime: one line with operator, node and cause, and the full text beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.core.artifact import Artifact, describe_file
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.refusal import LONGEST
from harness.device import plugins


def model(folder: Path, node: onnx.NodeProto, *constants: onnx.TensorProto) -> Path:
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], list(constants),
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def unknown_operator(folder: Path) -> Path:
    return model(folder, helper.make_node("Frobnicate", ["x"], ["y"], name="/head/frob"))


def wrong_channels(folder: Path) -> Path:
    weights = numpy_helper.from_array(np.zeros((4, 5, 3, 3), np.float32), "w")
    return model(folder, helper.make_node("Conv", ["x", "w"], ["y"], name="/head/conv"), weights)


def no_flatbuffer(folder: Path) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(b"nonsense" * 20)
    return path


@pytest.mark.parametrize(
    ("runtime", "make", "words"),
    [
        ("onnxruntime", unknown_operator, ("Frobnicate (/head/frob)", "No Op registered")),
        ("onnxruntime", wrong_channels, ("Conv (", "kernel channels")),
        ("openvino", unknown_operator, ("No conversion rule", "Frobnicate")),
        ("openvino", wrong_channels, ("Conv (/head/conv)", "channel count (3)")),
        ("openvino", no_flatbuffer, ("Unable to read the model",)),
        ("tflite", no_flatbuffer, ("not a valid Flatbuffer",)),
    ],
)
def test_a_refusal_is_one_short_line(
    runtime: str, make: Callable[[Path], Path], words: tuple[str, ...], tmp_path: Path
) -> None:
    backend = plugins.choose(plugins.BACKENDS, runtime)()
    if reason := backend.probe().reason:
        pytest.skip(reason)
    path = make(tmp_path)
    artifact = Artifact("float32", path.suffix[1:], (describe_file(path),), tmp_path)
    with pytest.raises(BackendError) as caught, backend.open(artifact, Options()) as session:
        session.run({"x": np.zeros((1, 3, 8, 8), np.float32)})  # ONNX Runtime finds some faults here
    what = caught.value.what
    for word in words:
        assert word in what
    assert "\n" not in what
    assert len(what) < LONGEST + 100
    for noise in ("http", "/src/", "[ONNXRuntimeError]", "Check '"):
        assert noise not in what
    assert len(caught.value.raw) >= len(what.partition(": ")[2]) - 40  # the operator may be added
