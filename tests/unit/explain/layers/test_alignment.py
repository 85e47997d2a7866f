"""Files of other tools: layers are matched by operator, size, values and position, not by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from harness.compression.export import export_tflite
from harness.core.errors import HarnessError
from harness.explain.files import tflite
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.files.other_format import OtherFormat
from harness.explain.layers.tapped import tap
from harness.explain.scene import State
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.hypotheses.test_wrong_layer import network
from tests.unit.explain.scenes import Files, operator, with_tflite


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"), network())


def foreign(content: bytes, *, twice: bool = False) -> bytes:
    """The same file with names of another tool; with some names twice, or none."""

    def rename(model: Any) -> None:
        for place, tensor in enumerate(model.subgraphs[0].tensors):
            tensor.name = (f"StatefulPartitionedCall:{place}" if not twice else "same").encode()

    return with_tflite(content, rename)


def changed(content: bytes, layer: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """Other weights of a layer, before it is renamed."""

    def edit(model: Any) -> None:
        graph = model.subgraphs[0]
        names = map(tflite.name_of, graph.tensors)
        result = next(name for name in names if name.startswith(f"{layer}:y") and "Quantize" in name)
        buffer = model.buffers[graph.tensors[operator(model, result).inputs[1]].buffer]
        buffer.data = change(np.frombuffer(buffer.data, np.int8)).astype(np.int8).tobytes()

    return with_tflite(content, edit)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("variant", ["int8", "float32"])
def test_layers_are_matched_without_names(files: Files, variant: str, twice: bool) -> None:
    model = files.int8 if variant == "int8" else files.float32
    content = export_tflite(model, name="small").data
    reference = files.side(model)
    named = files.scene(reference, files.side(content, "tflite"))
    other = files.scene(reference, files.side(foreign(content, twice=twice), "tflite"))
    assert named.tapped is not None
    assert other.tapped is not None
    right = [(pair.reference.name, pair.other.layer) for pair in named.tapped.pairs]
    assert [(pair.reference.name, pair.other.layer) for pair in other.tapped.pairs] == right
    largest = [row.accumulated.largest for row in other.table]
    assert largest == [row.accumulated.largest for row in named.table]


def test_layers_after_a_wrong_one_are_matched_by_position(files: Files) -> None:
    content = changed(files.tflite(), "relu1", lambda w: w[::-1])
    named, other = (
        files.scene(files.side(files.int8), files.side(one, "tflite")) for one in (content, foreign(content))
    )
    assert [row.point.layer for row in other.table] == [row.point.layer for row in named.table]
    assert [row.isolated for row in other.table] == [row.isolated for row in named.table]


def test_the_layer_of_a_foreign_file_is_named_as_in_the_onnx_file(files: Files) -> None:
    content = foreign(changed(files.tflite(), "conv5", lambda w: w[::-1]))
    scene = files.scene(files.side(files.int8), files.side(content, "tflite"))
    explanation = procedure.explain(scene, HYPOTHESES, 600.0)
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == (OtherFormat.name, "conv5")


def test_a_foreign_file_of_the_same_numbers_is_healthy(files: Files) -> None:
    scene = files.scene(files.side(files.int8), files.side(foreign(files.tflite()), "tflite"))
    assert OtherFormat().test(scene).state is State.REFUTED
    assert not procedure.explain(scene, HYPOTHESES, 600.0).confirmed


def test_files_without_a_common_layer_are_refused(files: Files) -> None:
    scene = files.scene(files.side(files.float32), files.side(files.float32))
    assert scene.files is not None
    with pytest.raises(HarnessError, match="no layers"):
        tap(scene.runner, scene.reference, scene.other, scene.files, [0], [])


def test_names_of_another_onnx_export_do_not_matter(files: Files) -> None:
    def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for place, node in enumerate(copy.graph.node):
            node.name = f"n{place}"
            node.output[:] = [f"v:{name}" if name != "scores" else name for name in node.output]
            given = {"x"} | {tensor.name for tensor in copy.graph.initializer}
            node.input[:] = [name if name in given else f"v:{name}" for name in node.input]
        return copy

    scene = files.scene(files.side(files.float32), files.side(renamed(files.float32), "openvino"))
    named = files.scene(files.side(files.float32), files.side(files.float32))
    assert [row.point.layer for row in scene.table] == [row.point.layer for row in named.table]
