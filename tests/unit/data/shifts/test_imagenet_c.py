"""The eleven families by the library, and ours beside the library's."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from imagecorruptions import corrupt as by_library
from scipy import stats

from harness.data.datasets import content_sha256
from harness.data.shifts import apply, catalogue, imagenet_c
from harness.data.shifts.family import SEVERITIES, Kind

NAMES = tuple(family.name for family in imagenet_c.LIBRARY_FAMILIES)
GREY = tuple(name for name in NAMES if name != "saturate")


def photo(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(1)
    n, height, width, channels = shape
    y, x = np.mgrid[:height, :width]
    phase = random.uniform(0, 6, (n, 1, 1, channels))
    waves = 110 + 70 * np.sin(x[None, :, :, None] / 15 + phase) + 40 * np.cos(y[None, :, :, None] / 9 + phase)
    return np.clip(waves + random.normal(0, 4, shape), 0, 255).astype(np.uint8)


def ours(name: str, raw: npt.NDArray[np.uint8], severity: int, ids: object = None) -> npt.NDArray[np.uint8]:
    about = apply.about(Kind.IMAGE, raw)
    numbers = np.arange(len(raw)) if ids is None else np.asarray(ids)
    family = catalogue.named(name, Kind.IMAGE)
    return apply.shift(raw, numbers, family, severity, seed=2, about=about).astype(np.uint8)


def digest_of_all() -> str:
    raw = photo((2, 32, 32, 3))
    names = (*NAMES, *catalogue.DEFAULTS[Kind.IMAGE])
    return content_sha256(np.stack([ours(name, raw, severity) for name in names for severity in (1, 5)]))


def test_nineteen_families_in_all() -> None:
    assert len({*NAMES, *catalogue.DEFAULTS[Kind.IMAGE]}) == 19


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_librarys_output_for_the_seed_of_the_sample(name: str) -> None:
    raw = photo((1, 40, 36, 3))
    (stream,) = apply.streams(np.array([7]), name, 4, 2)
    seed = int(stream.integers(2**32))
    before = np.random.get_state()[1]
    made = ours(name, raw, 4, [7])[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # as it was for everyone else
    np.random.seed(seed)
    seeded = partial(by_library, seed=seed) if name == "glass_blur" else by_library
    np.testing.assert_array_equal(made, seeded(raw[0], severity=4, corruption_name=name))


@pytest.mark.parametrize("name", NAMES)
def test_a_subset_in_another_order_gets_the_same_pixels(name: str) -> None:
    raw = photo((4, 32, 33, 3))
    whole = ours(name, raw, 3)
    np.testing.assert_array_equal(ours(name, raw[[3, 1]], 3, [3, 1]), whole[[3, 1]])


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 28, 28, 1), (2, 20, 40, 3)])
def test_small_and_grey_images_keep_their_shape_and_change(name: str, shape: tuple[int, ...]) -> None:
    raw = photo(shape)
    made = ours(name, raw, 5)
    assert made.shape == shape
    assert (made != raw).any()


def test_an_image_that_no_drop_hits_is_left_as_it_is() -> None:
    raw = photo((1, 32, 32, 1))  # found among 400 numbers: there the library divides by zero
    np.testing.assert_array_equal(ours("spatter", raw, 1, [24]), raw)


def test_a_grey_image_has_no_colours_and_five_channels_are_too_many() -> None:
    saturate, snow = (catalogue.named(name, Kind.IMAGE) for name in ("saturate", "snow"))
    grey, five = (apply.about(Kind.IMAGE, np.zeros(s, np.uint8)) for s in ((1, 32, 32), (1, 32, 32, 5)))
    assert "it changes colours, and these images have 1 channels" in saturate.reason_against(grey)
    assert snow.reason_against(grey) == ""
    assert "these have 5" in snow.reason_against(five)


def test_distortion_rises_with_severity() -> None:
    """In the mean, and from the first to the last in each family; saturate goes both ways."""
    raw = photo((3, 48, 48, 3))
    changed = {name: [ours(name, raw, severity) for severity in SEVERITIES] for name in GREY}
    distances = {
        name: [np.abs(one.astype(float) - raw).mean() for one in of_family]
        for name, of_family in changed.items()
    }
    assert [name for name, of_family in distances.items() if not 0 < of_family[0] < of_family[4]] == []
    assert (np.diff(np.mean(list(distances.values()), axis=0)) > 0).all()


def test_another_process_gives_the_same_bytes() -> None:
    code = "from tests.unit.data.shifts.test_imagenet_c import digest_of_all; print(digest_of_all())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == digest_of_all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_our_contrast_brightness_and_pixelate_are_the_librarys_on_photos(severity: int) -> None:
    (image,) = raw = photo((1, 224, 224, 3))
    for name in ("contrast", "brightness", "pixelate"):
        theirs = by_library(image, severity=severity, corruption_name=name).astype(int)
        apart = np.abs(ours(name, raw, severity)[0] - theirs)
        # Pillow takes a pixel at the edge of a block whole or not at all; ours by its area.
        if name == "pixelate" and severity not in (2, 5):
            assert apart.max() <= 16
            assert apart.mean() < 1.5
        else:
            assert apart.max() <= 1, name  # it truncates, we round


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise"])
def test_our_noise_has_the_librarys_distribution(name: str) -> None:
    (image,) = raw = np.full((1, 224, 224, 3), 120, np.uint8)
    np.random.seed(0)
    seeded = partial(by_library, seed=0) if name == "impulse_noise" else by_library
    for severity in SEVERITIES:
        theirs = seeded(image, severity=severity, corruption_name=name).astype(float)
        mine = ours(name, raw, severity)[0].astype(float)
        photons = (60, 25, 12, 5, 3)[severity - 1]
        counts = [mine.ravel(), theirs.ravel()]
        if name == "shot_noise":
            counts = [np.rint(values * photons / 255) for values in counts]
        # The library truncates, so that its values are half a step lower: 0.01 where the spread is smallest.
        assert stats.ks_2samp(*counts).statistic < 0.02, severity
        assert mine.std() == pytest.approx(theirs.std(), rel=0.01)


def test_a_missing_library_is_a_reason_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet_c._library.cache_clear()
    monkeypatch.setitem(sys.modules, "imagecorruptions.corruptions", None)
    reason = catalogue.named("snow", Kind.IMAGE).reason_against(
        apply.about(Kind.IMAGE, np.zeros((1, 32, 32), np.uint8))
    )
    assert "imagecorruptions-imaug cannot be imported" in reason
    assert "pip install" in reason
    assert "[shifts]" in reason
