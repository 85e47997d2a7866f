"""The JSON of an explanation needs no run: targets are released by then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.exit_code import ExitCode
from harness.explain.hypotheses.pipeline.classes import Classes
from harness.explain.hypotheses.quantization.spread import Spread
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


def test_what_was_not_tested_is_not_called_unexplained(tmp_path: Path) -> None:
    """Without time for any hypothesis nothing is known: what was left out, and how to give it longer."""
    files = scenes.make(tmp_path)
    scene = files.scene(files.side(files.float32), files.side(rotated(files)))  # type: ignore[arg-type]
    explanation = procedure.explain(scene, [Classes(), Spread()], -1.0)
    words = text.text(explanation)
    assert "no hypothesis explains" not in words
    assert "2 of 2 hypotheses were not tested" in words
    assert "order of classes, 8 bits; next: the same harness explain with --budget 60s" in words
    assert text.exit_code(explanation) is ExitCode.INCONCLUSIVE
    explanation.budget_s = 60.0
    assert "the time (60 s) was used up" in text.nothing(explanation)
    assert text.nothing(explanation).endswith("--budget 180s")
