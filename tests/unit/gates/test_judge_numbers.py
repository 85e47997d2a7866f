"""How many samples would decide a gate, which numbers a verdict has, and how they read."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.core.job import JobKey, Status
from harness.core.verdict import State
from harness.gates.judge import judge
from harness.gates.number_text import number_text
from harness.stats.intervals import Interval, clustered_mean, units_to_decide, wilson
from tests.unit.gates.test_judge import NAN, SUBJECT, answer, gate, row


@pytest.mark.parametrize(
    ("unit", "reference", "reach"),
    [("pt", "float32@host", 100.0), ("pt", "", None), ("ns", "float32@host", None)],
)
def test_the_number_of_samples_is_that_of_the_statistics(
    unit: str, reference: str, reach: float | None
) -> None:
    """Only a loss against a reference is paired, so only it has a largest value a sample can show."""
    verdict_ = answer([row(0.5, 0.1, 1.2, unit=unit, reference=reference, n=60)])
    needed = units_to_decide(Interval(0.5, 0.1, 1.2, 60), 1.0, reach=reach)
    assert verdict_.state is State.INCONCLUSIVE
    assert f"60 samples: undecided, about {needed} would decide it" in verdict_.sentence


def test_a_value_of_just_the_limit_is_decided_by_no_number_of_samples() -> None:
    assert "no number of samples decides it" in answer([row(1.0, 0.5, 1.5)]).sentence


def test_a_paired_loss_and_a_mean_of_losses_use_the_reach_of_a_sample() -> None:
    column = [0.0] * 40
    lost = [row(NAN, unit="pt", reference="float32@host", per_sample=column, case=case) for case in "ab"]
    values = np.zeros((40, 2))
    verdict_ = answer(lost, combine="mean", maximum=50.0)
    expected = clustered_mean(values, reach=100.0)
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high) == (0.0, expected.low, expected.high)
    alone = answer([row(NAN, unit="pt", per_sample=column)], combine="mean", maximum=50.0)
    assert (alone.ci_low, alone.ci_high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("limit", "n", "state"),
    [
        (0.9, 25, State.INCONCLUSIVE),  # Wilson's bound of 25 of 25 is 0.9023: one more right would do
        (0.91, 25, State.NOT_APPLICABLE),
        (wilson(25, 25).low, 25, State.INCONCLUSIVE),
    ],
)
def test_a_share_that_all_samples_could_still_show(limit: float, n: int, state: State) -> None:
    subject = replace(SUBJECT, max_samples=n)
    verdict_ = answer([row(0.92, 0.8, 0.97, n=n)], subject, maximum=None, minimum=limit)
    assert verdict_.state is state


def test_a_share_with_an_upper_limit_is_not_hopeless() -> None:
    subject = replace(SUBJECT, max_samples=25)
    assert answer([row(0.02, 0.0, 0.2, n=25)], subject, maximum=0.1).state is State.INCONCLUSIVE


def test_the_worst_of_several_undecided_rows_is_the_nearest_to_the_limit() -> None:
    rows = [
        row(0.5, 0.4, 1.5, case="far"), row(0.5, 0.4, 1.01, case="near"), row(0.5, 0.4, 1.2, case="between"),
    ]  # fmt: skip
    verdict_ = answer(rows)
    assert verdict_.sentence.startswith("int8 on cpu: m in near is ")
    assert verdict_.ci_high == 1.01
    assert (verdict_.limit, verdict_.unit) == (1.0, "1")


def test_cut_jobs_are_counted() -> None:
    missing = [
        JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", "fog", severity) for severity in (1, 2)
    ]
    (verdict_,) = judge([row(0.5)], [gate()], [SUBJECT], missing).verdicts
    assert "2 jobs were not measured" in verdict_.sentence


def test_severity_and_on_inconclusive_are_the_gates() -> None:
    verdict_ = answer([row(2.0)], severity="warn", on_inconclusive="warn")
    assert (verdict_.severity, verdict_.on_inconclusive, verdict_.suite, verdict_.metric) == (
        "warn", "warn", "accuracy", "m",
    )  # fmt: skip


def test_of_skipped_and_failed_rows_the_failed_one_is_named() -> None:
    rows = [
        row(NAN, status=Status.SKIPPED, reason="no labels", case="a"),
        row(NAN, status=Status.ERROR, reason="it crashed", case="b"),
    ]
    verdict_ = answer(rows)
    assert verdict_.state is State.NOT_RUN
    assert "in b: it crashed" in verdict_.sentence


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (999.0, "ns", "999 ns"),
        (1000.0, "ns", "1 µs"),
        (1_234_567.0, "ns", "1.23 ms"),
        (2e9, "ns", "2 s"),
        (-1500.0, "ns", "-1.5 µs"),
        (999_999.0, "ns", "1 ms"),
        (2_500_000.0, "byte", "2.5 MB"),
        (3.2e9, "byte", "3.2 GB"),
        (999_999.0, "byte", "1 MB"),
        (1000.0, "byte", "1 kB"),
        (-12_340.0, "byte", "-12.3 kB"),
        (999.0, "byte", "999 byte"),
        (0.0, "byte", "0 byte"),
        (0.25, "byte", "0.25 byte"),
        (NAN, "byte", "nan byte"),
        (math.inf, "ns", "inf s"),
        (0.98765, "1", "0.9877"),
        (0.98765, "", "0.9877"),
        (1.23456, "x", "1.235x"),
        (1.23456, "pt", "1.235 pt"),
    ],
)
def test_numbers_as_people_read_them(value: float, unit: str, text: str) -> None:
    assert number_text(value, unit) == text


def test_more_digits_where_they_are_asked_for() -> None:
    assert number_text(1_234_567.0, "ns", more=2) == "1.2346 ms"
    assert number_text(1_234_567.0, "byte", more=2) == "1.2346 MB"
    assert number_text(0.987654321, "1", more=2) == "0.987654"


@pytest.mark.parametrize("lacks_hardware", [False, True])
def test_an_answer_that_few_samples_cannot_give_has_its_numbers(lacks_hardware: bool) -> None:
    subject = replace(SUBJECT, max_samples=64, lacks_hardware=lacks_hardware)
    verdict_ = answer([row(0.0, -4.0, 4.0, n=64, unit="pt", reference="float32@host")], subject)
    assert verdict_.state is (State.NOT_RUN if lacks_hardware else State.NOT_APPLICABLE)
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high, verdict_.limit, verdict_.unit, verdict_.n) == (
        0.0, -4.0, 4.0, 1.0, "pt", 64,
    )  # fmt: skip


def test_an_answer_without_a_number_has_none() -> None:
    verdict_ = answer([])
    assert all(
        math.isnan(number) for number in (verdict_.value, verdict_.ci_low, verdict_.ci_high, verdict_.limit)
    )
    assert (verdict_.n, verdict_.unit) == (0, "")


@pytest.mark.parametrize(
    ("unit", "named", "state"),
    [
        ("pt", "ns", State.NOT_RUN),
        ("ns", "byte", State.NOT_RUN),
        ("ns", "ns", State.PASS),
        ("ns", "", State.PASS),
    ],
)  # fmt: skip
def test_a_limit_in_another_unit_is_no_limit(unit: str, named: str, state: State) -> None:
    """``max = "1 ms"`` of a loss in points would hold whatever is lost."""
    verdict_ = answer([row(0.5, unit=unit)], maximum=1e6, maximum_unit=named)
    assert verdict_.state is state
    if state is State.NOT_RUN:
        assert f"measured in {unit}, and its limit is given in {named}" in verdict_.sentence
