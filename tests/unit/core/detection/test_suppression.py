"""Suppression class by class, against the definition written out box by box."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.core.detection.suppression import suppress


def iou(a: Any, b: Any) -> Any:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def oracle(corners: Any, scores: Any, classes: Any, least: Any, most: Any) -> Any:
    left, taken = sorted(range(len(scores)), key=lambda i: (-scores[i], i)), []
    while left and len(taken) < most:
        best = left.pop(0)
        taken.append(best)
        left = [i for i in left if classes[i] != classes[best] or iou(corners[best], corners[i]) <= least]
    return taken


@given(
    n=st.integers(0, 40), seed=st.integers(0, 2**32 - 1), least=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    most=st.sampled_from([1, 5, 100]),
)  # fmt: skip
def test_suppression_is_that_of_the_definition(n: Any, seed: Any, least: Any, most: Any) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 40, (n, 2))
    corners = np.concatenate([low, low + rng.uniform(1, 40, (n, 2))], axis=1)
    scores, classes = np.round(rng.random(n), 1), rng.integers(0, 3, n)
    got = suppress(corners, scores, classes, iou=least, most=most)
    assert got.tolist() == oracle(corners, scores, classes, least, most)
