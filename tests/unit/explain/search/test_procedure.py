"""The JSON of an explanation needs no run: targets are released by then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.explain.hypotheses.pipeline.classes import Classes
from harness.explain.search import procedure
from harness.explain.sides.runner import Runner, Trial
from harness.explain.sides.side import Side
from harness.explain.words import as_json, text
from tests.unit.explain import scenes
from tests.unit.explain.hypotheses.test_causes import rotated


def test_nothing_is_run_after_the_explanation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = scenes.make(tmp_path)
    scene = files.scene(files.side(files.float32), files.side(rotated(files)))  # type: ignore[arg-type]
    explanation = procedure.explain(scene, [Classes()], 600.0)

    def many(self: Runner, side: Side, trials: Sequence[Trial], steps: object = None) -> None:
        raise AssertionError(f"{side.label} was run")

    monkeypatch.setattr(Runner, "many", many)
    content = as_json.as_json(explanation)
    assert [row["layer"] for row in content["layers"]][-1] == "fc7"
    assert "fc7" in text.text(explanation)


def test_layers_are_not_begun_after_the_time(tmp_path: Path) -> None:
    files = scenes.make(tmp_path)
    scene = files.scene(files.side(files.float32), files.side(rotated(files)))  # type: ignore[arg-type]
    explanation = procedure.explain(scene, [Classes()], -1.0)
    assert explanation.layers == []
    assert explanation.left_out == ["order of classes"]
    assert as_json.as_json(explanation)["layers"] == []
    assert not scene.has_table


def test_causes_that_leave_most_of_the_difference_do_not_decide(tmp_path: Path) -> None:
    files = scenes.make(tmp_path)
    scene = files.scene(files.side(files.float32), files.side(rotated(files)))  # type: ignore[arg-type]
    explanation = procedure.explain(scene, [Classes()], 600.0)
    assert explanation.is_decided
    explanation.left_share = 0.6
    assert explanation.confirmed
    assert not explanation.is_decided
    assert "unexplained" in text.text(explanation)
