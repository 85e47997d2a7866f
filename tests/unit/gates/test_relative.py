"""Gates on a ratio or a change: what they compare with, what they refuse, and what each target overrides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.job import Status
from harness.core.measurement import KEY_COLUMNS, Row
from harness.core.metric import Declared, Metric, Noise
from harness.core.verdict import Gate, State, Verdict
from harness.gates.judge import Subject, judge
from harness.gates.relative import Accepted, Baselines
from harness.stats.intervals import clustered_mean
from harness.stats.paired import tango
from tests.unit.gates.test_judge import NAN, row

SUBJECT = Subject("cpu", "onnxruntime", "int8")
MACHINE = "a CPU, 2 cores"


def accepted(*rows: Row, machine: str = MACHINE, sets: dict[str, str] | None = None) -> Accepted:
    keyed = {tuple(item.to_record()[column] for column in KEY_COLUMNS): item for item in rows}
    return Accepted(
        "accepted", "run-1", machine, sets or {"clean": "d"},
        {key: item.to_record() for key, item in keyed.items()},
        {
            key: item.measurement.per_sample
            for key, item in keyed.items()
            if item.measurement.per_sample is not None
        },
    )  # fmt: skip


def answer(new: list[Row], base: list[Row], subject: Subject = SUBJECT, **more: Any) -> Verdict:
    context: dict[str, Any] = {name: more.pop(name) for name in ("machine", "sets") if name in more}
    gate = Gate(**{"name": "g", "suite": "accuracy", "metric": "m", "baseline": "accepted", **more})
    baselines = Baselines({("accepted", "cpu"): accepted(*base, **context)}, {"clean": "d"}, {"cpu": MACHINE})
    (verdict,) = judge(new, [gate], [subject], baselines=baselines).verdicts
    return verdict


@pytest.mark.parametrize(
    ("new", "limits", "state"),
    [
        (110.0, {"maximum": 1.1}, State.PASS),
        (110.1, {"maximum": 1.1}, State.FAIL),
        (90.0, {"minimum": 0.9}, State.PASS),
        (89.0, {"minimum": 0.9}, State.FAIL),
    ],
)
def test_a_ratio_of_exact_numbers(new: float, limits: dict[str, float], state: State) -> None:
    verdict_ = answer([row(new, unit="byte")], [row(100.0, unit="byte")], of="ratio", **limits)
    assert verdict_.state is state
    assert verdict_.value == pytest.approx(new / 100)
    assert verdict_.unit == "x"
    assert "the ratio of m in clean against accepted" in verdict_.sentence


def test_times_of_two_runs_are_widened() -> None:
    """The interval of one run (±1 %) would fail a limit of 2 % at 5 % more; two runs differ by more."""
    base, new = row(100.0, 99.0, 101.0, unit="ns"), row(105.0, 104.0, 106.0, unit="ns")
    verdict_ = answer([new], [base], of="ratio", maximum=1.02)
    assert verdict_.state is State.INCONCLUSIVE
    assert verdict_.ci_low < 1.02
    assert verdict_.ci_high > verdict_.value == pytest.approx(1.05)
    assert (verdict_.limit, verdict_.unit, verdict_.n) == (1.02, "x", 100)
    assert "the ratio of m in clean against accepted is 1.05x" in verdict_.sentence
    assert "compare --side-by-side" in verdict_.sentence
    assert answer([row(150.0, 149.0, 151.0, unit="ns")], [base], of="ratio", maximum=1.02).state is State.FAIL


def right(n: int, wrong: int) -> list[float]:
    return [0.0] * wrong + [1.0] * (n - wrong)


def test_a_change_is_paired_sample_by_sample() -> None:
    """Two points lost of 800 samples: pairs decide what two separate intervals could not."""
    base = row(1.0, 0.995, 1.0, per_sample=right(800, 0))
    new = row(0.98, 0.97, 0.987, per_sample=right(800, 16))
    verdict_ = answer([new], [base], of="change", minimum=-0.01)
    assert verdict_.state is State.FAIL
    assert verdict_.value == pytest.approx(-0.02)
    assert verdict_.n == 800
    assert "800 samples in pairs" in verdict_.sentence
    assert answer([base], [base], of="change", minimum=-0.01).state is State.PASS


@given(st.lists(st.booleans(), min_size=5, max_size=60), st.lists(st.booleans(), min_size=5, max_size=60))
def test_the_change_is_the_mean_of_the_differences(one: list[bool], two: list[bool]) -> None:
    n = min(len(one), len(two))
    base, new = (row(0.5, 0, 1, per_sample=[float(v) for v in values]) for values in (one, two))
    verdict_ = answer([new], [base], of="change", minimum=-2.0)
    assert verdict_.value == pytest.approx(float(np.mean(np.subtract(two[:n], one[:n], dtype=float))))
    assert verdict_.ci_low <= verdict_.value <= verdict_.ci_high


def test_the_mean_of_changes_resamples_samples() -> None:
    rng = np.random.default_rng(0)
    bases = [row(0.5, case=f"fog{i}", per_sample=rng.integers(0, 2, 200)) for i in range(3)]
    verdict_ = answer(bases, bases, of="change", minimum=-0.05, combine="mean")
    assert verdict_.state is State.PASS
    assert verdict_.value == 0
    assert "mean m over 3 cases" in verdict_.sentence


@pytest.mark.parametrize(
    ("base", "more", "state", "says"),
    [
        ([], {}, State.NOT_RUN, "has no such row"),
        ([row(NAN, status=Status.ERROR, reason="it broke")], {}, State.NOT_RUN, "as ERROR: it broke"),
        ([row(1.0)], {"sets": {"clean": "other"}}, State.NOT_RUN, "measured other data"),
        ([row(1.0, unit="ns")], {"machine": "another"}, State.INVALID, "timed another machine, another"),
    ],
)
def test_what_cannot_be_compared(base: list[Row], more: dict[str, Any], state: State, says: str) -> None:
    unit = base[0].measurement.unit if base else "1"
    verdict_ = answer([row(1.0, unit=unit)], base, of="ratio", maximum=1.1, **more)
    assert verdict_.state is state
    assert says in verdict_.sentence
    assert verdict_.blocks


def test_bytes_may_come_from_another_machine() -> None:
    verdict_ = answer(
        [row(1.0, unit="byte")], [row(1.0, unit="byte")], of="ratio", maximum=1.1, machine="another"
    )
    assert verdict_.state is State.PASS


def test_without_a_baseline() -> None:
    gate = Gate("g", "accuracy", "m", of="ratio", baseline="accepted", maximum=1.1)
    (verdict,) = judge([row(1.0)], [gate], [SUBJECT]).verdicts
    assert verdict.state is State.NOT_RUN
    assert "harness baseline save RUN --name accepted" in verdict.sentence


def test_the_first_override_that_names_the_target_counts() -> None:
    overrides = ((("pi3",), {"maximum": 3.0}), (("pi*",), {"maximum": 2.0, "severity": "warn"}))
    gate = Gate("g", "accuracy", "m", maximum=1.0, overrides=overrides)
    subjects = [Subject(name, "onnxruntime", "int8") for name in ("cpu", "pi3", "pi5")]
    rows = [row(2.5, target=subject.target) for subject in subjects]
    by_target = {v.target: v for v in judge(rows, [gate], subjects).verdicts}
    assert {name: v.state for name, v in by_target.items()} == {
        "cpu": State.FAIL, "pi3": State.PASS, "pi5": State.FAIL,
    }  # fmt: skip
    assert {name: v.limit for name, v in by_target.items()} == {"cpu": 1.0, "pi3": 3.0, "pi5": 2.0}
    assert [v.target for v in by_target.values() if v.blocks] == ["cpu"]


@pytest.mark.parametrize(("unit", "widened"), [("ns", True), ("1/s", True), ("byte", True), ("bit", False)])
def test_what_differs_between_runs_is_widened_and_nothing_else(unit: str, widened: bool) -> None:
    """MOVER on logarithms, by hand, with halves of unequal length."""
    base, new = row(2.0, 1.0, 5.0, unit=unit), row(7.0, 6.5, 9.0, unit=unit)
    verdict_ = answer([new], [base], of="ratio", maximum=100.0)
    widen = np.sqrt(6) if widened else 1.0
    assert verdict_.value == pytest.approx(3.5)
    assert verdict_.ci_low == pytest.approx(3.5 * np.exp(-widen * np.hypot(np.log(7 / 6.5), np.log(5 / 2))))
    assert verdict_.ci_high == pytest.approx(3.5 * np.exp(widen * np.hypot(np.log(9 / 7), np.log(2))))
    assert verdict_.n == 100


def test_a_change_without_samples_is_that_of_two_intervals() -> None:
    base, new = row(2.0, 1.0, 5.0, unit="pt"), row(7.0, 6.5, 9.0, unit="pt")
    verdict_ = answer([new], [base], of="change", maximum=100.0)
    assert (verdict_.value, verdict_.unit) == (5.0, "pt")
    assert verdict_.ci_low == pytest.approx(5 - np.hypot(0.5, 3.0))
    assert verdict_.ci_high == pytest.approx(5 + np.hypot(2.0, 1.0))
    assert "in pairs" not in verdict_.sentence


def test_a_side_without_an_interval_is_compared_as_it_is() -> None:
    verdict_ = answer([row(7.0, unit="pt")], [row(2.0, 1.0, 5.0, unit="pt")], of="change", maximum=100.0)
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high) == pytest.approx((5.0, 2.0, 6.0))


def test_a_ratio_is_never_paired() -> None:
    values = right(40, 4)
    verdict_ = answer(
        [row(0.9, 0.8, 0.95, per_sample=values)], [row(0.9, 0.8, 0.95, per_sample=values)],
        of="ratio", minimum=0.5,
    )  # fmt: skip
    assert verdict_.ci_low == pytest.approx(np.exp(-np.hypot(np.log(0.9 / 0.8), np.log(0.95 / 0.9))))


def test_data_of_a_severity_are_looked_up_by_it() -> None:
    """fog_2 is other data and fog_3 is not."""
    rows = [row(1.0, case="fog", severity=severity) for severity in (2, 3)]
    gate = Gate("g", "accuracy", "m", of="change", baseline="accepted", minimum=-1.0)
    base = accepted(*rows, sets={"fog_2": "then", "fog_3": "same"})
    for severity, state in ((2, State.NOT_RUN), (3, State.PASS)):
        baselines_ = Baselines(
            {("accepted", "cpu"): base}, {"fog_2": "now", "fog_3": "same"}, {"cpu": MACHINE}
        )
        (verdict_,) = judge([rows[severity - 2]], [gate], [SUBJECT], baselines=baselines_).verdicts
        assert verdict_.state is state


def test_the_mean_of_changes_has_the_bootstrap_of_its_pairs() -> None:
    rng = np.random.default_rng(3)
    bases = [row(0.5, case=f"fog{i}", per_sample=rng.integers(0, 2, 100)) for i in range(2)]
    news = [row(0.5, case=f"fog{i}", per_sample=rng.integers(0, 2, 80)) for i in range(2)]
    verdict_ = answer(news, bases, of="change", minimum=-2.0, combine="mean")
    columns = [
        new.measurement.per_sample - base.measurement.per_sample[:80]  # type: ignore[index, operator]
        for base, new in zip(bases, news, strict=True)
    ]
    expected = clustered_mean(np.stack(columns, axis=1), reach=1.0)
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high) == (
        expected.value,
        expected.low,
        expected.high,
    )
    assert verdict_.n == 80


def test_a_mean_of_which_one_case_cannot_be_compared() -> None:
    rows = [row(0.5, case=f"fog{i}", per_sample=[0.0, 1.0]) for i in range(2)]
    verdict_ = answer(rows, rows[:1], of="change", minimum=-2.0, combine="mean")
    assert verdict_.state is State.NOT_RUN
    assert "has no such row" in verdict_.sentence


def test_a_baseline_that_is_missing_is_named_with_its_target() -> None:
    gate = Gate("g", "accuracy", "m", of="change", baseline="accepted", minimum=-1.0)
    (verdict_,) = judge([row(1.0)], [gate], [SUBJECT]).verdicts
    assert "there is no baseline accepted of cpu" in verdict_.sentence


def test_times_of_machines_of_which_nothing_is_known_are_compared() -> None:
    """As those of a known machine are with that machine; a known one with an unknown one is not."""
    timed = row(1.0, unit="ns")
    gate = Gate("g", "accuracy", "m", of="ratio", baseline="accepted", maximum=1.1)
    for then, state in (("", State.PASS), (MACHINE, State.INVALID)):
        baselines_ = Baselines({("accepted", "cpu"): accepted(timed, machine=then)}, {"clean": "d"}, {})
        (verdict_,) = judge([timed], [gate], [SUBJECT], baselines=baselines_).verdicts
        assert verdict_.state is state


def test_a_part_of_a_case_reads_the_data_of_the_case() -> None:
    verdict_ = answer([row(1.0, case="clean/3")], [row(1.0, case="clean/3")], of="change", minimum=-1.0,
                   sets={"clean": "other"})  # fmt: skip
    assert verdict_.state is State.NOT_RUN
    assert "measured other data" in verdict_.sentence


def test_losses_in_points_have_tangos_interval_in_points() -> None:
    base = row(0.0, -1, 1, unit="pt", per_sample=[0.0] * 50)
    new = row(6.0, 1, 9, unit="pt", per_sample=[100.0] * 3 + [0.0] * 47)
    verdict_ = answer([new], [base], of="change", maximum=50.0)
    expected = tango(0, 3, 50)
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high) == pytest.approx(
        (6.0, 100 * expected.low, 100 * expected.high)
    )


@pytest.mark.parametrize(("noise", "widened"), [(Noise.RUNS, True), (Noise.NONE, False)])
def test_what_a_suite_declares_of_a_metric_decides_whether_it_varies(noise: Noise, widened: bool) -> None:
    new = row(105.0, 104.0, 106.0, unit="ns")
    declared = Declared({"accuracy": {"m": Metric("ns", "lower", noise)}})
    gate = Gate("g", "accuracy", "m", of="ratio", baseline="accepted", maximum=1.02)
    base = accepted(row(100.0, 99.0, 101.0, unit="ns"))
    baselines_ = Baselines({("accepted", "cpu"): base}, {"clean": "d"}, {"cpu": MACHINE}, metrics=declared)
    (verdict_,) = judge([new], [gate], [SUBJECT], baselines=baselines_).verdicts
    assert verdict_.state is (State.INCONCLUSIVE if widened else State.FAIL)


def test_both_machines_are_named() -> None:
    timed = row(1.0, unit="ns")
    verdict_ = answer([timed], [timed], of="ratio", maximum=1.1, machine="another")
    assert f"timed another machine, another, and this is {MACHINE}" in verdict_.sentence


def test_a_mean_of_changes_that_are_all_nothing_is_no_proof() -> None:
    rows = [row(0.5, case=f"fog{i}", per_sample=right(50, 10)) for i in range(2)]
    verdict_ = answer(rows, rows, of="change", minimum=-0.5, combine="mean")
    expected = clustered_mean(np.zeros((50, 2)), reach=1.0)
    assert (verdict_.value, verdict_.ci_low, verdict_.ci_high) == (0.0, expected.low, expected.high)
    assert (verdict_.unit, verdict_.limit, verdict_.n) == ("1", -0.5, 50)
    assert "50 samples in pairs" in verdict_.sentence
