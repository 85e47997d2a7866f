"""The bundled examples beside digits pass, from their own validation.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness as api
from tests.e2e.shell import Shell

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("name", ["cancer"])
def test_an_example_passes(harness: Shell, name: str) -> None:
    ended = harness("validate", "--model", str(MODELS / name), "--suite", "accuracy", "--target", "cpu")
    assert ended.code == 0, ended.out + ended.err
    assert ended.out.rstrip().endswith("verdict: PASS (0)")
    rows = api.load("latest", results=harness.folder / "results")
    clean = rows[(rows.metric == "accuracy") & (rows.case == "clean") & (rows.target == "cpu")]
    share = clean[(clean.variant == "float32") & (clean.setting == "deploy")].value.item()
    assert f"**{100 * share:.2f} %**" in (MODELS / name / "README.md").read_text(encoding="utf-8")
