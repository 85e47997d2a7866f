"""Other int8 recipes are tried where a gate on a quantized variant fails, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.compression.variant import Variant
from harness.config.load import check
from harness.config.validation import Validation
from harness.core.artifact import Artifact, describe_file
from harness.core.verdict import State
from harness.run import int8_trials

MINMAX, CLUSTERED = [{"pass": "quantize"}], [{"pass": "cluster"}, {"pass": "quantize"}]


@dataclass
class Data:
    """Calibration samples of a classifier whose first feature has outliers."""

    rows: np.ndarray[Any, Any] = field(
        default_factory=lambda: np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32)
    )

    @property
    def calibration(self) -> Any:
        return SimpleNamespace(labels=np.zeros(len(self.rows), int))

    def calibration_feeds(self) -> Iterator[dict[str, Any]]:
        return ({"x": row[None]} for row in self.rows)


def float32(folder: Path) -> Variant:
    weights = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    return Variant(
        "float32", {"onnx": Artifact("float32", "onnx", (describe_file(folder / "m.onnx"),), folder)}
    )


def prepared(folder: Path, data: Data, **recipes: list[dict[str, Any]]) -> Any:
    table = {
        "model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d"},
        "variants": {name: {"recipe": recipe} for name, recipe in recipes.items()},
    }  # fmt: skip
    validation = check(table, Validation, where="")
    return SimpleNamespace(
        inputs=SimpleNamespace(validation=validation, variants=(float32(folder),), data=data)
    )


def outcome(variant: str, state: State, *, blocks: bool = True) -> Any:
    return SimpleNamespace(verdicts=(SimpleNamespace(variant=variant, state=state, blocks=blocks),))


@pytest.mark.parametrize(
    ("variant", "state", "blocks"),
    [
        ("int8", State.PASS, True),
        ("int8", State.INCONCLUSIVE, True),
        ("int8", State.FAIL, False),
        ("float32", State.FAIL, True),
        ("clustered", State.FAIL, True),
    ],
)
def test_nothing_is_tried_without_a_failure_of_int8(
    tmp_path: Path, variant: str, state: State, blocks: bool
) -> None:
    run = prepared(tmp_path, Data(), int8=MINMAX, clustered=CLUSTERED)
    int8_trials.try_others(tmp_path, run, outcome(variant, state, blocks=blocks))
    assert int8_trials.advice(tmp_path, variant) == ("", "")
    assert not (tmp_path / int8_trials.FILE).exists()


def test_a_failure_names_a_recipe_and_its_figures(tmp_path: Path) -> None:
    run = prepared(tmp_path, Data(), int8=[{"pass": "quantize", "activations": "int8"}])
    int8_trials.try_others(tmp_path, run, outcome("int8", State.FAIL))
    recipe, text = int8_trials.advice(tmp_path, "int8")
    assert recipe == '[{ pass = "quantize", calibration = "minmax" }]'
    assert "on 20 calibration samples, float32" in text
    assert "minmax" in text
    assert int8_trials.advice(tmp_path, "other") == ("", "")


@pytest.mark.parametrize("recipe", [MINMAX, [{"pass": "quantize", "calibration": "minmax"}]])
def test_the_recipe_in_use_is_no_advice(tmp_path: Path, recipe: list[dict[str, Any]]) -> None:
    run = prepared(tmp_path, Data(), int8=recipe)
    int8_trials.try_others(tmp_path, run, outcome("int8", State.FAIL))
    assert int8_trials.advice(tmp_path, "int8") == ("", "")


def test_without_calibration_data_there_is_no_advice(tmp_path: Path) -> None:
    run = prepared(tmp_path, Data(np.zeros((0, 6), np.float32)), int8=MINMAX)
    int8_trials.try_others(tmp_path, run, outcome("int8", State.FAIL))
    assert int8_trials.advice(tmp_path, "int8") == ("", "")
