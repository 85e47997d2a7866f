"""Exactly which rows a case of the accuracy suite has, what each sample contributes, and the intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.core.artifact import Quantization
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
    ("max_abs_difference", FLOAT): "1", ("input_digest_equal", ""): "1",
}  # fmt: skip
BY_CLASS = {(f"class_accuracy_loss/{label}", FLOAT): "pt" for label in range(CLASSES)}
PINNED = {("bit_exact", OWN): "1", ("max_lsb", OWN): "LSB", ("mean_lsb", OWN): "LSB"}
REGRESSED = {
    ("mae", ""): "1", ("rmse", ""): "1", ("r2", ""): "1", ("error_increase", FLOAT): "1",
    ("sqnr", FLOAT): "dB", ("max_abs_difference", FLOAT): "1", ("input_digest_equal", ""): "1",
}  # fmt: skip


@pytest.mark.parametrize("shift", ["", "fog"])
@pytest.mark.parametrize("setting", ["deploy", "parity"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_case_has_exactly_its_rows(shift: str, setting: str, task: str) -> None:
    base, own = planted(9, 4)
    found = rows(
        samples(own),
        {"float32": samples(base), "int8": samples(base)},
        setting=setting,
        task=task,
        name=shift,
        labels=LABELS if task == "classification" else base + 0.5,
        steps={"y0": Quantization(SCALE, 0)},
    )
    expected = CLASSIFIED if task == "classification" else REGRESSED
    if task == "classification" and not shift and setting == "deploy":
        expected = expected | BY_CLASS
    if setting == "parity" and not shift:
        expected = expected | PINNED
    assert {key: row.unit for key, row in found.items()} == expected
    assert {row.n for key, row in found.items() if key not in BY_CLASS} == {N}


def test_what_each_sample_contributes_has_the_value_as_its_mean() -> None:
    base, own = planted(harmful=9, beneficial=4)
    found = rows(samples(own), {"float32": samples(base), "int8": samples(base)}, setting="parity")
    for key in [
        ("accuracy", ""), ("accuracy_loss", FLOAT), ("flips_harmful", FLOAT), ("flips_beneficial", FLOAT),
        ("agreement", FLOAT), ("bit_exact", OWN),
    ]:  # fmt: skip
        column = found[key].per_sample
        assert column is not None
        assert (column.shape, column.dtype) == ((N,), np.float64)
        assert column.mean() == pytest.approx(found[key].value)
    harmful, beneficial = (found[f"flips_{kind}", FLOAT] for kind in ("harmful", "beneficial"))
    known = paired.flips(base.argmax(axis=1) == LABELS, own.argmax(axis=1) == LABELS)
    assert (harmful.ci_low, harmful.ci_high) == (known.harmful.low, known.harmful.high)
    assert (beneficial.ci_low, beneficial.ci_high) == (known.beneficial.low, known.beneficial.high)


def test_intervals_of_a_regression_resample_samples() -> None:
    base = (TARGETS + RNG.normal(size=TARGETS.shape) * 0.1).astype(np.float32)
    own = (base + RNG.normal(size=TARGETS.shape) * 0.05).astype(np.float32)
    found = rows(samples(own), {"float32": samples(base)}, labels=TARGETS, task="regression")
    error, host = (np.abs(y.astype(np.float64) - TARGETS) for y in (own, base))
    mae = intervals.clustered_mean(error.mean(axis=1))
    assert (found["mae", ""].ci_low, found["mae", ""].ci_high) == pytest.approx((mae.low, mae.high))
    square = intervals.clustered_mean(np.square(error).mean(axis=1))
    assert found["rmse", ""].ci_low == pytest.approx(math.sqrt(square.low))
    assert found["rmse", ""].ci_high == pytest.approx(math.sqrt(square.high))
    variance = np.square(TARGETS - TARGETS.mean(axis=0)).mean()
    assert found["r2", ""].ci_low == pytest.approx(1 - square.high / variance)
    assert found["r2", ""].ci_high == pytest.approx(1 - square.low / variance)
    scale = host.mean()
    increase = paired.paired_mean_difference(host.mean(axis=1) / scale, error.mean(axis=1) / scale)
    row = found["error_increase", FLOAT]
    assert (row.ci_low, row.ci_high) == pytest.approx((increase.low, increase.high))
    assert found["mae", ""].per_sample == pytest.approx(error.mean(axis=1))
