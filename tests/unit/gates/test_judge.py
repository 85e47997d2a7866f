"""Each answer of a gate is reached, at its limit and beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.cause import Cause
from harness.core.job import JobKey, Status
from harness.core.measurement import WHOLE_CASE, Measurement, Row
from harness.core.verdict import Gate, State, Verdict
from harness.gates.judge import Subject, judge

SUBJECT = Subject("cpu", "onnxruntime", "int8")
NAN = math.nan


def row(
    value: float = 0.5, low: float = NAN, high: float = NAN, *, case: str = "clean", severity: int = 0,
    metric: str = "m", unit: str = "1", n: int = 100, status: Status = Status.OK, reason: str = "",
    reference: str = "", per_sample: Sequence[float] | None = None, setting: str = "deploy",
    variant: str = "int8", target: str = "cpu", suite: str = "accuracy",
    cause: Cause = Cause.UNSPECIFIED,
) -> Row:  # fmt: skip
    key = JobKey(target, "onnxruntime", setting, variant, suite, case, severity)
    values = None if per_sample is None else np.asarray(per_sample, np.float64)
    return Row(
        key,
        Measurement(
            metric, unit, value, low, high, n, reference, status, reason, cause=cause, per_sample=values
        ),
    )  # fmt: skip


def whole(status: Status, reason: str, **more: Any) -> Row:
    return row(NAN, metric=WHOLE_CASE, unit="", status=status, reason=reason, n=0, **more)


def gate(**more: Any) -> Gate:
    return Gate(**{"name": "g", "suite": "accuracy", "metric": "m", "maximum": 1.0, **more})


def answer(rows: Sequence[Row], subject: Subject = SUBJECT, **more: Any) -> Verdict:
    (verdict,) = judge(rows, [gate(**more)], [subject]).verdicts
    return verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "limits", "state"),
    [
        (0.9, NAN, NAN, {"maximum": 1.0}, State.PASS),
        (1.0, NAN, NAN, {"maximum": 1.0}, State.PASS),  # a limit is still allowed
        (1.0 + 1e-12, NAN, NAN, {"maximum": 1.0}, State.FAIL),
        (1.0, NAN, NAN, {"maximum": None, "minimum": 1.0}, State.PASS),
        (0.999, NAN, NAN, {"maximum": None, "minimum": 1.0}, State.FAIL),
        (0.5, 0.2, 1.0, {"maximum": 1.0}, State.PASS),
        (0.5, 0.2, 1.001, {"maximum": 1.0}, State.INCONCLUSIVE),
        (1.5, 1.0, 2.0, {"maximum": 1.0}, State.INCONCLUSIVE),
        (1.5, 1.001, 2.0, {"maximum": 1.0}, State.FAIL),
        (0.5, 0.2, 0.9, {"maximum": None, "minimum": 0.2}, State.PASS),
        (0.5, 0.2, 0.9, {"maximum": None, "minimum": 0.3}, State.INCONCLUSIVE),
        (0.5, 0.2, 0.9, {"maximum": None, "minimum": 0.9}, State.INCONCLUSIVE),
        (0.5, 0.2, 0.9, {"maximum": None, "minimum": 0.95}, State.FAIL),
        # One side is not asked about: how far the interval reaches there does not matter.
        (0.5, -100.0, 0.9, {"maximum": 1.0}, State.PASS),
        (0.5, 0.2, 0.9, {"maximum": 1.0, "minimum": 0.0}, State.PASS),
        (0.5, 0.2, 0.9, {"maximum": 1.0, "minimum": 0.3}, State.INCONCLUSIVE),
        (0.5, 0.2, 0.9, {"maximum": 0.1, "minimum": 0.3}, State.FAIL),
        (NAN, NAN, NAN, {"maximum": 1.0}, State.NOT_RUN),
    ],
)
def test_one_row(
    value: float, low: float, high: float, limits: dict[str, float | None], state: State
) -> None:
    verdict_ = answer([row(value, low, high)], **limits)
    assert verdict_.state is state
    assert verdict_.sentence.startswith("int8 on cpu: ")


@given(
    st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(sorted),
    st.floats(-10, 10),
    st.booleans(),
)
def test_an_interval_passes_or_fails_only_where_all_of_it_does(
    bounds: list[float], limit: float, upper: bool
) -> None:
    low, value, high = bounds
    limits = {"maximum": limit} if upper else {"maximum": None, "minimum": limit}
    state = answer([row(value, low, high)], **limits).state
    inside = (lambda x: x <= limit) if upper else (lambda x: x >= limit)
    if inside(low) and inside(high):
        assert state is State.PASS
    elif not inside(low) and not inside(high):
        assert state is State.FAIL
    else:
        assert state is State.INCONCLUSIVE


def test_inconclusive_says_how_many_samples_would_decide() -> None:
    verdict_ = answer([row(0.5, -0.5, 1.5, unit="pt", n=100)])
    assert verdict_.state is State.INCONCLUSIVE
    assert "about " in verdict_.sentence
    assert "would decide it" in verdict_.sentence


def test_the_verdict_has_the_numbers() -> None:
    verdict_ = answer([row(0.5, 0.2, 0.9, unit="pt", n=77)])
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high, verdict_.limit, verdict_.unit, verdict_.n) == (
        0.5, 0.2, 0.9, 1.0, "pt", 77,
    )  # fmt: skip


# --- which rows a gate looks at ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "asks"),
    [
        ({"metric": "n"}, {}),
        ({"case": "fog"}, {"cases": ("clean", "rain*")}),
        ({"severity": 4}, {"severities": (0, 1)}),
        ({"setting": "parity"}, {}),
        ({"suite": "performance"}, {}),
        ({"variant": "float32"}, {}),
        ({"target": "gpu"}, {}),
        ({"reference": "float32@host"}, {"reference": ""}),
    ],
)
def test_rows_that_do_not_concern_it(other: dict[str, Any], asks: dict[str, Any]) -> None:
    assert answer([row(0.5), row(99.0, **other)], **asks).state is State.PASS
    assert answer([row(99.0, **other)], **asks).state is State.NOT_RUN


def test_patterns() -> None:
    rows = [row(metric="deterministic_a"), row(99.0, metric="deterministic_b")]
    assert answer(rows, metric="deterministic_*").state is State.FAIL
    assert answer(rows, metric="deterministic_a").state is State.PASS


def test_a_gate_of_other_targets_or_variants_says_nothing() -> None:
    assert judge([row()], [gate(targets=("gpu",)), gate(variants=("float*",))], [SUBJECT]).verdicts == ()


def test_each_backend_is_judged_by_its_own_rows() -> None:
    other = Subject("cpu", "tflite", "int8")
    verdicts = judge([row(0.5)], [gate()], [SUBJECT, other]).verdicts
    assert [(v.backend, v.state) for v in verdicts] == [
        ("onnxruntime", State.PASS), ("tflite", State.NOT_RUN),
    ]  # fmt: skip


def test_all_takes_the_worst_and_names_it() -> None:
    rows = [row(0.5), row(0.2, 0.1, 1.1, case="fog", severity=2), row(0.7, case="rain")]
    verdict_ = answer(rows)
    assert verdict_.state is State.INCONCLUSIVE
    assert "fog 2" in verdict_.sentence
    assert "the worst of 3" in verdict_.sentence
    assert answer([*rows, row(2.0, case="snow")]).state is State.FAIL
    # Of those that pass, the nearest to the limit.
    assert "rain" in answer([row(0.5), row(0.7, case="rain")]).sentence


# --- what was not measured, or is invalid ---------------------------------------------------------


@pytest.mark.parametrize("combine", ["all", "worst", "mean"])
def test_an_error_makes_it_not_run_whatever_the_others_say(combine: str) -> None:
    good = row(0.5, per_sample=[0.5] * 100)
    for bad in (
        whole(Status.ERROR, "crashed\ntraceback", case="fog"),
        row(NAN, status=Status.ERROR, reason="crashed", case="fog"),
    ):
        verdict_ = answer([good, bad], combine=combine)
        assert verdict_.state is State.NOT_RUN
        assert "fog: crashed" in verdict_.sentence
        assert "traceback" not in verdict_.sentence


def test_an_error_elsewhere_is_not_its_business() -> None:
    rows = [row(0.5), whole(Status.ERROR, "crashed", case="fog")]
    assert answer(rows, cases=("clean",)).state is State.PASS


def test_all_skipped_is_not_applicable_unless_required() -> None:
    rows = [whole(Status.SKIPPED, "the runtime cannot hold it")]
    verdict_ = answer(rows)
    assert verdict_.state is State.NOT_APPLICABLE
    assert "the runtime cannot hold it" in verdict_.sentence
    required = answer(rows, required=True)
    assert required.state is State.NOT_RUN
    assert "required" in required.sentence


def test_what_cannot_run_here_is_not_run_and_not_merely_not_applicable() -> None:
    subject = Subject("cpu", "onnxruntime", "int8", unavailable="not installed")
    verdict_ = answer([whole(Status.SKIPPED, "not installed")], subject)
    assert verdict_.state is State.NOT_RUN
    assert "not installed" in verdict_.sentence


def test_a_metric_that_one_case_cannot_give_does_not_hide_the_others() -> None:
    skipped = row(NAN, status=Status.SKIPPED, reason="no labels", case="fog")
    assert answer([row(0.5), skipped]).state is State.PASS
    assert answer([row(5.0), skipped]).state is State.FAIL


@pytest.mark.parametrize(
    ("values", "missing", "more", "state"),
    [
        ((0.5, 0.5), "fog", {}, State.NOT_RUN),  # what is missing may be outside
        ((0.5, 2.0), "fog", {}, State.FAIL),  # one row outside decides, whatever the rest says
        ((0.5, 2.0), "fog", {"combine": "mean"}, State.NOT_RUN),  # a mean over some is not the mean
        ((0.5, 0.5), "fog", {"cases": ("clean",)}, State.PASS),  # the gate does not look there
        ((0.5, 0.5), "fog", {"severities": (0,)}, State.PASS),
        ((0.5, 0.5), "clean", {"cases": ("clean_b8",)}, State.NOT_RUN),  # rows named after their job
    ],
)
def test_a_run_that_was_cut(
    values: tuple[float, float], missing: str, more: dict[str, Any], state: State
) -> None:
    rows = [
        row(v, case=case, per_sample=[v] * 100) for v, case in zip(values, ("clean", "noise"), strict=True)
    ]
    cut = JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", missing, 3)
    (verdict_,) = judge(rows, [gate(**more)], [SUBJECT], {cut}).verdicts
    assert verdict_.state is state
    if state is State.NOT_RUN:
        assert "1 job was not measured" in verdict_.sentence
    elsewhere = cut._replace(target="tflite")
    assert judge(rows, [gate(**more)], [SUBJECT], {elsewhere}) == judge(rows, [gate(**more)], [SUBJECT])


def test_nothing_matches() -> None:
    verdict_ = answer([], cases=("clean",))
    assert verdict_.state is State.NOT_RUN
    assert verdict_.sentence == "int8 on cpu: no row of the suite accuracy has the metric m"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"metric": "top5"}, "no row of the suite accuracy has the metric top5; the rows have m"),
        ({"suite": "other"}, "no row of the suite other has the metric m"),
        ({"setting": "parity"}, "no row of m has the setting parity; the rows have deploy"),
        ({"cases": ("fgo", "x")}, "no row of m has the case fgo or x; the rows have clean, fog"),
        (
            {"cases": ("fog",), "severities": (4, 2)},
            "no row of m in fog has the severity 4 or 2; the rows have 1, 3",
        ),
        ({"severities": (5,)}, "no row of m has the severity 5; the rows have 0, 1, 3"),
        ({"reference": "float32@host"}, "no row of m has the reference float32@host; the rows have none"),
    ],
)
def test_what_no_row_has_is_named(query: dict[str, Any], says: str) -> None:
    rows = [row(), row(case="fog", severity=1), row(case="fog", severity=3)]
    verdict_ = answer(rows, **query)
    assert verdict_.state is State.NOT_RUN
    assert verdict_.sentence == f"int8 on cpu: {says}"


def test_invalid_rows_neither_pass_nor_fail() -> None:
    for value in (0.5, 5.0):
        noisy = row(value, status=Status.INVALID, reason="noisy")
        assert answer([noisy]).state is State.INVALID
        assert answer([row(0.5), noisy]).state is State.INVALID


def test_a_release_demands_hardware_where_emulation_cannot_answer() -> None:
    real, emulated = (
        replace(SUBJECT, max_samples=64, lacks_hardware=real_needed) for real_needed in (False, True)
    )
    late = [row(status=Status.INVALID, reason="emulated", cause=Cause.EMULATED_CLOCK)]
    few = [row(0.0, -4.0, 4.0, n=64, unit="pt", reference="float32@host")]
    for rows in (late, few):
        assert answer(rows, real).state is State.NOT_APPLICABLE
        verdict_ = answer(rows, emulated)
        assert (verdict_.state, verdict_.blocks) == (State.NOT_RUN, True)
        assert verdict_.sentence.endswith("; a release demands real hardware")
    refused = [whole(Status.SKIPPED, "tflite has no such operator")]
    assert answer(refused, emulated).state is State.NOT_APPLICABLE  # hardware would not help
    assert answer([row(0.5)], emulated).state is State.PASS


@pytest.mark.parametrize("cause", [Cause.EMULATED_CLOCK, Cause.EMULATED_MEMORY])
def test_what_emulation_cannot_measure_is_not_applicable(cause: Cause) -> None:
    rows = [row(5.0, status=Status.INVALID, reason="emulated", cause=cause)]
    assert answer(rows).state is State.NOT_APPLICABLE
    assert answer(rows, required=True).state is State.NOT_RUN
    noisy = row(status=Status.INVALID, reason="noisy", cause=Cause.OVERLOAD)
    verdict_ = answer([*rows, noisy])
    assert verdict_.state is State.INVALID
    assert "noisy" in verdict_.sentence  # not the cause that does not block


def test_the_wording_of_a_reason_decides_nothing() -> None:
    rows = [row(5.0, status=Status.INVALID, reason="emulated clock: a plug-in without a cause")]
    assert answer(rows).state is State.INVALID


@pytest.mark.parametrize(
    ("n", "max_samples", "state"),
    [
        (64, 64, State.NOT_APPLICABLE),  # 2.71 / 66.71 is 4 pt: a limit of 1 pt can never be met
        (64, None, State.INCONCLUSIVE),
        (800, 800, State.INCONCLUSIVE),
        (800, 64, State.INCONCLUSIVE),
    ],
)
def test_too_few_samples_to_ever_decide(n: int, max_samples: int | None, state: State) -> None:
    subject = Subject("cpu", "onnxruntime", "int8", max_samples)
    rows = [row(0.0, -4.0, 4.0, unit="pt", reference="float32@host", n=n)]
    assert answer(rows, subject).state is state


@pytest.mark.parametrize(("n", "state"), [(64, State.NOT_APPLICABLE), (100, State.INCONCLUSIVE)])
def test_too_few_samples_to_ever_show_a_share(n: int, state: State) -> None:
    # Wilson's lower bound with every sample right is n / (n + 2.71): 0.9594 at 64, 0.9737 at 100.
    subject = Subject("cpu", "onnxruntime", "int8", 100)
    rows = [row(0.98, 0.93, 0.99, unit="1", n=n)]
    assert answer(rows, subject, maximum=None, minimum=0.97).state is state


def test_an_upper_limit_of_a_share_is_not_hopeless_because_few_samples_cannot_prove_a_high_one() -> None:
    subject = Subject("cpu", "onnxruntime", "int8", 5)
    rows = [row(0.8, 0.4, 0.95, unit="1", n=5)]  # five of five prove no more than 0.65
    assert answer(rows, subject, maximum=0.9).state is State.INCONCLUSIVE
    assert answer(rows, subject, maximum=None, minimum=0.9).state is State.NOT_APPLICABLE
    counts = [row(0.8, 0.4, 0.95, unit="LSB", n=5)]  # no share: nothing is known of its best value
    assert answer(counts, subject, maximum=None, minimum=0.9).state is State.INCONCLUSIVE


def test_few_samples_still_fail_what_is_clearly_bad() -> None:
    subject = Subject("cpu", "onnxruntime", "int8", 64)
    rows = [row(30.0, 20.0, 40.0, unit="pt", reference="float32@host", n=64)]
    assert answer(rows, subject).state is State.FAIL


# --- means over cases -------------------------------------------------------------------------------------


def losses(n: int, share: float, seed: int) -> list[float]:
    return (100.0 * (np.random.default_rng(seed).random(n) < share)).tolist()


def test_mean_is_the_mean_of_the_cases() -> None:
    rows = [
        row(NAN, unit="pt", case=case, severity=1, reference="float32@host", per_sample=losses(400, share, 0))
        for case, share in (("fog", 0.1), ("rain", 0.3))
    ]
    verdict_ = answer(rows, combine="mean", maximum=30.0)
    values = np.stack([r.measurement.per_sample for r in rows if r.measurement.per_sample is not None])
    assert verdict_.value == pytest.approx(values.mean())
    assert verdict_.n == 400  # samples, not cells
    assert verdict_.ci_low < verdict_.value < verdict_.ci_high
    assert verdict_.state is State.PASS
    assert answer(rows, combine="mean", maximum=10.0).state is State.FAIL
    assert answer(rows, combine="mean", maximum=verdict_.value).state is State.INCONCLUSIVE


def test_mean_is_clustered_by_sample() -> None:
    """The same samples fail in each case: ten cases tell no more than one."""
    column = losses(300, 0.2, 1)
    cells = [row(NAN, unit="pt", case=f"c{i}", per_sample=column) for i in range(10)]
    one = answer(cells[:1], combine="mean", maximum=100.0)
    ten = answer(cells, combine="mean", maximum=100.0)
    assert ten.ci_high - ten.ci_low == pytest.approx(one.ci_high - one.ci_low, rel=0.05)
    apart = [row(NAN, unit="pt", case=f"c{i}", per_sample=losses(300, 0.2, i)) for i in range(10)]
    independent = answer(apart, combine="mean", maximum=100.0)
    assert independent.ci_high - independent.ci_low < 0.6 * (one.ci_high - one.ci_low)


def test_mean_takes_the_samples_that_all_cases_ran() -> None:
    rows = [row(NAN, case="a", per_sample=[0.0] * 50 + [1e6] * 50), row(NAN, case="b", per_sample=[0.0] * 50)]
    verdict_ = answer(rows, combine="mean")
    assert (verdict_.state, verdict_.value, verdict_.n) == (State.PASS, 0.0, 50)


def test_mean_needs_values_by_sample() -> None:
    verdict_ = answer([row(0.5, per_sample=[0.5] * 10), row(0.5)], combine="mean")
    assert verdict_.state is State.NOT_RUN
    assert "no values by sample" in verdict_.sentence


def test_mean_of_values_that_are_none() -> None:
    assert answer([row(NAN, per_sample=[0.0, NAN])], combine="mean").state is State.NOT_RUN


def test_it_is_pure() -> None:
    rows = [row(NAN, unit="pt", case=c, per_sample=losses(100, 0.3, i)) for i, c in enumerate("ab")]
    first = judge(rows, [gate(combine="mean")], [SUBJECT]).verdicts
    assert judge(rows, [gate(combine="mean")], [SUBJECT]).verdicts == first
