"""Families of series and tables, and the mistakes, against plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from harness.core import preprocess
from harness.core.preprocess import Preprocess
from harness.data.shifts import apply
from harness.data.shifts.family import SEVERITIES, About, Family, Kind
from harness.data.shifts.mistakes import MISTAKES
from harness.data.shifts.series import SERIES_FAMILIES, read_at
from harness.data.shifts.table import TABLE_FAMILIES

Array = npt.NDArray[np.generic]
BY_NAME = {family.name: family for family in (*SERIES_FAMILIES, *TABLE_FAMILIES, *MISTAKES)}
NUMBERS = np.random.default_rng(3)
STEPS = np.arange(60)[None, :, None]
PHASES = NUMBERS.uniform(0, 6, (200, 1, 3))
PEAKS = 4 * (NUMBERS.random((200, 60, 3)) < 0.03)
WINDOWS = (np.sin(STEPS / 4 + PHASES) + NUMBERS.normal(0, 0.1, (200, 60, 3)) + PEAKS).astype(np.float32)
ROWS = (NUMBERS.normal(size=(300, 8)) * [1, 10, 100, 0.1, 5, 1, 2, 3] + 4).astype(np.float32)
PHOTOS = NUMBERS.integers(0, 256, (4, 12, 12, 3)).astype(np.uint8)


def about_of(family: Family, raw: Array, step: Preprocess | None = None) -> About:
    kind = Kind.IMAGE if raw.dtype == np.uint8 else Kind.SERIES if Kind.SERIES in family.kinds else Kind.TABLE
    return apply.about(kind, raw, raw, step, rate_hz=500.0)


def shift(name: str, raw: Array, severity: int = 1, step: Preprocess | None = None, first: int = 0) -> Array:
    about, ids = about_of(BY_NAME[name], raw, step), np.arange(first, first + len(raw))
    return apply.shift(raw, ids, BY_NAME[name], severity, seed=1, about=about)


@pytest.mark.parametrize("family", [*SERIES_FAMILIES, *TABLE_FAMILIES], ids=lambda family: family.name)
def test_distortion_rises_and_a_subset_gets_the_same_values(family: Family) -> None:
    raw = WINDOWS if Kind.SERIES in family.kinds else ROWS
    spread = raw.std(axis=tuple(range(raw.ndim - 1)))
    changed = [shift(family.name, raw, severity) for severity in SEVERITIES]
    distances = [np.mean(np.minimum(np.abs((one - raw) / spread), 1)) for one in changed]
    assert distances[0] > 0
    # Of 8 columns the first two severities hit one.
    assert (np.diff(distances)[family.name == "stuck_columns" :] > 0).all()
    about = about_of(family, raw)
    some = apply.shift(raw[[9, 2]], np.array([9, 2]), family, 3, seed=1, about=about)
    np.testing.assert_array_equal(some, changed[2][[9, 2]])


@pytest.mark.parametrize("family", SERIES_FAMILIES, ids=lambda family: family.name)
def test_a_series_of_one_channel(family: Family) -> None:
    raw = WINDOWS[..., 0]
    about = about_of(family, raw)
    assert about.spread is not None
    assert about.spread.shape == ()
    if family.name in ("stuck_channel", "lost_channels"):
        assert family.reason_against(about).endswith("there is one channel")
    else:
        assert shift(family.name, raw, 5).shape == raw.shape


def test_what_has_no_time_axis_or_no_rate_is_refused_with_the_reason() -> None:
    hum = BY_NAME["mains_hum"]
    for raw, rate, reason in (
        (WINDOWS, None, "set [shifts] rate_hz"), (WINDOWS, 100.0, "60 Hz need more than 100 readings"),
        (WINDOWS[:, :5], 500.0, "it needs 8 readings"), (WINDOWS[..., None], 500.0, "has no one time axis"),
    ):  # fmt: skip
        assert reason in hum.reason_against(apply.about(Kind.SERIES, raw, raw, rate_hz=rate))


def test_reading_at_other_times_is_linear_interpolation() -> None:
    times = np.array([-3.0, 0.25, 7.5, 58.9, 59.0, 80.0])
    for channel in range(3):
        wanted = np.interp(times, np.arange(60), WINDOWS[0, :, channel])
        np.testing.assert_allclose(read_at(WINDOWS[0].astype(float), times)[:, channel], wanted, rtol=1e-6)


def test_series_against_plain_arithmetic() -> None:
    clipped = shift("clipping", WINDOWS, 5)
    mean, spread = WINDOWS.mean(axis=(0, 1)), WINDOWS.std(axis=(0, 1))
    np.testing.assert_allclose(clipped, np.clip(WINDOWS, mean - spread, mean + spread), atol=1e-5)
    drift = shift("gain_drift", WINDOWS, 5) / WINDOWS
    assert sorted({*np.round(drift[:, -1, 0], 4).tolist()}) == [0.5, 1.5]
    np.testing.assert_array_equal(drift[:, 0], 1)
    gap = shift("missing_segment", WINDOWS, 5)
    held = (np.diff(gap, axis=1) == 0).all(axis=2).sum(axis=1)
    assert held.min() >= math.floor(0.4 * 60) - 1
    lost = (shift("lost_channels", WINDOWS, 5) == 0).all(axis=1)
    assert lost.mean() == pytest.approx(0.5, abs=0.1)
    hum = np.abs(np.fft.rfft((shift("mains_hum", WINDOWS, 5) - WINDOWS)[..., 0], 600, axis=1))
    assert {*(hum.argmax(axis=1) / 600 * 500).round(-1).astype(int).tolist()} == {50, 60}


def test_tables_against_plain_arithmetic() -> None:
    mean, spread = ROWS.mean(axis=0), ROWS.std(axis=0)
    filled = shift("filled_missing", ROWS, 4)
    changed = filled != ROWS
    assert changed.mean() == pytest.approx(0.35, abs=0.04)
    np.testing.assert_allclose(filled[changed], np.broadcast_to(mean, ROWS.shape)[changed], rtol=1e-4)
    factors = (shift("wrong_unit", ROWS, 5) / ROWS).round(3)
    assert {*np.unique(factors).tolist()} == {1.0, 10.0, 100.0, 1000.0}
    assert ((factors != 1).sum(axis=1) <= 1).all()
    swapped = shift("swapped_columns", ROWS, 5)
    np.testing.assert_array_equal(np.sort(swapped, axis=1), np.sort(ROWS, axis=1))
    stuck = shift("stuck_columns", ROWS, 5)
    constant = np.ptp(stuck, axis=0) == 0
    assert constant.sum() == math.ceil(0.4 * 8)
    np.testing.assert_allclose(stuck[0, constant], (mean + spread)[constant], rtol=1e-4)
    moved = ((shift("covariate_shift", ROWS, 5) - ROWS) / spread).astype(float)
    np.testing.assert_allclose(np.abs(moved), 1, rtol=1e-3)
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), rtol=1e-2)


def test_mistakes_of_images_against_plain_arithmetic() -> None:
    raw = PHOTOS
    np.testing.assert_array_equal(shift("swapped_channels", raw), raw[..., [2, 1, 0]])
    np.testing.assert_allclose(shift("range_of_one", raw), raw / np.float32(255), rtol=1e-6)
    np.testing.assert_array_equal(shift("rotated", raw)[1], np.rot90(raw[1]))
    moved = shift("crop_off_by_one", raw)
    np.testing.assert_array_equal(moved[:, 1:, 1:], raw[:, :-1, :-1])
    as_read = np.ascontiguousarray(raw).reshape(4, 3, 12, 12)  # the same bytes as another layout
    np.testing.assert_array_equal(np.moveaxis(shift("wrong_layout", raw), -1, 1), as_read)
    assert (shift("wrong_resize", raw)[:, [0, -1]] == 0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_the_model_gets_what_the_left_out_preprocessing_would_give(reverse: bool) -> None:
    whole = Preprocess(1 / 255, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), reverse, "NCHW")
    scale_only = Preprocess(1 / 255, reverse_channels=reverse, layout="NCHW")
    fed = preprocess.apply(shift("missing_mean_std", PHOTOS, step=whole), whole)
    np.testing.assert_allclose(fed, preprocess.apply(PHOTOS, scale_only), atol=1e-6)
    no_scale = Preprocess(1.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), reverse, "NCHW")
    fed = preprocess.apply(shift("missing_scale", PHOTOS, step=whole), whole)
    np.testing.assert_allclose(fed, preprocess.apply(PHOTOS, no_scale), rtol=1e-5)


def test_a_mistake_that_changes_nothing_is_refused_with_the_reason() -> None:
    grey = about_of(BY_NAME["rotated"], np.zeros((2, 8, 9, 1), np.uint8))
    reasons = {
        name: BY_NAME[name].reason_against(grey)
        for name in ("swapped_channels", "wrong_layout", "rotated", "missing_scale", "missing_mean_std")
    }
    assert all(" does not apply: " in reason for reason in reasons.values()), reasons
    integers = apply.about(Kind.IMAGE, PHOTOS, step=Preprocess(dtype="uint8"))
    assert "takes uint8 values" in BY_NAME["range_of_one"].reason_against(integers)


def test_mistakes_of_features_against_plain_arithmetic() -> None:
    about = apply.about(Kind.TABLE, ROWS, ROWS)
    exchanged = apply.shift(ROWS, np.arange(300), BY_NAME["exchanged_features"], 1, seed=0, about=about)
    np.testing.assert_array_equal(exchanged, ROWS[:, [7, 0, 1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(shift("reversed_time", WINDOWS), WINDOWS[:, ::-1])
    half = shift("half_rate", WINDOWS)
    np.testing.assert_array_equal(half[:, :30], WINDOWS[:, ::2])
    np.testing.assert_array_equal(half[:, 30:], np.repeat(WINDOWS[:, -1:], 30, axis=1))
