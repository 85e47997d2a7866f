"""One int8 file on LiteRT and on TensorFlow Lite for Microcontrollers: the table by layer."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from tests.unit.explain import scenes


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="there is no wheel of tflite-micro"
)
def test_layers_of_a_microcontroller_differ_by_one_rounding_each(tmp_path: Path) -> None:
    files = scenes.make(tmp_path)
    lite, micro = (files.side(files.tflite(), backend) for backend in ("tflite", "tflm"))
    scene = files.scene(lite, micro)
    table = {row.point.layer: row for row in scene.table}
    assert scene.refused == {}
    assert {"conv1", "depthwise2", "conv3", "add4", "conv5", "pool6", "fc7"} <= table.keys()
    isolated = {layer: row.isolated.steps for layer, row in table.items() if row.isolated is not None}
    assert isolated.keys() == table.keys()
    # Fed with the same numbers, no layer is more than one step of its own scale away; some are.
    assert max(steps or 0.0 for steps in isolated.values()) == pytest.approx(1.0)
    assert isolated["conv1"] == pytest.approx(1.0)
    assert scene.gap > 0
