"""Each class of a compared row is reached; what is on one side only, unlike or invalid is reported."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.core.measurement import KEY_COLUMNS
from harness.core.metric import Better, Declared, Metric, Noise
from harness.stats.difference import least_distance, paired
from harness.stats.table_changes import Change, compare
from tests.unit.stats.compared_tables import BYTES, LATENCY, MEMORY, at, only, record, samples_of, side


@pytest.mark.parametrize(
    ("base", "new", "expected"),
    [
        ({}, {}, Change.SAME),
        (at(0.9), at(np.nextafter(0.9, 1)), Change.SAME),
        (at(0.9), at(0.9 * (1 - 2e-12)), Change.WORSE),
        (at(0.0), at(1e-300), Change.BETTER),
        (at(math.inf), at(math.inf), Change.SAME),
        (at(0.9, 0.88, 0.92), at(0.91, 0.89, 0.93), Change.NOISE),
        (at(0.9, 0.89, 0.91), at(0.8, 0.79, 0.81), Change.WORSE),
        (at(0.8, 0.79, 0.81), at(0.9, 0.89, 0.91), Change.BETTER),
        ({**LATENCY, **at(100, 99, 101)}, {**LATENCY, **at(120, 119, 121)}, Change.WORSE),
        ({**LATENCY, **at(100, 99, 101)}, {**LATENCY, **at(103, 102, 104)}, Change.NOISE),
        ({**BYTES, **at(100)}, {**BYTES, **at(101)}, Change.WORSE),
        ({**MEMORY, **at(100)}, {**MEMORY, **at(101)}, Change.CHANGED),
        # Memory of the processes of one run is narrower than from run to run.
        ({**MEMORY, **at(70.60, 70.58, 70.62)}, {**MEMORY, **at(70.65, 70.63, 70.67)}, Change.NOISE),
        ({**MEMORY, **at(70.60, 70.58, 70.62)}, {**MEMORY, **at(71.045, 71.025, 71.065)}, Change.UNCLEAR),
        ({**MEMORY, **at(70.60, 70.58, 70.62)}, {**MEMORY, **at(72.00, 71.98, 72.02)}, Change.WORSE),
        ({"metric": "strange", "value": 1}, {"metric": "strange", "value": 2}, Change.CHANGED),
        ({"status": "INVALID", "reason": "throttled\nmore"}, {}, Change.INVALID),
        ({"unit": "pt"}, {"unit": "1"}, Change.UNLIKE),
    ],
)  # fmt: skip
def test_classes(base: dict[str, Any], new: dict[str, Any], expected: Change) -> None:
    row = only(base, new)
    assert row["class"] == expected
    if expected is Change.INVALID:
        assert row["why"] == "side is INVALID: throttled"


def test_one_sided_rows_are_not_run() -> None:
    compared = compare(
        side(record(), record(variant="float32"), label="old"),
        side(record(), record(case="fog", severity=2), label="new"),
    ).set_index(["variant", "case"])
    assert compared.loc[("float32", "clean"), "class"] == Change.NOT_RUN
    assert compared.loc[("float32", "clean"), "why"] == "no such row in new"
    assert compared.loc[("int8", "fog"), "why"] == "no such row in old"
    assert compared.loc[("int8", "clean"), "class"] == Change.SAME


def test_other_data_are_unlike_in_their_own_case_only() -> None:
    rows = [record(), record(case="fog", severity=2)]
    compared = compare(
        side(*rows, sets={"clean": "1", "fog_2": "2"}), side(*rows, sets={"clean": "1", "fog_2": "3"})
    ).set_index("case")
    assert compared.loc["fog", "class"] == Change.UNLIKE
    assert compared.loc["clean", "class"] == Change.SAME


def test_devices_leave_the_key() -> None:
    compared = compare(
        side(record(target="cpu")), side(record(target="tflite", backend="tflite")), devices=True
    ).iloc[0]
    assert (compared["target_base"], compared["target_new"], compared["class"]) == (
        "cpu",
        "tflite",
        Change.SAME,
    )


def test_pairs_decide_what_intervals_cannot() -> None:
    """Ten of 800 samples lost: overlapping intervals, and no doubt on the same samples."""
    right = np.ones(800)
    right[:100] = 0
    worse = right.copy()
    worse[100:110] = 0
    rows = [record(value=v.mean(), ci_low=v.mean() - 0.02, ci_high=v.mean() + 0.02) for v in (right, worse)]
    keys = [tuple(row[column] for column in KEY_COLUMNS) for row in rows]
    alone = compare(side(rows[0]), side(rows[1])).iloc[0]
    assert alone["class"] == Change.NOISE
    compared = compare(
        side(rows[0], per_sample={keys[0]: right}), side(rows[1], per_sample={keys[1]: worse})
    ).iloc[0]
    assert compared["class"] == Change.WORSE
    assert compared["paired"]
    assert compared["change"] == pytest.approx(-10 / 800)


@pytest.mark.parametrize("paired", [False, True])
def test_of_many_families_those_are_named_that_stand_holm(paired: bool) -> None:
    """Ten families: one lost much, one lost what would stand by itself, the others nothing."""
    rng = np.random.default_rng(0)
    base = (rng.uniform(size=800) < 0.9).astype(float)
    lost = {"fog": 60, "snow": 5}  # p of snow is 2^-5, or with the same z 0.013: held against 0.01 / 9
    rows: tuple[list[dict[str, Any]], ...] = ([], [])
    samples: tuple[dict[Any, Any], ...] = ({}, {})
    for family in ("fog", "snow", *"abcdefgh"):
        new = base.copy()
        new[np.flatnonzero(base)[: lost.get(family, 0)]] = 0
        for part, values, answers in zip(rows, samples, (base, new), strict=True):
            # Bounds that give unpaired rows the same z.
            half = 0.0 if family in "abcdefgh" else 1.645 * (lost[family] ** 0.5 / 800) / 2**0.5
            row = record(
                case=family, severity=3, **at(answers.mean(), answers.mean() - half, answers.mean() + half)
            )
            part.append(row)
            values[tuple(row[column] for column in KEY_COLUMNS)] = answers
    one, two = (
        side(*part, **({"per_sample": values} if paired else {}))
        for part, values in zip(rows, samples, strict=True)
    )
    compared = compare(one, two).set_index("case")
    assert compared.loc["fog", "class"] == Change.WORSE
    assert compared.loc["snow", "class"] == Change.UNCLEAR
    # Where no sample differs, and where there is no noise, nothing is tested.
    assert compared.loc["snow", "why"] == "worse by itself, but not significant among 2 rows"
    assert set(compared.loc[list("abcdefgh"), "class"]) == {Change.SAME}


def test_a_metric_that_nobody_declares_is_not_judged_and_the_row_says_so() -> None:
    one, two = {"metric": "strange", "value": 1.0}, {"metric": "strange", "value": 2.0}
    row = only(one, two)
    assert (row["class"], row["why"]) == (Change.CHANGED, "metric strange has no declared direction")
    # A metric of the same name in a suite that is not installed is not taken for the one that is known.
    row = only({**at(0.9), "suite": "absent"}, {**at(0.5), "suite": "absent"})
    assert (row["class"], row["why"]) == (Change.CHANGED, "metric accuracy has no declared direction")


@pytest.mark.parametrize(
    ("better", "base", "new", "expected"),
    [
        ("higher", 1.0, 0.5, Change.WORSE),
        ("lower", 1.0, 0.5, Change.BETTER),
        (None, 1.0, 0.5, Change.CHANGED),
        (0.0, -0.2, 0.1, Change.BETTER),
        (0.0, -0.1, 0.2, Change.WORSE),
        (0.0, -0.2, 0.2, Change.CHANGED),  # as far from the target value as before
    ],
)
def test_a_declared_direction_decides(better: Better, base: float, new: float, expected: Change) -> None:
    metrics = Declared({"theirs": {"bias_*": Metric("1", better)}})
    sides = [
        side(record(suite="theirs", metric="bias_x", value=value), metrics=metrics) for value in (base, new)
    ]
    assert compare(*sides).iloc[0]["class"] == expected


@pytest.mark.parametrize(
    ("noise", "expected"),
    [(Noise.NONE, Change.WORSE), (Noise.SAMPLE, Change.CHANGED), (Noise.RUNS, Change.CHANGED)],
)
def test_without_an_interval_a_noisy_metric_is_not_judged(noise: Noise, expected: Change) -> None:
    metrics = Declared({"theirs": {"m": Metric("1", "higher", noise)}})
    sides = [side(record(suite="theirs", metric="m", value=value), metrics=metrics) for value in (1.0, 0.5)]
    assert compare(*sides).iloc[0]["class"] == expected


def test_what_varies_between_runs_is_widened_by_its_declaration_and_not_by_its_unit() -> None:
    declared = {noise: Declared({"theirs": {"m": Metric("ns", "lower", noise)}}) for noise in Noise}
    classes = {}
    for noise, metrics in declared.items():
        rows = [
            record(suite="theirs", metric="m", unit="ns", **at(value, value - 1, value + 1))
            for value in (100.0, 104.0)
        ]
        sides = [side(row, metrics=metrics) for row in rows]
        classes[noise] = compare(*sides).iloc[0]["class"]
    assert classes == {Noise.NONE: Change.WORSE, Noise.SAMPLE: Change.WORSE, Noise.RUNS: Change.NOISE}


def test_over_other_numbers_of_samples_only_what_is_computed_per_data_set_is_unlike() -> None:
    for per_data_set, expected in ((True, Change.UNLIKE), (False, Change.WORSE)):
        metrics = Declared({"theirs": {"m": Metric("1", "higher", per_data_set=per_data_set)}})
        sides = [
            side(record(suite="theirs", metric="m", value=value, n=n), metrics=metrics)
            for value, n in ((1.0, 100), (0.5, 50))
        ]
        assert compare(*sides).iloc[0]["class"] == expected


def test_the_numbers_of_a_row_by_hand() -> None:
    """A ratio is widened where runs vary; a difference is not, and has the bounds nearest to it."""
    row = only({**LATENCY, **at(2.0, 1.0, 5.0)}, {**LATENCY, **at(7.0, 6.5, 9.0)})
    widen, least = math.sqrt(6), least_distance("ns")
    assert (row["kind"], row["unit"], row["base"], row["new"]) == ("ratio", "ns", 2.0, 7.0)
    assert row["change"] == pytest.approx(3.5)
    assert row["ci_low"] == pytest.approx(
        3.5 * math.exp(-math.hypot(widen * math.hypot(math.log(7 / 6.5), math.log(2.5)), least))
    )
    assert row["ci_high"] == pytest.approx(
        3.5 * math.exp(math.hypot(widen * math.hypot(math.log(9 / 7), math.log(2)), least))
    )
    row = only(at(0.2, 0.1, 0.5), at(0.7, 0.65, 0.9))
    assert (row["kind"], row["unit"], row["paired"]) == ("difference", "1", False)
    assert row["change"] == pytest.approx(0.5)
    assert row["ci_low"] == pytest.approx(0.5 - math.hypot(0.05, 0.3))
    assert row["ci_high"] == pytest.approx(0.5 + math.hypot(0.2, 0.1))
    assert math.isnan(row["n"])


@pytest.mark.parametrize(
    ("base", "new", "expected", "why"),
    [
        ({"status": "INVALID"}, {"status": "ERROR"}, Change.INVALID, ""),
        ({"status": "INVALID", "unit": "pt"}, {}, Change.INVALID, "side is INVALID: "),
        ({}, {"status": "ERROR", "reason": "a\nb", "unit": "pt"}, Change.INVALID, "side is ERROR: a"),
        ({"unit": "pt"}, {"unit": "1"}, Change.UNLIKE, "the units differ"),
        (at(0.9, 0.88, 0.92), at(0.9, 0.7, 0.95), Change.SAME, ""),
        (at(0.9, 0.88, 0.92), at(0.94, 0.9, 0.95), Change.NOISE, ""),
    ],
)  # fmt: skip
def test_what_a_row_is_called_first(
    base: dict[str, Any], new: dict[str, Any], expected: Change, why: str
) -> None:
    row = only(base, new)
    assert row["class"] == expected
    assert row["why"].startswith(why)
    if why.startswith("side"):
        assert row["why"] == why


@pytest.mark.parametrize(
    ("low", "expected"), [(0.0, Change.NOISE), (0.001, Change.UNCLEAR), (0.1, Change.BETTER)]
)
def test_an_interval_that_touches_no_change_is_noise(low: float, expected: Change) -> None:
    """The base is exact, so the bounds of the change are those of the new value."""
    row = only(at(0.5, 0.5, 0.5), at(0.75, 0.5 + low, 0.9))
    assert row["class"] == expected
    row = only(at(0.5, 0.5, 0.5), at(0.25, 0.1, 0.5 - low))
    assert row["class"] == (Change.WORSE if expected is Change.BETTER else expected)


def test_pairs_are_over_the_samples_that_both_ran() -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.integers(0, 2, n).astype(float) for n in (60, 40))
    base, new = record(value=one.mean()), record(value=two.mean(), target="pi", backend="tflite")
    row = compare(samples_of((base, one)), samples_of((new, two)), devices=True).iloc[0]
    expected = paired(one[:40], two)
    assert (row["n"], row["paired"]) == (40, True)
    assert (row["base"], row["new"]) == pytest.approx((one[:40].mean(), two.mean()))
    assert (row["change"], row["ci_low"], row["ci_high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_rows_of_several_units_and_lengths_are_paired_each_by_itself() -> None:
    rng = np.random.default_rng(2)
    kinds = [("accuracy", "1", 50), ("accuracy_loss", "pt", 50), ("agreement", "1", 30)]
    bases, news = (
        [
            (
                record(metric=metric, unit=unit),
                (100.0 if unit == "pt" else 1.0) * rng.integers(0, 2, n).astype(float),
            )
            for metric, unit, n in kinds
        ]
        for _ in range(2)
    )
    timed = (record(metric="latency_p50", unit="ns"), np.ones(50))
    compared = compare(samples_of(*bases, timed), samples_of(*news, timed)).set_index("metric")
    for (metric, unit, n), (_, one), (_, two) in zip(kinds, bases, news, strict=True):
        expected = paired(one, two, unit)
        row = compared.loc[metric]
        assert (row["n"], row["paired"]) == (n, True)
        assert (row["change"], row["ci_low"], row["ci_high"]) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
    assert not compared.loc["latency_p50", "paired"]  # a ratio is never paired


@pytest.mark.parametrize(
    ("digests", "expected"),
    [
        (({"clean": "1"}, {"clean": "2"}), Change.UNLIKE),
        (({"clean": "1"}, {"clean": "1"}), Change.SAME),
        (({"clean": "1"}, None), Change.SAME),
        ((None, {"clean": "1"}), Change.SAME),
        (({"clean": "1"}, {"fog_1": "2"}), Change.SAME),
    ],
)
def test_digests_that_only_one_side_knows_say_nothing(
    digests: tuple[dict[str, str] | None, dict[str, str] | None], expected: Change
) -> None:
    one, two = (side(record(), record(case="clean/3"), sets=sets) for sets in digests)
    assert set(compare(one, two)["class"]) == {expected}
    timed = [side(record(suite="performance", case="single_stream"), sets=sets) for sets in digests]
    assert compare(*timed).iloc[0]["class"] == Change.SAME  # its rows read no data set


def test_rows_on_one_side_only_have_its_unit_and_no_columns_of_devices() -> None:
    compared = compare(side(record(case="old", unit="pt")), side(record(case="new", unit="dB")))
    units = dict(zip(compared["case"], compared["unit"], strict=True))
    assert units == {"old": "pt", "new": "dB"}
    assert set(compared["class"]) == {Change.NOT_RUN}
    assert {"target", "backend"} <= set(compared.columns)
    assert "target_base" not in compared.columns


def test_tables_without_rows_compare_to_nothing() -> None:
    compared = compare(side(), side())
    assert len(compared) == 0
    assert {"class", "why", "change"} <= set(compared.columns)


def test_uneven_rows_of_one_length_have_the_means_of_their_own_samples() -> None:
    rng = np.random.default_rng(3)
    ones, twos = rng.uniform(size=(2, 60)), rng.uniform(size=(2, 40))
    keys = [{"case": name, "severity": severity} for name, severity in (("fog", 1), ("snow", 2))]
    base = [(record(value=9.0, **key), values) for key, values in zip(keys, ones, strict=True)]
    new = [(record(value=9.0, **key), values) for key, values in zip(keys, twos, strict=True)]
    compared = compare(samples_of(*base), samples_of(*new)).set_index("case")
    for (key, one), two in zip(zip(keys, ones, strict=True), twos, strict=True):
        row = compared.loc[key["case"]]
        assert (row["base"], row["new"]) == pytest.approx((one[:40].mean(), two.mean()))
    # Of equal lengths, the values of the table stand.
    row = compare(samples_of(base[0]), samples_of((base[0][0], ones[1]))).iloc[0]
    assert (row["base"], row["new"]) == (9.0, 9.0)


def test_a_bound_at_infinity_decides_nothing() -> None:
    row = only({**LATENCY, **at(100, 99, 101)}, {**LATENCY, **at(200, 199, math.inf)})
    assert (row["class"], row["why"]) == (Change.CHANGED, "no interval: it may be noise")
    assert only({**LATENCY, **at(0.0)}, {**LATENCY, **at(5.0)})["class"] == Change.CHANGED


def test_why_is_empty_where_the_class_says_it_all() -> None:
    pairs = ((at(0.9), at(0.9)), (at(0.9), at(0.8)), (at(0.8), at(0.9)))
    assert [only(*pair)["why"] for pair in pairs] == ["", "", ""]
    spoiled = only({}, {"status": "ERROR", "reason": math.nan})
    assert spoiled["why"] == "side is ERROR: "
