from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from harness.core.errors import DataError
from harness.data.image_files import read_images
from harness.data.images import ImageRecipe, apply_recipe, area_weights, linear_weights, resize

Pixels = npt.NDArray[np.uint8]


def pixels_of(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def bilinear(image: Pixels, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The textbook's bilinear sampling at half-pixel centres, one pixel at a time."""
    height, width = image.shape[:2]
    wanted = np.empty((*size, image.shape[2]))
    for row in range(size[0]):
        for column in range(size[1]):
            y = np.clip((row + 0.5) * height / size[0] - 0.5, 0, height - 1)
            x = np.clip((column + 0.5) * width / size[1] - 0.5, 0, width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = image[y0, x0] * (1 - x + x0) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (1 - x + x0) + image[y1, x1] * (x - x0)
            wanted[row, column] = top * (1 - y + y0) + bottom * (y - y0)
    return wanted


@pytest.mark.parametrize("size", [(5, 9), (16, 16), (3, 3), (31, 7)])
def test_bilinear_without_antialiasing(size: tuple[int, int]) -> None:
    image = pixels_of(13, 10)
    resized = resize(image, size, method="bilinear", antialias=False)
    assert np.abs(resized - bilinear(image, size)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos", "box"])
def test_antialiased_resizing_keeps_a_flat_image_and_shrinks_to_the_mean(method: str) -> None:
    flat = np.full((32, 24, 1), 77, dtype=np.uint8)
    assert (resize(flat, (8, 9), method=method, antialias=True) == 77).all()
    stripes = np.tile(np.array([0, 200], dtype=np.uint8), (32, 16))[..., np.newaxis]
    shrunk = resize(stripes, (4, 4), method=method, antialias=True)
    assert np.abs(shrunk.astype(int) - 100).max() <= 6
    sampled = resize(stripes, (32, 16), method="nearest", antialias=False)
    assert set(np.unique(sampled)) <= {0, 200}


@pytest.mark.parametrize(("source", "target"), [(8, 32), (7, 3), (3, 7), (5, 5), (1, 4), (4, 1)])
def test_weights_sum_to_their_whole(source: int, target: int) -> None:
    for weights, whole in (
        (linear_weights(source, target), 2 * target),
        (area_weights(source, target), source),
    ):
        assert weights.shape == (target, source)
        assert (weights >= 0).all()
        assert (weights.sum(axis=1) == whole).all()


def test_crop_and_pad() -> None:
    image = pixels_of(10, 6)
    cropped = apply_recipe(ImageRecipe(size=(4, 4)), image)
    np.testing.assert_array_equal(cropped, image[3:7, 1:5])
    padded = apply_recipe(ImageRecipe(size=(10, 8), pad=114), image)
    np.testing.assert_array_equal(padded[:, 1:7], image)
    assert (padded[:, [0, 7]] == 114).all()


def test_contain_fits_and_cover_fills() -> None:
    white = np.full((40, 20, 1), 255, dtype=np.uint8)
    contained = apply_recipe(
        ImageRecipe(size=(16, 16), resize="contain", method="nearest", antialias=False), white
    )
    assert (contained[:, 4:12] == 255).all()
    assert contained.sum() == 16 * 8 * 255
    covered = apply_recipe(ImageRecipe(size=(16, 16), resize="cover", crop=0.875), white)
    assert covered.shape == (16, 16, 1)
    assert (covered == 255).all()


def test_cover_follows_torchvisions_resize_and_centre_crop() -> None:
    image = pixels_of(30, 45)
    short, size = 16, 14
    long = int(short * 45 / 30)
    resized = resize(image, (short, long), method="bilinear", antialias=True)
    top, left = round((short - size) / 2), round((long - size) / 2)
    wanted = resized[top : top + size, left : left + size]
    followed = apply_recipe(ImageRecipe(size=(size, size), resize="cover", crop=0.875), image)
    np.testing.assert_array_equal(followed, wanted)


def test_every_problem_of_a_recipe_is_reported_at_once() -> None:
    wrong = ImageRecipe(resize="squeeze", method="magic", colour="CMYK", crop=0.0, pad=300, antialias=False)
    assert len(wrong.problems()) == 7
    assert ImageRecipe().problems() == ()
    with pytest.raises(DataError, match="squeeze"):
        read_images([], wrong)
