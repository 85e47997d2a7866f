"""Where a recipe puts the pixels of an image in the model's input."""

from __future__ import annotations

from harness.core.detection.truth import Placement
from harness.data.images import ImageRecipe, resized


def placement(recipe: ImageRecipe, height: int, width: int) -> Placement:
    """Return the placement of an image that `harness.data.images.apply_recipe` resizes."""
    if recipe.size is None:
        return Placement(width, height)
    target_h, target_w = recipe.size
    scaled_h, scaled_w = resized(recipe, height, width)
    shift_x, shift_y = _shift(scaled_w, target_w), _shift(scaled_h, target_h)
    return Placement(width, height, scaled_w / width, scaled_h / height, shift_x, shift_y)


def _shift(length: int, new_length: int) -> int:
    """Pixels that `harness.data.images.centre` moves an axis by: it crops one side and pads the other."""
    return (new_length - length) // 2 if length <= new_length else -round((length - new_length) / 2)
