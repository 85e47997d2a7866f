from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import DataError, HarnessError, UsageError
from harness.data.shifts import apply, catalogue
from harness.data.shifts.family import SEVERITIES, Kind

IMAGES = sorted(catalogue.DEFAULTS[Kind.IMAGE])
FEATURES = sorted(catalogue.DEFAULTS[Kind.SERIES])


def corrupt(
    raw: npt.NDArray[np.generic],
    ids: npt.NDArray[np.int64],
    family: str,
    severity: int,
    *,
    seed: int = 0,
    kind: str = "image",
    reference: npt.NDArray[np.generic] | None = None,
) -> npt.NDArray[np.generic]:
    which = Kind.IMAGE if kind == "image" else Kind.SERIES if raw.ndim > 2 else Kind.TABLE
    about = apply.about(which, raw, reference)
    return apply.shift(raw, ids, catalogue.named(family, which), severity, seed=seed, about=about)


def photos(n: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Smooth blobs with some noise: neither flat nor white."""
    random = np.random.default_rng(1)
    height, width, channels = shape
    y, x = np.mgrid[:height, :width]
    phase = random.uniform(0, 6, (n, 1, 1, channels))
    waves = 110 + 70 * np.sin(x[None, :, :, None] / 5 + phase) + 40 * np.cos(y[None, :, :, None] / 4 + phase)
    return np.clip(waves + random.normal(0, 8, (n, *shape)), 0, 255).astype(np.uint8)


def table(n: int = 60) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(2)
    return (random.normal(size=(n, 7)) * [1, 10, 100, 0.1, 5, 1, 0] + [0, 5, 50, 1, 0, 3, 4]).astype(
        np.float32
    )


@pytest.mark.parametrize("family", IMAGES)
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 17, 3), (32, 32, 1), (40, 24, 4)])
def test_images_keep_shape_and_dtype_and_change(family: str, shape: tuple[int, int, int]) -> None:
    raw = photos(3, shape)
    before = raw.copy()
    shifted = corrupt(raw, np.arange(3), family, 5, seed=0, kind="image")
    assert shifted.shape == raw.shape
    assert shifted.dtype == np.uint8
    assert (shifted != raw).any()
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize("family", IMAGES)
def test_image_distortion_rises_with_severity(family: str) -> None:
    raw = photos(12, (32, 32, 3))
    distortions = [
        np.abs(corrupt(raw, np.arange(12), family, s, seed=0, kind="image").astype(float) - raw).mean()
        for s in SEVERITIES
    ]
    assert distortions[0] > 0
    assert distortions == sorted(distortions)


@pytest.mark.parametrize("family", FEATURES)
def test_feature_distortion_rises_with_severity(family: str) -> None:
    raw, ids = table(400)[:, :6], np.arange(400)
    spread = raw.std(axis=0)
    distortions = [
        np.abs((corrupt(raw, ids, family, s, seed=0, kind="features", reference=raw) - raw) / spread).mean()
        for s in SEVERITIES
    ]
    assert distortions[0] > 0
    assert distortions == sorted(distortions)


@pytest.mark.parametrize("family", IMAGES)
def test_a_subset_in_another_order_gets_the_same_pixels(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, ids = photos(9, (20, 16, 3)), np.arange(100, 109)
    whole = corrupt(raw, ids, family, 3, seed=5, kind="image")
    chosen = np.array([7, 0, 4])
    np.testing.assert_array_equal(
        corrupt(raw[chosen], ids[chosen], family, 3, seed=5, kind="image"), whole[chosen]
    )
    monkeypatch.setattr(apply, "_CHUNK_BYTE", 1)  # one sample at a time
    np.testing.assert_array_equal(corrupt(raw, ids, family, 3, seed=5, kind="image"), whole)


@pytest.mark.parametrize("family", FEATURES)
def test_a_subset_in_another_order_gets_the_same_features(family: str) -> None:
    raw, ids, chosen = table(), np.arange(60), np.array([31, 2, 59])
    whole = corrupt(raw, ids, family, 4, seed=5, kind="features", reference=raw)
    some = corrupt(raw[chosen], ids[chosen], family, 4, seed=5, kind="features", reference=raw)
    np.testing.assert_array_equal(some, whole[chosen])


@pytest.mark.parametrize("changed", ["seed", "severity", "id"])
def test_every_part_of_the_key_changes_the_noise(changed: str) -> None:
    raw = np.full((1, 16, 16, 1), 128, dtype=np.uint8)

    def noise(*, seed: int = 0, severity: int = 1, sample: int = 0) -> npt.NDArray[np.float64]:
        sigma = (0.08, 0.12)[severity - 1]
        shifted = corrupt(raw, np.array([sample]), "gaussian_noise", severity, seed=seed, kind="image")
        return (shifted.astype(float) - 128) / sigma

    other = {"seed": noise(seed=1), "severity": noise(severity=2), "id": noise(sample=1)}[changed]
    assert abs(np.corrcoef(noise().ravel(), other.ravel())[0, 1]) < 0.5


def test_moments_of_the_noise() -> None:
    raw = np.full((40, 32, 32, 1), 128, dtype=np.uint8)
    ids = np.arange(40)
    gaussian = corrupt(raw, ids, "gaussian_noise", 1, seed=0, kind="image").astype(float)
    assert gaussian.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert gaussian.mean() == pytest.approx(128, abs=0.5)
    shot = corrupt(raw, ids, "shot_noise", 1, seed=0, kind="image").astype(float)
    assert shot.std() == pytest.approx(np.sqrt(128 / 255 / 60) * 255, rel=0.02)
    impulse = corrupt(raw, ids, "impulse_noise", 5, seed=0, kind="image")
    assert np.mean(impulse == 0) == pytest.approx(0.135, abs=0.01)
    assert np.mean(impulse == 255) == pytest.approx(0.135, abs=0.01)


def test_contrast_brightness_and_pixelate_against_plain_arithmetic() -> None:
    raw, ids = photos(2, (8, 8, 1)), np.arange(2)
    mean = raw.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_array_equal(
        corrupt(raw, ids, "contrast", 2, seed=0, kind="image"), np.rint((raw - mean) * 0.3 + mean)
    )
    np.testing.assert_array_equal(
        corrupt(raw, ids, "brightness", 1, seed=0, kind="image"), np.rint(np.minimum(raw + 25.5, 255))
    )
    blocks = raw.reshape(2, 4, 2, 4, 2).sum(axis=(2, 4))
    wanted = ((blocks + 2) // 4).repeat(2, axis=1).repeat(2, axis=2)  # severity 2 halves the side
    np.testing.assert_array_equal(corrupt(raw, ids, "pixelate", 2, seed=0, kind="image")[..., 0], wanted)


def test_brightness_keeps_the_hue() -> None:
    raw = np.full((1, 8, 8, 3), (100, 50, 0), dtype=np.uint8)
    brighter = corrupt(raw, np.arange(1), "brightness", 2, seed=0, kind="image")
    assert brighter[0, 0, 0].tolist() == [151, 76, 0]  # V from 100 to 151, all channels by 1.51


def test_a_grey_image_without_channel_axis() -> None:
    raw, ids = photos(3, (12, 10, 1)), np.arange(3)
    with_axis = corrupt(raw, ids, "fog", 3, seed=0, kind="image")
    np.testing.assert_array_equal(
        corrupt(raw[..., 0], ids, "fog", 3, seed=0, kind="image"), with_axis[..., 0]
    )


@settings(max_examples=30, deadline=None)
@given(
    family=st.sampled_from(FEATURES),
    severity=st.sampled_from(SEVERITIES),
    dtype=st.sampled_from(["float16", "float32", "float64", "int8", "uint8", "int64", "uint64"]),
    shape=st.sampled_from([(), (3,), (4, 2), (2, 3, 2)]),
    seed=st.integers(0, 9),
)
def test_features_of_any_rank_and_dtype(
    family: str, severity: int, dtype: str, shape: tuple[int, ...], seed: int
) -> None:
    raw = np.random.default_rng(seed).integers(0, 100, (5, *shape)).astype(dtype)
    if dtype[0] != "f":  # the ends of the range must not wrap round
        limits = np.iinfo(dtype)
        raw.reshape(-1)[:2] = limits.min, limits.max
    shifted = corrupt(raw, np.arange(5), family, severity, seed=seed, kind="features", reference=raw)
    assert shifted.shape == raw.shape
    assert shifted.dtype == raw.dtype
    assert np.isfinite(shifted.astype(float)).all()


def test_strength_follows_the_spread_of_the_reference() -> None:
    raw = table(500)
    ids = np.arange(500)
    spread = raw.astype(np.float64).std(axis=0)
    shifted = corrupt(raw, ids, "offset", 2, seed=0, kind="features", reference=raw)
    moved = np.abs(shifted.astype(np.float64) - raw)
    np.testing.assert_allclose(moved, np.broadcast_to(0.2 * spread, raw.shape), rtol=1e-3, atol=1e-5)
    assert (shifted[:, 6] == raw[:, 6]).all()  # a constant feature has no spread
    lost = corrupt(raw + 1000, ids, "dropout", 3, seed=0, kind="features", reference=raw) == 0
    assert lost.mean() == pytest.approx(0.1, abs=0.02)


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        corrupt(photos(1, (8, 8, 1)), np.arange(1), "gausian_nois", 1, seed=0, kind="image")
    assert "'gaussian_noise'" in caught.value.next_step


@pytest.mark.parametrize("severity", [0, 6])
def test_an_unknown_severity(severity: int) -> None:
    with pytest.raises(UsageError, match="has no severity"):
        corrupt(photos(1, (8, 8, 1)), np.arange(1), "fog", severity, seed=0, kind="image")


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((2, 7, 9, 1), np.uint8),
        np.zeros((2, 3, 32, 32), np.uint8),
        np.zeros((2, 9, 9, 1), np.float32),
    ],
    ids=["small", "nchw", "float"],
)
def test_what_is_no_image_is_refused(raw: npt.NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match="uint8 images"):
        corrupt(raw, np.arange(2), "fog", 1, seed=0, kind="image")


def test_features_need_a_reference_and_ids_of_their_length() -> None:
    raw = table()
    for reference in (None, raw[:, :3], raw[:0]):
        with pytest.raises(DataError, match="calibration samples"):
            corrupt(raw, np.arange(60), "gain", 1, seed=0, kind="features", reference=reference)
    with pytest.raises(DataError, match="59 ids"):
        corrupt(raw, np.arange(59), "gain", 1, seed=0, kind="features", reference=raw)


def test_an_installation_without_entry_points_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue.plugins, "catalogue", lambda group: {})
    for ask in (catalogue.families, lambda: catalogue.of_kind(Kind.IMAGE)):
        with pytest.raises(HarnessError, match="no families of shifts are installed"):
            ask()
