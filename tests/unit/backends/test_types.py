"""Types and shapes besides float32 matrices, on the runtimes that open ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends.onnxruntime_ import OnnxRuntimeBackend
from backends.openvino_ import OpenVinoBackend
from harness.core.errors import BackendError
from harness.core.job import Options

pytestmark = pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])

VALUES = {
    "DOUBLE": np.array([1.5, -2.0]),
    "FLOAT16": np.array([1.5, -2.0], np.float16),
    "INT8": np.array([-128, 127], np.int8),
    "UINT8": np.array([0, 255], np.uint8),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-5, 7]),
    "BOOL": np.array([True, False]),
    "STRING": np.array(["", "größer"], object),
}


@pytest.mark.parametrize("kind", VALUES)
def test_value_passes_unchanged(backend: Any, kind: str, write: Any) -> None:
    x = VALUES[kind]
    # Not Identity: OpenVINO 2026.4 aborts when it frees the strings of a model that computes nothing.
    artifact = write([("Concat", ["x", "x"], ["y"], {"axis": 0})], [("x", kind, [2])], [("y", kind, [4])])
    wanted = np.concatenate([x, x])
    with backend().open(artifact, Options(threads=1)) as session:
        assert session.inputs[0].dtype == session.outputs[0].dtype == x.dtype.name
        y = session.run({"x": x})["y"]
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(session.bind({"x": x})()["y"], wanted)
        wrong = x.astype(np.int16) if kind != "STRING" else np.zeros(2, np.int16)
        with pytest.raises(BackendError, match="takes"):
            session.run({"x": wrong})


def test_tensor_without_dimensions(backend: Any, write: Any) -> None:
    artifact = write([("Neg", ["x"], ["y"])], [("x", "FLOAT", [])], [("y", "FLOAT", [])])
    with backend().open(artifact, Options(threads=1)) as session:
        assert session.inputs[0].shape == ()
        y = session.run({"x": np.array(3, np.float32)})["y"]
        assert y.shape == ()
        assert y == -3
        if backend is not OnnxRuntimeBackend:  # it does not tell a scalar from a tensor of unknown rank
            with pytest.raises(BackendError):
                session.run({"x": np.ones(1, np.float32)})


def test_output_keeps_the_name_of_the_file(backend: Any, write: Any) -> None:
    # A compiler that removes the Identity gives the tensor both names.
    nodes = [("Relu", ["x"], ["a"]), ("Identity", ["a"], ["b"])]
    artifact = write(nodes, [("x", "FLOAT", [2])], [("b", "FLOAT", [2])])
    with backend().open(artifact, Options(threads=1)) as session:
        assert list(session.run({"x": np.ones(2, np.float32)})) == ["b"]


def test_two_outputs_keep_their_order(backend: Any, write: Any) -> None:
    nodes = [("Relu", ["x"], ["a"]), ("Neg", ["x"], ["b"])]
    outputs = [("b", "FLOAT", [2]), ("a", "FLOAT", [2])]
    artifact = write(nodes, [("x", "FLOAT", [2])], outputs)
    with backend().open(artifact, Options(threads=1)) as session:
        results = session.run({"x": np.array([1, -1], np.float32)})
    assert list(results) == ["b", "a"]
    np.testing.assert_array_equal(results["a"], [1, 0])
    np.testing.assert_array_equal(results["b"], [-1, 1])
