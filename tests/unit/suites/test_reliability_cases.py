from __future__ import annotations

from typing import Any

import pytest

from harness.core.artifact import TensorSpec
from harness.core.errors import ConfigurationError
from harness.core.profile import Profile
from harness.core.suite import CaseContext, SetInfo
from suites.reliability import cases as plan
from suites.reliability import measure, summarise


def context(settings: dict[str, Any] | None = None, **changed: Any) -> CaseContext:
    values: dict[str, Any] = {
        "variant": "int8",
        "reference": False,
        "quantized": True,
        "task": "classification",
        "settings": settings or {},
        "sets": (SetInfo("clean", "clean", 0, 800, lambda n: ""),),
        "batch": None,
        "inputs": (TensorSpec("x", (None, 4), "float32"),),
    }
    return CaseContext(**(values | changed))


def test_every_case_can_be_measured_and_summarised() -> None:
    names = {case.name for profile in Profile for case in plan.cases(context(profile=profile, soak_s=20.0))}
    # A soak yields many parts, the others one.
    assert names == {*measure.CASES, plan.SOAK} == set(summarise.CASES)


def test_provenance_is_asked_in_both_settings_and_the_rest_as_shipped() -> None:
    cases = plan.cases(context())
    both = {"provenance", "batch_invariance", "thread_invariance", "call_forms"}
    for name in both:
        assert sorted(case.setting for case in cases if case.name == name) == ["deploy", "parity"]
    assert {case.setting for case in cases if case.name not in both} == {"deploy"}
    assert len({(case.name, case.setting) for case in cases}) == len(cases)


def test_reference_on_the_host_is_not_tried() -> None:
    assert plan.cases(context(reference=True)) == ()


@pytest.mark.parametrize(
    ("changed", "rows"), [({}, 8), ({"max_samples": 3}, 3), ({"settings": {"rows": 20}}, 20)]
)
def test_rows(changed: dict[str, Any], rows: int) -> None:
    assert {case.samples for case in plan.cases(context(**changed))} == {rows}


def test_more_damage_has_more_time() -> None:
    few, many = (
        next(case for case in plan.cases(context({"bit_flips": n})) if case.name == "bit_flips")
        for n in (10, 500)
    )
    assert many.deadline_s - few.deadline_s == 490 * plan.DAMAGE_ALLOWANCE_S
    assert many.params == {"count": 500, "seed": 0}


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ({"bitflips": 5}, "bitflips", "did you mean bit_flips?"),
        ({"rows": 0}, "rows", "at least 1"),
        ({"rows": 2.5}, "rows", "whole number"),
        ({"repeats": True}, "repeats", "whole number"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"threads": [1]}, "threads", "2 or more different"),
        ({"threads": [2, 2]}, "threads", "different"),
        ({"threads": [0, 1]}, "threads", "at least 1"),
        ({"threads": 4}, "threads", "list"),
    ],
)
def test_check_names_the_key_and_what_it_must_be(table: dict[str, Any], key: str, says: str) -> None:
    ((wrong_key, message),) = plan.check(table)
    assert wrong_key == key
    assert says in message


def test_check_reports_every_problem_and_read_refuses() -> None:
    table = {"rows": 0, "threads": [], "typo": 1}
    assert [key for key, _ in plan.check(table)] == ["typo", "rows", "threads"]
    with pytest.raises(ConfigurationError) as caught:
        plan.read(table)
    assert len(caught.value.problems) == 3


def test_an_emulated_device_has_fewer_rows_and_more_time() -> None:
    def params(name: str, **changed: Any) -> Any:
        return next(case.params for case in plan.cases(context(**changed)) if case.name == name)

    few = {case.name for case in plan.cases(context(emulated=True)) if case.samples == 2}
    assert few == {"determinism", "call_forms", "nonfinite_input", "provenance"}
    assert params("batch_invariance") == {"batches": [], "seconds": 0.5}
    assert params("batch_invariance", emulated=True) == {"batches": [], "seconds": 3.0}
    assert params("thread_invariance", emulated=True, settings={"seconds": 9.0})["seconds"] == 9
    assert params("thread_invariance", emulated=True, settings={"threads": [1, 4]})["threads"] == [1, 4]
    assert params("reload", emulated=True) == {"reloads": 24, "seconds": 3.0}


def test_read_freezes_what_toml_gives() -> None:
    settings = plan.read({"threads": [2, 1], "seed": 0})
    assert settings.threads == (2, 1)
    assert settings.bit_flips == plan.Settings().bit_flips
