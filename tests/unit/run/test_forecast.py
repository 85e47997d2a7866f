"""What can be told of gates before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, Options
from harness.core.plan import Plan
from harness.core.target import Target
from harness.core.verdict import Gate
from harness.run import forecast
from harness.run.declared import installed

ARTIFACT = Artifact("int8", "onnx", (File("m", "0" * 64, 1),), Path())
CASES = {"accuracy": (Case("clean", samples=400), Case("fog", severity=3, samples=400)),
         "performance": (Case("single_stream"), Case("offline"))}  # fmt: skip


def planned(*suites: str) -> Plan:
    options = {"deploy": Options()}
    return Plan(tuple(Batch("cpu", "onnxruntime", "int8", suite, ARTIFACT, options, {}, {}, CASES[suite])
                      for suite in suites))  # fmt: skip


def gate(**more: Any) -> Gate:
    return Gate(**{"name": "g", "suite": "accuracy", "metric": "accuracy", "minimum": 0.9, **more})


def warned(gate: Gate, results: Path = Path("none"), plan: Plan | None = None) -> list[str]:
    return forecast.warnings([gate], plan or planned("accuracy", "performance"), "m", results)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cases": ("fog",), "severities": (3,)},
        {"suite": "performance", "cases": ("offline_b8",)},
        {"cases": ("clean/3",), "metric": "class_accuracy_loss"},
        {
            "targets": ("pi",),
            "cases": ("nothing",),
        },  # a target that was not selected
        {"variants": ("int4",), "cases": ("nothing",)},
        {"suite": "reliability", "cases": ("nothing",)},
        {"suite": "compression", "metric": "file_byte", "cases": ("a layer",)},
    ],
)
def test_gates_that_something_answers(fields: dict[str, Any]) -> None:
    assert warned(gate(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"cases": ("claen",)}, "no case of accuracy is claen in the setting deploy; did you mean clean?"),
        ({"cases": ("fog",), "severities": (4, 5)},
         "no case of accuracy is fog in the setting deploy, severity 4 or 5"),
        ({"setting": "parity"}, "no case of accuracy is * in the setting parity"),
    ],
)  # fmt: skip
def test_a_case_that_nothing_is_called(fields: dict[str, Any], lines: str) -> None:
    assert warned(gate(**fields)) == [f"gate g will be NOT_RUN: {lines}"]


def test_a_baseline_that_is_not_there(tmp_path: Path) -> None:
    relative = gate(of="change", baseline="accpted", minimum=None, maximum=1.0)
    assert warned(relative, tmp_path) == [
        "gate g will be NOT_RUN: there is no baseline accpted of cpu "
        "(harness baseline save RUN --name accpted)"
    ]
    (tmp_path / "baselines" / "m" / "cpu" / "accepted").mkdir(parents=True)
    assert warned(relative, tmp_path) == [
        "gate g will be NOT_RUN: there is no baseline accpted of cpu; did you mean accepted?"
    ]
    (tmp_path / "baselines" / "m" / "cpu" / "accpted").mkdir()
    assert warned(relative, tmp_path) == []


def test_a_row_named_after_its_job_is_planned() -> None:
    lines = forecast.sentences(
        [gate(suite="performance", metric="throughput", cases=("offline_b8",), minimum=1.0)],
        planned("performance"), [Target("cpu", "", ("onnxruntime",))], installed(),
    )  # fmt: skip
    assert lines == ["gate g: planned"]


def test_sequences_are_counted_and_not_their_rows() -> None:
    loss = gate(metric="accuracy_loss", minimum=None, maximum=1.0)
    rows = Case("clean", samples=400, params={"sequences": [8] * 50})
    plan = planned("accuracy")
    sequences = Plan((replace(plan.batches[0], cases=(rows,)),))
    target = [Target("cpu", "", ("onnxruntime",))]
    (line,) = forecast.sentences([loss], sequences, target, installed())
    assert "50 samples decide losses above 5.13 pt" in line
    assert "it can never pass" in line
    (line,) = forecast.sentences([loss], plan, target, installed())
    assert "400 samples decide losses above 0.67 pt" in line
