from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file
from suites.reliability.model_file import has_half, operators
from tests.unit.suites.real_onnx import DIGITS


def artifact(path: Path, fmt: str = "onnx") -> Artifact:
    return Artifact("float32", fmt, (describe_file(path),), path.parent)


def test_operators_are_those_that_onnx_reads() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(DIGITS).graph
    assert operators(artifact(DIGITS)) == {node.op_type for node in graph.node}
    assert not has_half(artifact(DIGITS))


@pytest.mark.parametrize(("dtype", "half"), [("float16", True), ("float32", False), ("int64", False)])
def test_weights_of_16_bits(tmp_path: Path, dtype: str, half: bool) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    w = numpy_helper.from_array(np.ones(3, dtype), "w")
    value = helper.make_tensor_value_info("y", w.data_type, [3])
    nodes = [helper.make_node("Identity", ["w"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [value], [w]))
    onnx.save(model, tmp_path / "m.onnx")
    assert has_half(artifact(tmp_path / "m.onnx")) == half
    assert operators(artifact(tmp_path / "m.onnx")) == {"Identity"}


def test_weights_of_16_bits_of_an_openvino_file(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text('<layer type="Const"><data element_type="f16"/></layer>')
    assert has_half(artifact(tmp_path / "m.xml", "openvino"))
    (tmp_path / "m.xml").write_text('<layer type="Const"><data element_type="f32"/></layer>')
    assert not has_half(artifact(tmp_path / "m.xml", "openvino"))


@pytest.mark.parametrize("content", [b"", b"PLNT1234", b"\xff" * 40, bytes(64)])
def test_a_file_that_is_no_protobuf_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    assert operators(artifact(tmp_path / "m")) == frozenset()
    assert operators(replace(artifact(tmp_path / "m"), format="tflite")) == frozenset()
    assert not has_half(artifact(tmp_path / "m"))
