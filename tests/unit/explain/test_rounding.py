"""Integer layers that round otherwise: each side's way is named, with the first layer."""

from __future__ import annotations

import platform
import sys

import pytest

from harness.explain import procedure
from harness.explain.hypotheses import HYPOTHESES

from . import scenes
from .scenes import Files


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
    assert cause.cause == (
        "tflm:int8 rounds twice, half away from zero; onnxruntime:int8 rounds once, half to even"
    )
    assert (cause.hypothesis, cause.layer) == ("rounding", "conv1")
