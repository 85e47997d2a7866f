"""A branch that rounds to zero in the scale of a Concat: the Concat and the branch are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explain.hypotheses import HYPOTHESES
from harness.explain.hypotheses.quantization.concat import SharedScale
from harness.explain.scene import State
from harness.explain.search import procedure
from tests.unit.explain import scenes
from tests.unit.explain.hypotheses.test_wrong_layer import network


@pytest.mark.parametrize("backend", ["onnxruntime", "tflite"])
def test_a_small_branch_is_named_with_its_concat(tmp_path: Path, backend: str) -> None:
    files = scenes.make(tmp_path, network(60.0))
    other = files.side(files.int8) if backend == "onnxruntime" else files.side(files.tflite(), "tflite")
    explanation = procedure.explain(files.scene(files.side(files.float32), other), HYPOTHESES, 600.0)
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == (SharedScale.name, "concat5")
    assert "conv5 uses" in cause.cause
    assert cause.share > 0.5


def test_branches_of_one_size_share_a_scale(tmp_path: Path) -> None:
    files = scenes.make(tmp_path, network())
    finding = SharedScale().test(files.scene(files.side(files.float32), files.side(files.int8)))
    assert (finding.state, finding.evidence) == (State.REFUTED, SharedScale.absent)
