"""Families of audio change sound as they say, by the same values in any order and subset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.data.shifts import apply
from harness.data.shifts.audio import AUDIO_FAMILIES
from harness.data.shifts.family import Kind

RATE_HZ = 4000.0
FAMILIES = {family.name: family for family in AUDIO_FAMILIES}
TIME_S = np.arange(2000) / RATE_HZ
SOUND = np.stack([0.5 * np.sin(2 * np.pi * hz * TIME_S) for hz in (100.0, 400.0, 1500.0)]).astype(np.float32)
IDS = np.arange(3)


def made(name: str, severity: int, raw: Any = SOUND, ids: Any = IDS) -> Any:
    about = apply.about(Kind.AUDIO, raw, rate_hz=RATE_HZ)
    return apply.shift(raw, ids, FAMILIES[name], severity, seed=0, about=about)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sample_gets_the_same_values_in_any_set(name: str) -> None:
    whole = made(name, 3)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(made(name, 3, SOUND[[2, 0]], IDS[[2, 0]]), whole[[2, 0]])
    assert not np.array_equal(whole, SOUND)


def test_noise_has_the_ratio_that_it_says() -> None:
    for severity, ratio_db in ((1, 30), (5, 5)):
        noise = made("background_noise", severity) - SOUND
        got_db = 10 * np.log10(np.square(SOUND).mean(axis=1) / np.square(noise).mean(axis=1))
        np.testing.assert_allclose(got_db, ratio_db, atol=0.7)


def test_level_peaks_bands_gaps_and_steps_are_those_of_the_severity() -> None:
    np.testing.assert_allclose(made("distance", 2), SOUND * 10 ** (-12 / 20), rtol=1e-5)
    assert (np.abs(made("overdrive", 5)).max(axis=1) < 0.9 * np.abs(SOUND).max(axis=1)).all()
    power = {name: np.square(made(name, 5)).mean(axis=1) for name in ("muffled", "thin")}
    clean = np.square(SOUND).mean(axis=1)
    assert power["muffled"][0] > 0.8 * clean[0]
    assert power["muffled"][2] < 0.1 * clean[2]
    assert power["thin"][2] > 0.8 * clean[2]
    assert power["thin"][0] < 0.1 * clean[0]
    assert (np.count_nonzero(made("gap", 5) == 0, axis=1) >= 990).all()
    assert len(np.unique(made("converter", 5))) <= 2**6 + 1


def test_16_bits_are_changed_as_real_numbers_and_silence_remains() -> None:
    raw = np.rint(32767 * SOUND).astype(np.int16)
    raw[1] = 0
    changed = made("converter", 3, raw)
    assert changed.dtype == np.int16
    assert not changed[1].any()
    np.testing.assert_allclose(changed[0] / 32767, made("converter", 3)[0], atol=0.01)


def test_without_a_rate_they_do_not_apply() -> None:
    about = apply.about(Kind.AUDIO, SOUND)
    assert "rate_hz" in FAMILIES["muffled"].reason_against(about)
