"""The table ``[gates]``: which gates it stands for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.load import check
from harness.config.validation import Validation
from harness.core.verdict import Gate


def validation(limits: dict[str, Any], *, task: str = "classification", **tables: Any) -> Validation:
    raw: dict[str, Any] = {
        "schema": 1, "model": {"name": "m", "file": "m.onnx", "task": task},
        "data": {"path": "d.npz"}, "shifts": {"kind": "image", "families": ["fog"]}, "gates": limits,
        "suites": {"accuracy": {}},
    }  # fmt: skip
    return check({**raw, **tables}, Validation, where="validation.toml")


def texts(one: Validation) -> list[str]:
    return [f"{problem.path}: {problem.message}" for problem in one.inconsistencies()]


def test_each_key_stands_for_gates_of_the_task() -> None:
    one = validation(
        {"max_loss": "1 pt", "max_loss_mean": 2, "max_loss_worst": "3 pt"},
        data={"path": "d.npz", "group": "site", "time": "date"},
    )
    assert texts(one) == []
    assert [(gate.name, gate.metric, gate.maximum, gate.maximum_unit) for gate in one.gates] == [
        ("max_loss", "accuracy_loss", 1, "pt"),
        ("max_loss_mean", "accuracy_loss", 2, ""),
        ("max_loss_worst, family", "worst_family_loss", 3, "pt"),
        ("max_loss_worst, class", "worst_class_accuracy_loss", 3, "pt"),
        ("max_loss_worst, group", "worst_group_accuracy_loss", 3, "pt"),
        ("max_loss_worst, window", "worst_window_accuracy_loss", 3, "pt"),
    ]
    first, mean = one.gates[:2]
    assert first == Gate(
        "max_loss", "accuracy", "accuracy_loss", cases=("clean",), reference="float32@host", maximum=1,
        maximum_unit="pt",
    )  # fmt: skip
    assert (mean.combine, mean.severities) == ("mean", (1, 2, 3, 4, 5))


def test_without_shifts_only_the_class_is_left() -> None:
    one = validation({"max_loss_worst": "3 pt"}, shifts={"kind": "none"})
    assert [gate.name for gate in one.gates] == ["max_loss_worst, class"]


def test_no_table_is_no_gate() -> None:
    assert validation({}).gates == ()


@pytest.mark.parametrize(
    ("limits", "tables", "text"),
    [
        (
            {"max_loss_mean": 1},
            {"shifts": {"kind": "none"}},
            "gates.max_loss_mean: limits the mean over shifts",
        ),
        ({"max_loss_worst": 1}, {"task": "regression"}, "gates.max_loss_worst: limits the worst family"),
        ({"max_loss": 1}, {"task": "anomaly"}, ""),
        ({"max_loss": 1}, {"suites": {}}, "gates.max_loss: no suite in [suites] measures accuracy_loss"),
        (
            {"max_loss": 1},
            {"gate": [{"name": "max_loss", "suite": "accuracy", "metric": "accuracy", "min": 0.5}]},
            "gate[0].name: the name 'max_loss' is that of a limit in [gates]",
        ),
    ],
)
def test_a_key_that_limits_nothing_is_refused(
    limits: dict[str, Any], tables: dict[str, Any], text: str
) -> None:
    problems = texts(validation(limits, **tables))
    assert any(problem.startswith(text) for problem in problems) if text else problems == []
