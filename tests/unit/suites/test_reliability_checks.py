"""Every check looks at rows that the suite makes wherever the check applies."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from harness.core.check import places
from harness.core.profile import Profile
from suites.reliability.checks import CHECKS
from suites.reliability.summarise import METRICS
from tests.unit.suites.test_reliability_cases import context, plan

#: The case that makes the rows of each metric.
MAKES = {
    "determinism": (
        "deterministic_*", "result_unchanged", "input_unchanged", "artifact_hash_equal",
        "process_exit_clean", "process_state_unchanged",
    ),
    "batch_invariance": ("batch_*",),
    "thread_invariance": ("thread_*",),
    "call_forms": ("layout_*", "bound_*", "runtime_equal"),
    "bad_input": ("bad_input_refused", "recovered_after_bad_input"),
    "nonfinite_input": ("nan_taken_as_zero",),
    "truncated_file": ("truncation_refused",),
    "bit_flips": ("scrambled_file_noticed", "hash_catches_damage"),
    "reload": ("reload_*", "deterministic_reload"),
    "soak": ("soak_*",),
    "provenance": ("*_confirmed", "*_on_provider", "effective_reported"),
    "concurrent": ("sessions_at_once_*", "threads_at_once_*"),
    "unusual_values": ("unusual_values_repeat", "recovered_after_unusual_values"),
    "surroundings": ("answer_in_surroundings",),
    "pressure": ("answer_under_pressure",),
}  # fmt: skip


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("emulated", [False, True])
def test_a_check_applies_only_where_its_rows_are_made(emulated: bool, profile: Profile) -> None:
    here: Any = replace(context(emulated=emulated), quantized=False, profile=profile, soak_s=20.0)
    cases = {(case.name, case.setting) for case in plan.cases(here)}
    applying = {place.check for place in places(CHECKS, "reliability", here, "cpu", "onnxruntime")}
    for check in CHECKS:
        metric, setting = check.gate.metric, check.gate.setting
        makers = {
            case
            for case, patterns in MAKES.items()
            if any(fnmatchcase(metric, pattern) or metric == "recovered_after_*" for pattern in patterns)
        }
        if emulated and metric.endswith("_at_least"):  # of times and memory of an emulator
            assert check.name not in applying
            continue
        if metric in ("runtime_equal", "reload_memory_growth"):
            # Under emulation no second copy of the model is opened, and memory is the emulator's.
            assert (check.name in applying) == (not emulated)
            continue
        assert makers, metric
        if check.gate.cases != ("*",):
            makers &= {case.removesuffix("/*") for case in check.gate.cases}
        made = any((case, setting) in cases for case in makers)
        assert (check.name in applying) == made, check.name


def test_what_integers_do_not_have_is_not_asked_of_them() -> None:
    floats, integers = (
        {place.check for place in places(CHECKS, "reliability", here, "cpu", "onnxruntime")}
        for here in (replace(context(), quantized=False), replace(context(), quantized=True))
    )
    assert floats - integers == {"nan-not-swallowed", "precision-confirmed", "precision-confirmed-parity"}
    assert integers <= floats


def test_names_reasons_and_sentences() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.gate.suite == "reliability"
        assert any(fnmatchcase(name, check.gate.metric) for name in METRICS)
        assert check.why.endswith(".")
        assert not check.failure.endswith(".")
        assert check.gate.maximum is not None or check.gate.minimum is not None
