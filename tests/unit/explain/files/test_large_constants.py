"""Files that are made of a model without its large constants hold the same numbers as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from harness.explain.files import large_constants
from harness.explain.files.graph import types
from harness.explain.files.model_file import OnnxFile

SIZES = (3, 4096, 70_000)


def model() -> onnx.ModelProto:
    """A small constant, one of a few kilobytes, and one whose length takes three bytes."""
    random = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(random.normal(size=(size, 2)).astype(np.float32), f"w{size}")
        for size in SIZES
    ]
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [2, 5000], random.normal(size=10_000).tolist())
    nodes = [helper.make_node("MatMul", [f"x{size}", f"w{size}"], [f"y{size}"]) for size in SIZES]
    nodes.append(helper.make_node("MatMul", ["y3", "typed"], ["z"]))
    inputs = [helper.make_tensor_value_info(f"x{size}", TensorProto.FLOAT, ["n", size]) for size in SIZES]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in (*(f"y{size}" for size in SIZES), "z")
    ]
    graph = helper.make_graph(nodes, "sizes", inputs, outputs, [*constants, typed])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def by_name(tensors: list[onnx.TensorProto]) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in tensors}


def test_the_written_file_is_the_model() -> None:
    original = model()
    copied = large_constants.lean(original)
    assert copied.ByteSize() < 20_000
    content = large_constants.content(copied, by_name(list(original.graph.initializer)))
    written = onnx.load_from_string(content)
    assert by_name(list(written.graph.initializer)) == by_name(list(original.graph.initializer))
    assert list(written.graph.node) == list(original.graph.node)
    assert written.opset_import == original.opset_import
    feeds = {f"x{size}": np.ones((2, size), np.float32) for size in SIZES}
    one, two = (
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
        for data in (content, original.SerializeToString())
    )
    assert all(map(np.array_equal, one, two))


def test_openvino_reads_it(tmp_path: Path) -> None:
    import openvino

    original = model()
    (tmp_path / "joined.onnx").write_bytes(
        large_constants.content(large_constants.lean(original), by_name(list(original.graph.initializer)))
    )
    read = openvino.Core().read_model(tmp_path / "joined.onnx")
    assert sum(op.get_type_name() == "MatMul" for op in read.get_ops()) == 4


def test_parts_have_the_constants_that_they_need_alone(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model().SerializeToString())
    file = OnnxFile(tmp_path / "model.onnx")
    content, inputs = file.alone({}, ["y4096"])
    assert inputs == ["x4096"]
    assert len(content) < 4096 * 8 + 2000
    part = file.part({}, ["y4096"])
    assert part == onnx.load_from_string(content)
    assert types(large_constants.lean(file.model))["z"] == TensorProto.FLOAT


def test_small_models_stay_as_they_are() -> None:
    small = helper.make_model(helper.make_graph([], "none", [], []))
    assert large_constants.lean(small) == small
    assert large_constants.content(small, {}) == small.SerializeToString()
