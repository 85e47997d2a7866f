"""Which checks are installed, where a plan asks for them, and how a validation relaxes them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from harness.config.load import check as read
from harness.config.validation import Validation
from harness.core.check import Check, places
from harness.core.errors import ConfigurationError, HarnessError
from harness.core.suite import CaseContext
from harness.core.verdict import Gate
from harness.device import plugins
from harness.report import checks as checks_text
from harness.run import checks
from harness.run.name_checks import check_validation
from harness.testing.faults import FAULTS


def one(name: str = "a", suite: str = "accuracy", **more: Any) -> Check:
    return Check(Gate(name, suite, "m", maximum=1.0), why="it is so", failure="it is not", **more)


def install(monkeypatch: pytest.MonkeyPatch, **listed: Any) -> None:
    class Listed:
        distribution, group = "theirs", plugins.CHECKS

        def __init__(self, name: str, value: Any) -> None:
            self.name, self.value = name, value
            self.entry = type("Entry", (), {"value": f"theirs:{name}"})

        def load(self) -> Any:
            return self.value

    catalogue = {name: Listed(name, value) for name, value in listed.items()}
    real = plugins.catalogue
    monkeypatch.setattr(
        plugins, "catalogue", lambda group: catalogue if group == plugins.CHECKS else real(group)
    )


def context(variant: str = "int8", **more: Any) -> CaseContext:
    given: dict[str, Any] = {
        "variant": variant, "reference": False, "quantized": variant != "float32", "task": "classification",
        "settings": {}, "sets": (), "batch": None, "inputs": (), **more,
    }  # fmt: skip
    return CaseContext(**given)


def test_the_checks_of_the_suites_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ours=(one("a"), one("b", "reliability")), theirs=(one("c"),))
    assert list(checks.installed(["accuracy"])) == ["a", "c"]
    assert list(checks.installed(["accuracy", "reliability"])) == ["a", "b", "c"]


@pytest.mark.parametrize("listed", [[one()], one(), (one(), "b"), None])
def test_a_plug_in_that_lists_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, listed: Any) -> None:
    install(monkeypatch, theirs=listed)
    with pytest.raises(HarnessError, match="theirs is no tuple"):
        checks.installed(["accuracy"])


def test_two_checks_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, one=(one("a"),), two=(one("a", "reliability"),))
    with pytest.raises(HarnessError, match="a is the name of two checks"):
        checks.installed(["accuracy"])


def test_a_check_is_asked_for_where_it_applies() -> None:
    listed = [
        one("everywhere"),
        one("other", "reliability"),
        one("labelled", applies=lambda context: context.labelled),
        Check(Gate("float", "accuracy", "m", variants=("float32",), maximum=1.0), "", ""),
    ]
    asked = places(listed, "accuracy", context("int8"), "pi", "tflite")
    assert [tuple(vars_of) for vars_of in map(_fields, asked)] == [("everywhere", "pi", "tflite", "int8")]
    with_labels = places(listed, "accuracy", context("float32", labelled=True), "pi", "tflite")
    assert [place.check for place in with_labels] == ["everywhere", "labelled", "float"]


def _fields(place: Any) -> tuple[str, ...]:
    return place.check, place.target, place.backend, place.variant


def problems_of(relax: dict[str, str], gate_name: str = "mine") -> str:
    gate = {"name": gate_name, "suite": "accuracy", "metric": "accuracy", "min": 0.5}
    tables = {"model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d.npz"}, "gate": [gate],
              "checks": {"relax": relax}}  # fmt: skip
    try:
        check_validation(read(tables, Validation, where="here"), Path("validation.toml"))
    except ConfigurationError as error:
        return "\n".join(map(str, error.problems))
    return ""


def test_relaxing_names_a_check_and_a_reason() -> None:
    assert problems_of({"same-inputs-as-host": "the camera preprocesses"}) == ""
    assert "did you mean 'same-inputs-as-host'" in problems_of({"same-input-as-host": "why"})
    assert "checks.relax.same-inputs-as-host" in problems_of({"same-inputs-as-host": "  "})
    assert "is the name of a built-in check" in problems_of({}, "same-inputs-as-host")


def test_the_list_and_the_description_name_bound_and_remedy() -> None:
    listed = {"a": one("a", faults=("leak",)), "b": one("b", "reliability")}
    text = checks_text.text(listed)
    assert text.splitlines()[1].split() == ["a", "accuracy", "m", "<=", "1", "it", "is", "not"]
    described = checks_text.text(listed, "a")
    assert "[checks.relax] a = " in described
    assert "leak" in described
    with pytest.raises(HarnessError, match="unknown check 'c'"):
        checks_text.text(listed, "c")


def test_every_installed_check_can_fail_and_is_described() -> None:
    """What a suite declares: a bound, a reason, and a metric that the suite makes."""
    from harness.run import declared

    suites = plugins.catalogue(plugins.SUITES)
    metrics = declared.installed()
    planted = {fault.name for fault in FAULTS}
    for name, check in checks.installed(suites).items():
        gate = check.gate
        assert name == name.lower().replace(" ", "-").replace("_", "-")
        assert gate.maximum is not None or gate.minimum is not None, name
        assert gate.severity == "block", name
        assert check.why.endswith("."), name
        assert not check.failure.endswith("."), name
        assert set(check.faults) <= planted, f"{name} names a fault that is not planted"
        assert any(fnmatchcase(metric, gate.metric) for metric in metrics.suites[gate.suite]), name
