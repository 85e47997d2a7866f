"""Labels as one array, and boxes back in pixels of the image."""

from __future__ import annotations

import numpy as np

from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Objects, Placement, Truth, pack


def test_images_with_different_numbers_of_objects_are_packed() -> None:
    images = [
        (Placement(640, 480), Objects.of([1, 0], [[0, 0, 10, 20], [5, 5, 6, 7]], [7, 3])),
        (Placement(8, 8), Objects.of([], [])),
        (Placement(20, 10, 0.5, 0.25, 3, 4), Objects.of([2], [[1, 2, 3, 4]])),
    ]
    truth = Truth(pack(images))
    assert truth.packed.shape == (3, 3, 8)
    assert truth.counts.tolist() == [2, 0, 1]
    assert truth.samples.tolist() == [0, 0, 2]
    assert truth.objects[:, :2].tolist() == [[1, 7], [0, 3], [2, 2]]
    assert truth.objects[:, 6].tolist() == [200, 2, 4]
    part = Truth(truth.packed[[2, 0]])
    assert part.samples.tolist() == [0, 1, 1]


def test_boxes_come_back_to_the_image_and_are_cut_at_its_edges() -> None:
    truth = Truth(pack([(Placement(200, 100, 0.5, 0.5, 0, 25), Objects.of([], []))]))
    boxes = Detections(
        np.array([2]), np.array([[10.0, 30, 20, 40], [90, 70, 120, 90]]), np.array([0.9, 0.8]),
        np.zeros(2, np.int64), np.array([0.9]),
    )  # fmt: skip
    np.testing.assert_allclose(truth.to_image(boxes).corners, [[20, 10, 40, 30], [180, 90, 200, 100]])
