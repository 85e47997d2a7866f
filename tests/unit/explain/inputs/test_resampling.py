"""Resizing gives the pixels of Pillow and of numpy's own interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harness.explain.inputs.resampling import ALIGNED, CORNER, FILTERS, Method, resize, weights

SIZES = ((30, 13), (40, 18), (53, 16), (7, 7), (12, 30), (224, 96))
#: Down and up; upwards Pillow clips between rows and columns, and these do not.
FRAMES = ((16, 21), (11, 40))


def image(height: int = 37, width: int = 53) -> np.ndarray:
    """Random pixels far from black and white, where nothing is clipped."""
    return np.random.default_rng(0).integers(90, 166, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("frame", FRAMES)
def test_antialiased_filters_are_those_of_pillow_but_for_rounding(
    kernel: str, frame: tuple[int, int]
) -> None:
    wanted = np.asarray(
        Image.fromarray(image()).resize((frame[1], frame[0]), Image.Resampling[kernel.upper()])
    )
    made = resize(image(), frame, Method(kernel, antialias=True))
    assert np.abs(made - wanted).max() <= 1.5  # it rounds twice


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_nearest_pixels_are_those_of_pillow(source: int, target: int) -> None:
    row = np.arange(source, dtype=np.uint8)[np.newaxis]
    wanted = np.asarray(Image.fromarray(row).resize((target, 1), Image.Resampling.NEAREST))[0]
    picked = weights(source, target, Method("nearest", is_summed=True)) @ row[0]
    assert np.array_equal(picked, wanted)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_grids_that_meet_in_corners(source: int, target: int) -> None:
    row = np.random.default_rng(1).normal(size=source)
    from_corner = np.interp(np.arange(target) * source / target, np.arange(source), row)
    assert weights(source, target, Method("bilinear", grid=CORNER)) @ row == pytest.approx(from_corner)
    aligned = np.interp(np.linspace(0, source - 1, target), np.arange(source), row)
    assert weights(source, target, Method("bilinear", grid=ALIGNED)) @ row == pytest.approx(aligned)
    first = row[(np.arange(target) * source / target).astype(int)]
    assert weights(source, target, Method("nearest", grid=CORNER)) @ row == pytest.approx(first)


@pytest.mark.parametrize("kernel", [*FILTERS, "area", "nearest"])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_a_plain_image_stays_plain(kernel: str, source: int, target: int) -> None:
    for antialias in (False, True):
        rows = weights(source, target, Method(kernel, antialias))
        assert rows.sum(axis=1) == pytest.approx(1.0)
        assert rows.shape == (target, source)


def test_the_mean_of_an_area() -> None:
    halves = weights(6, 3, Method("area"))
    assert np.array_equal(halves, np.kron(np.eye(3), [[0.5, 0.5]]))
    parts = weights(5, 2, Method("area"))
    assert parts == pytest.approx(np.array([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]]) / 2.5)
