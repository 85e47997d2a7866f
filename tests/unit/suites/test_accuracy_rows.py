"""Exactly which rows a case of the accuracy suite has, what each sample contributes, and the intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Quantization
from harness.core.cause import Cause
from harness.core.job import Status
from harness.stats import intervals, paired
from tests.unit.suites.test_accuracy_summarise import (
    CLASSES,
    FLOAT,
    LABELS,
    OWN,
    RNG,
    SCALE,
    TARGETS,
    N,
    planted,
    rows,
    samples,
)  # fmt: skip

CLASSIFIED = {
    ("accuracy", ""): "1", ("ece", ""): "1", ("accuracy_loss", FLOAT): "pt", ("flips_harmful", FLOAT): "1",
    ("flips_beneficial", FLOAT): "1", ("agreement", FLOAT): "1", ("sqnr", FLOAT): "dB",
    ("max_abs_difference", FLOAT): "1", ("nonfinite_outputs", FLOAT): "1", ("input_digest_equal", ""): "1",
}  # fmt: skip
BY_CLASS = {(f"class_accuracy_loss/{label}", FLOAT): "pt" for label in range(CLASSES)}
CALIBRATED = {
    (f"{name}{kind}", reference): "1"
    for kind, reference in (("", ""), ("_increase", FLOAT))
    for name in ("ece" if kind else "ece_equal_mass", "nll", "brier")
}
PINNED = {
    ("bit_exact", OWN): "1",
    ("difference_over_rounding", OWN): "1",
    ("max_lsb", OWN): "LSB",
    ("mean_lsb", OWN): "LSB",
}
REGRESSED = {
    ("mae", ""): "1", ("rmse", ""): "1", ("r2", ""): "1", ("error_increase", FLOAT): "1",
    ("sqnr", FLOAT): "dB", ("max_abs_difference", FLOAT): "1", ("nonfinite_outputs", FLOAT): "1",
    ("input_digest_equal", ""): "1",
}  # fmt: skip


@pytest.mark.parametrize("shift", ["", "fog"])
@pytest.mark.parametrize("setting", ["deploy", "parity"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_case_has_exactly_its_rows(shift: str, setting: str, task: str) -> None:
    base, scores = planted(9, 4)
    metrics = rows(
        samples(scores),
        {"float32": samples(base), "int8": samples(base)},
        setting=setting,
        task=task,
        name=shift,
        labels=LABELS if task == "classification" else base + 0.5,
        steps={"y0": Quantization(SCALE, 0)},
    )
    expected = CLASSIFIED if task == "classification" else REGRESSED
    if task == "classification" and not shift and setting == "deploy":
        expected = expected | BY_CLASS | {("worst_class_accuracy_loss", FLOAT): "pt"} | CALIBRATED
        expected |= dict.fromkeys([key for key in metrics if key[0].startswith("bin_")], "1")
    if setting == "parity" and not shift:
        expected = expected | PINNED
    assert {key: row.unit for key, row in metrics.items()} == expected
    apart = {key for key in metrics if key[0].startswith("bin_")}
    apart |= {*BY_CLASS, ("difference_over_rounding", OWN), ("worst_class_accuracy_loss", FLOAT)}
    assert {row.n for key, row in metrics.items() if key not in apart} == {N}


def test_what_each_sample_contributes_has_the_value_as_its_mean() -> None:
    base, scores = planted(harmful=9, beneficial=4)
    metrics = rows(samples(scores), {"float32": samples(base), "int8": samples(base)}, setting="parity")
    for key in [
        ("accuracy", ""), ("accuracy_loss", FLOAT), ("flips_harmful", FLOAT), ("flips_beneficial", FLOAT),
        ("agreement", FLOAT), ("bit_exact", OWN),
    ]:  # fmt: skip
        column = metrics[key].per_sample
        assert column is not None
        assert (column.shape, column.dtype) == ((N,), np.float64)
        assert column.mean() == pytest.approx(metrics[key].value)
    harmful, beneficial = (metrics[f"flips_{kind}", FLOAT] for kind in ("harmful", "beneficial"))
    flips = paired.flips(base.argmax(axis=1) == LABELS, scores.argmax(axis=1) == LABELS)
    assert (harmful.ci_low, harmful.ci_high) == (flips.harmful.low, flips.harmful.high)
    assert (beneficial.ci_low, beneficial.ci_high) == (flips.beneficial.low, flips.beneficial.high)


def test_intervals_of_a_regression_resample_samples() -> None:
    base = (TARGETS + RNG.normal(size=TARGETS.shape) * 0.1).astype(np.float32)
    scores = (base + RNG.normal(size=TARGETS.shape) * 0.05).astype(np.float32)
    metrics = rows(samples(scores), {"float32": samples(base)}, labels=TARGETS, task="regression")
    error, host = (np.abs(y.astype(np.float64) - TARGETS) for y in (scores, base))
    mae = intervals.clustered_mean(error.mean(axis=1))
    assert (metrics["mae", ""].ci_low, metrics["mae", ""].ci_high) == pytest.approx((mae.low, mae.high))
    square = intervals.clustered_mean(np.square(error).mean(axis=1))
    assert metrics["rmse", ""].ci_low == pytest.approx(math.sqrt(square.low))
    assert metrics["rmse", ""].ci_high == pytest.approx(math.sqrt(square.high))
    variance = np.square(TARGETS - TARGETS.mean(axis=0)).mean()
    assert metrics["r2", ""].ci_low == pytest.approx(1 - square.high / variance)
    assert metrics["r2", ""].ci_high == pytest.approx(1 - square.low / variance)
    scale = host.mean()
    increase = paired.paired_mean_difference(host.mean(axis=1) / scale, error.mean(axis=1) / scale)
    row = metrics["error_increase", FLOAT]
    assert (row.ci_low, row.ci_high) == pytest.approx((increase.low, increase.high))
    assert metrics["mae", ""].per_sample == pytest.approx(error.mean(axis=1))


def test_where_the_device_fed_other_inputs_what_was_measured_is_invalid_and_says_so() -> None:
    base, scores = planted(harmful=9, beneficial=4)
    metrics = rows(samples(scores, sha="another"), {"float32": samples(base)}, labels=None)
    assert metrics["input_digest_equal", ""].value == 0
    agreement, without_labels = metrics["agreement", FLOAT], metrics["accuracy", ""]
    assert (agreement.status, agreement.cause) == (Status.INVALID, Cause.OTHER_INPUTS)
    assert "inputs on the device differ" in agreement.reason
    assert (without_labels.status, without_labels.cause) == (Status.SKIPPED, Cause.MISSING_DATA)


def test_equal_integers_are_no_step_apart() -> None:
    _, scores = planted(harmful=9, beneficial=4)
    steps = {"y0": Quantization(SCALE, 0)}
    metrics = rows(samples(scores), {"int8": samples(scores)}, setting="parity", steps=steps)
    assert (metrics["max_lsb", OWN].value, metrics["mean_lsb", OWN].value) == (0, 0)
    assert metrics["bit_exact", OWN].value == 1


def test_a_regression_without_labels_or_whole_outputs_is_skipped_with_the_reason() -> None:
    y = RNG.normal(size=(N, 2)).astype(np.float32)
    host = {"float32": samples(y)}
    unlabelled = rows(samples(y), host, labels=None, task="regression")
    reduced = rows(
        samples(y, keep="reduced"), {"float32": samples(y, keep="reduced")}, labels=y, task="regression"
    )
    for key in (("rmse", ""), ("error_increase", FLOAT)):
        assert (unlabelled[key].status, unlabelled[key].reason) == (Status.SKIPPED, "the data have no labels")
        assert (reduced[key].status, reduced[key].cause) == (Status.SKIPPED, Cause.MISSING_DATA)
        assert "raw outputs" in reduced[key].reason


@pytest.mark.parametrize(
    ("fault", "over"),
    [
        (lambda y: y, 0),
        (lambda y: y + 0.009, 0),
        (lambda y: y + 0.02, N),
        (lambda y: np.where(np.arange(N)[:, None] % 100 == 7, y[:, ::-1], y), 2),  # swapped in 1 %
        (lambda y: np.where(np.arange(N)[:, None] == 41, np.nan, y), 1),
        (lambda y: np.where(np.arange(N)[:, None] == 41, np.inf, y), 1),
    ],
)
def test_differences_are_measured_by_what_rounding_explains(fault: Any, over: int) -> None:
    base, _ = planted(9, 4)
    host = {"float32": samples(base), "int8": samples(base)}
    scores = fault(base.astype(np.float64)).astype(np.float32)
    row = rows(samples(scores), host, setting="parity", bounds={"y0": 0.01})["difference_over_rounding", OWN]
    assert (row.value > 1) == (over > 0)
    assert (f"more than that in {over} of {N} samples" in row.reason) == (over > 0)
    if np.isfinite(scores).all():
        assert row.value == pytest.approx(np.abs(scores - base).max() / 0.01, rel=1e-5)
    else:
        assert row.value == math.inf
        assert "sample 41" in row.reason


@pytest.mark.parametrize("keep", [("reduced", "reduced"), ("reduced", "outputs"), ("outputs", "reduced")])
@pytest.mark.parametrize(
    ("fault", "is_seen"),
    [
        (lambda y: y, False),
        (lambda y: y + 0.009, False),
        (lambda y: y + 0.02, True),
        (lambda y: np.where(np.arange(N)[:, None] == 41, np.nan, y), True),
        # Two scores of a sample that are exchanged have the same extremes.
        (lambda y: y[:, ::-1], False),
    ],
)
def test_of_reduced_outputs_the_extremes_are_compared(
    keep: tuple[str, str], fault: Any, is_seen: bool
) -> None:
    base, _ = planted(9, 4)
    scores = fault(base.astype(np.float64)).astype(np.float32)
    reference = samples(base, keep=keep[1])
    measured, host = samples(scores, keep=keep[0]), {"float32": reference, "int8": reference}
    row = rows(measured, host, setting="parity", bounds={"y0": 0.01})["difference_over_rounding", OWN]
    assert (row.value > 1) == is_seen
    assert "of the lowest and the highest number of each sample alone" in row.reason
    row = rows(measured, host, setting="parity", same_runtime="as the host")["difference_over_rounding", OWN]
    assert row.value == (0 if np.array_equal(scores, base) else math.inf), "the hashes differ"


def test_the_output_that_differs_most_for_its_bound_is_named() -> None:
    base, _ = planted(9, 4)
    small = base[:, :2] / 1000
    host = {"float32": samples(base, small), "int8": samples(base, small)}
    measured = samples(base + np.float32(0.005), small + np.float32(0.001))
    row = rows(measured, host, setting="parity", bounds={"y0": 0.01, "y1": 0.0001})[
        "difference_over_rounding", OWN
    ]
    assert row.value == pytest.approx(10, rel=1e-3)
    assert "the output y1 differs by 0.001" in row.reason


@pytest.mark.parametrize("bounds", [{"y0": 0.01}, {}])
def test_on_the_runtime_of_the_host_rounding_explains_no_difference(bounds: dict[str, float]) -> None:
    """The last bit of one number of one sample fails, also where no bound can be derived."""
    base, _ = planted(9, 4)
    other = base.copy()
    other[17, 1] = np.nextafter(other[17, 1], np.float32(np.inf))
    host = {"float32": samples(base), "int8": samples(base)}
    same, changed = (
        rows(samples(y), host, setting="parity", bounds=bounds, same_runtime="as the host")[
            "difference_over_rounding", OWN
        ]
        for y in (base, other)
    )
    assert (same.value, same.reason) == (0, "the output y0 is equal, rounding explains 0: as the host")
    assert changed.value == math.inf
    assert "in sample 17, rounding explains 0: as the host; more than that in 1 of " in changed.reason


def test_of_fewer_samples_the_last_batch_is_another_and_the_derived_bound_counts() -> None:
    base, _ = planted(9, 4)
    host = {"float32": samples(base), "int8": samples(base)}
    row = rows(
        samples(base[:100] + np.float32(0.001)), host, setting="parity", bounds={"y0": 0.01},
        same_runtime="as the host",
    )["difference_over_rounding", OWN]  # fmt: skip
    assert row.value == pytest.approx(0.1, rel=1e-2)


def test_without_a_bound_the_row_says_why() -> None:
    base, _ = planted(9, 4)
    row = rows(samples(base), {"float32": samples(base), "int8": samples(base)}, setting="parity")[
        "difference_over_rounding", OWN
    ]
    assert (row.status, row.reason) == (Status.SKIPPED, "no bound is known: not derived")


def test_outputs_that_are_not_finite_are_counted_where_those_of_the_host_are() -> None:
    base, scores = planted(9, 4)
    scores[30:40, 7] = np.nan
    scores[50, 1] = -np.inf
    row = rows(samples(scores), {"float32": samples(base)})["nonfinite_outputs", FLOAT]
    assert (row.value, row.reason) == (11 / N, "the first is sample 30")
    base[30:35] = np.inf  # the model itself
    assert rows(samples(scores), {"float32": samples(base)})["nonfinite_outputs", FLOAT].value == 6 / N
    reduced = rows(samples(scores, keep="reduced"), {"float32": samples(base, keep="reduced")})
    assert reduced["nonfinite_outputs", FLOAT].value == 6 / N
