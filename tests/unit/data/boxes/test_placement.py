"""A bright square is where the placement says, whatever the recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Objects, Truth, pack
from harness.data.boxes.placement import placement
from harness.data.images import RESIZES, ImageRecipe, apply_recipe


@settings(max_examples=40, deadline=None)
@given(
    resize=st.sampled_from(RESIZES), height=st.integers(40, 120), width=st.integers(40, 120),
    size=st.tuples(st.integers(32, 128), st.integers(32, 128)),
)  # fmt: skip
def test_a_square_lies_where_the_placement_says(resize: Any, height: Any, width: Any, size: Any) -> None:
    recipe = ImageRecipe(size, resize, "nearest", antialias=False)
    image = np.zeros((height, width, 1), np.uint8)
    y0, x0 = height // 2 - 8, width // 2 - 8
    image[y0 : y0 + 16, x0 : x0 + 16] = 255
    rows, columns = np.nonzero(apply_recipe(recipe, image)[..., 0])
    if not len(rows):
        pytest.fail("the middle of an image is always there")
    place = placement(recipe, height, width)
    expected = np.array([x0, y0, x0 + 16, y0 + 16]) * np.tile([place.scale_x, place.scale_y], 2)
    expected += np.tile([place.shift_x, place.shift_y], 2)
    expected = np.clip(expected, 0, [size[1], size[0]] * 2)
    got = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(got, expected, atol=1.01)
    # And back to the image, as boxes of a detector are.
    boxes = Detections(np.array([1]), expected[None], np.ones(1), np.zeros(1, np.int64), np.ones(1))
    back = Truth(pack([(place, Objects.of([], []))])).to_image(boxes).corners[0]
    inside = (expected > 0) & (expected < [size[1], size[0]] * 2)
    np.testing.assert_allclose(back[inside], np.array([x0, y0, x0 + 16, y0 + 16])[inside], atol=1e-6)


def test_files_that_keep_their_size_stay_where_they_are() -> None:
    place = placement(ImageRecipe(), 30, 40)
    assert (place.width, place.height, place.scale_x, place.shift_y) == (40, 30, 1, 0)
