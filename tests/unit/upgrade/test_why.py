"""Which layer and cause are named where two versions give other bits, and where nodes run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.core.job import Samples
from harness.explain.hypotheses import HYPOTHESES
from harness.upgrade import text, why
from harness.upgrade.run_both import Why
from harness.upgrade.targets import NEW, OLD
from tests.unit.explain import scenes
from tests.unit.explain.scenes import PARITY, Files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def test_layer_and_cause_of_other_bits_are_named(made: Files) -> None:
    """The new version runs other kernels."""
    old = made.side(made.tflite(), "tflite")
    new = replace(old, label="new 2.0", options=replace(PARITY, provider="builtin"))
    named = why.of_scene(made.scene(old, new), HYPOTHESES, 60.0, lambda line: None)
    assert (named.layer, named.operator) == ("conv1", "Conv")
    assert len(named.causes) == 1
    assert named.causes[0].startswith("new 2.0 runs on builtin, whose kernels round otherwise")
    assert named.reason == ""
    assert named.facts["layers"]


def test_equal_versions_name_nothing(made: Files) -> None:
    side = made.side(made.int8)
    named = why.of_scene(made.scene(side, side), HYPOTHESES, 60.0, lambda line: None)
    assert (named.layer, named.causes) == ("", ())
    assert named.reason == "run again, both versions give the same"


def test_samples_with_other_bits() -> None:
    first = {"output:0": np.zeros((5, 2), np.float32), "output:1": np.zeros((5, 3, 2)), "ids": np.arange(5)}
    second = {name: array.copy() for name, array in first.items()}
    assert why.differing({OLD: Samples(first), NEW: Samples(second)}) == []
    second["output:0"][3, 1] = -0.0  # other bits of an equal number
    second["output:1"][1, 2, 0] = 1e-9
    second["ids"] += 1
    assert why.differing({OLD: Samples(first), NEW: Samples(second)}) == [1, 3]
    other_shape = {**second, "output:1": second["output:1"][:, :2]}
    assert why.differing({OLD: Samples(first), NEW: Samples(other_shape)}) == [3]


def test_nodes_are_counted_by_provider(made: Files) -> None:
    side = made.side(made.float32)
    runner = made.scene(side, side).runner
    (provider,) = (placed := runner.placement(side))
    assert provider == "CPUExecutionProvider"
    assert placed[provider] > 0
    assert runner.samples(side, [0]).placement == {}


@pytest.mark.parametrize(
    ("named", "lines"),
    [
        (Why(), []),
        (
            Why("conv1", "Conv", ("kernels",)),
            [("first layer", "conv1 (Conv)"), ("cause", "kernels")],
        ),
        (Why(reason="a side died"), [("cause", "not named: a side died")]),
        (
            Why(placement={OLD: {"CUDA": 3}, NEW: {"CPU": 1, "CUDA": 2}}),
            [("placement", "3 nodes on CUDA -> 1 node on CPU, 2 nodes on CUDA")],
        ),
        (Why(placement={OLD: {"CUDA": 3}, NEW: {"CUDA": 3}}), []),
    ],
)
def test_lines(named: Why, lines: list[tuple[str, str]]) -> None:
    assert list(text._why(named)) == lines
