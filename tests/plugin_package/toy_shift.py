"""A third-party family of shifts: the example of docs/adding-a-shift.md."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.shifts.family import About, Family, Kind, one_by_one


def _condensation(
    image: NDArray[np.float64], severity: int, random: np.random.Generator, about: About
) -> NDArray[np.float64]:
    """Grey drops on the cover of a camera."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    radius = 0.08 * min(height, width)
    for _ in range(2 * severity):
        middle_y, middle_x = random.uniform(0, height), random.uniform(0, width)
        drop = np.hypot(y - middle_y, x - middle_x) < radius
        image[drop] = (image[drop] + 3 * 200) / 4
    return image


def _too_few_rows(about: About) -> str:
    return "it needs 16 pixels a side" if min(about.shape[:2]) < 16 else ""


FAMILIES = (
    Family(
        "condensation",
        kinds=(Kind.IMAGE,),
        change=one_by_one(_condensation),
        stands_for="Drops of water on the cover of a camera that comes into a warm room.",
        source="our field log of winter 2025",
        loss_means="Parts of the object are hidden: heat the cover, or train with drops.",
        applies=_too_few_rows,
    ),
)
