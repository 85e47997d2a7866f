from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import ConfigurationError
from harness.core.job import Case
from harness.core.suite import CaseContext, SetInfo
from suites.accuracy.summarise import AccuracySuite


def info(name: str, family: str, severity: int) -> SetInfo:
    return SetInfo(name, family, severity, 800, lambda n: f"{name}:{n}")


SETS = (info("clean", "clean", 0), info("fog_1", "fog", 1), info("fog_5", "fog", 5))


def cases(**changed: Any) -> tuple[Case, ...]:
    fields: dict[str, Any] = {
        "variant": "int8", "reference": False, "quantized": True, "task": "classification", "settings": {},
        "sets": SETS, "batch": None, "inputs": (),
    }  # fmt: skip
    return AccuracySuite().cases(CaseContext(**(fields | changed)))


def named(cases_: tuple[Case, ...]) -> list[tuple[str, int, str, str]]:
    return [(case.name, case.severity, case.setting, case.data) for case in cases_]


def test_deploy_runs_on_every_set_and_parity_on_the_clean_one() -> None:
    assert named(cases()) == [
        ("clean", 0, "deploy", "clean"),
        ("fog", 1, "deploy", "fog_1"),
        ("fog", 5, "deploy", "fog_5"),
        ("clean", 0, "parity", "clean"),
    ]


def test_the_float_reference_runs_in_parity_on_every_set() -> None:
    planned = cases(variant="float32", reference=True)
    assert named(planned) == [
        ("clean", 0, "parity", "clean"),
        ("fog", 1, "parity", "fog_1"),
        ("fog", 5, "parity", "fog_5"),
    ]


MISTAKE = SetInfo("rotated_1", "rotated", 1, 800, lambda n: f"rotated:{n}", mistake=True)


def test_mistakes_are_for_the_float_model_on_targets_alone() -> None:
    def run(variant: str, *, reference: bool = False) -> list[Case]:
        planned = cases(variant=variant, reference=reference, sets=(*SETS, MISTAKE))
        return [case for case in planned if case.name == "rotated"]

    (case,) = run("float32")
    assert case.params["mistake"] is True
    assert run("int8") == run("float32", reference=True) == []


def test_a_skipped_family_is_a_case_with_the_reason() -> None:
    *_, skipped = cases(skipped_shifts={"saturate": "it is grey"})
    assert (skipped.name, skipped.severity, skipped.skipped) == ("saturate", 1, "it is grey")


def test_another_variant_is_a_reference_on_the_clean_set_only() -> None:
    assert named(cases(reference=True)) == [("clean", 0, "parity", "clean")]


def test_fewer_samples_on_a_target_change_the_expected_digest_too() -> None:
    planned = cases(max_samples=64)
    assert {case.samples for case in planned} == {64}
    assert planned[1].params["input_sha256"] == "fog_1:64"
    assert {case.samples for case in cases(max_samples=10_000)} == {800}


def test_a_fixed_batch_overrules_the_setting() -> None:
    assert {case.params["batch"] for case in cases(settings={"batch": 8})} == {8}
    assert {case.params["batch"] for case in cases(settings={"batch": 8}, batch=1)} == {1}
    assert {case.params["batch"] for case in cases()} == {32}


def test_parameters_survive_json() -> None:
    import json

    for case in cases(settings={"keep": "reduced"}):
        assert Case(**json.loads(json.dumps(case.to_json()))) == case


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"bach": 3}, "bach"), ({"batch": 0}, "batch"), ({"batch": True}, "batch"), ({"keep": "all"}, "keep")],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], key: str) -> None:
    assert [name for name, _ in AccuracySuite().check(settings)] == [key]
    with pytest.raises(ConfigurationError, match=key):
        cases(settings=settings)


def test_every_problem_is_reported_with_the_nearest_name() -> None:
    problems = AccuracySuite().check({"bach": 3, "batch": "4", "keep": 1})
    assert [key for key, _ in problems] == ["bach", "batch", "keep"]
    assert "did you mean batch?" in problems[0][1]
    assert AccuracySuite().check({"batch": 4, "keep": "reduced"}) == []
