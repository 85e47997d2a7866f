"""A layer of the quantized file that is not the float model's, as no other hypothesis looks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.quantization.one_layer import OneLayer
from harness.explain.scene import State
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.hypotheses.test_wrong_layer import network, setting
from tests.unit.explain.scenes import Files, with_constant


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"), network())


def with_codes(files: Files, layer: str, change: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    node = next(node for node in files.int8.graph.node if node.name == layer)
    codes = scenes.makers(files.int8)[node.input[1]].input[0]
    return with_constant(files.int8, codes, change)


def padded_otherwise(files: Files) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(files.int8)
    setting("conv3", pads=[0, 0, 2, 2])(changed)
    return changed


PLANTED: dict[str, tuple[Callable[[Files], onnx.ModelProto], str, str]] = {
    "kernels": (
        lambda f: with_codes(f, "conv3", lambda w: w[:, :, ::-1, ::-1]), "conv3",
        "its kernels are rotated by 180 degrees",
    ),
    "order": (lambda f: with_codes(f, "conv5", lambda w: w[:, ::-1]), "conv5", "input channels are in"),
    "pads": (padded_otherwise, "conv3", "it pads [0, 0, 2, 2] and not [1, 1, 1, 1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_the_layer_and_its_mistake_are_named(files: Files, name: str) -> None:
    change, layer, text = PLANTED[name]
    scene = files.scene(files.side(files.float32), files.side(change(files)))
    tested = HYPOTHESES if name == "pads" else [OneLayer()]  # no other takes it
    explanation = procedure.explain(scene, tested, 600.0)
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == (OneLayer.name, layer)
    assert text in cause.cause


def test_a_healthy_file_has_no_such_layer(files: Files) -> None:
    scene = files.scene(files.side(files.float32), files.side(files.int8))
    assert OneLayer().test(scene).state is State.REFUTED
