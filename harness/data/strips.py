"""The data set of the bundled detector: scikit-learn's digits in wide strips, as a line camera sees them.

A strip is 48 pixels high and 576 wide and has two to nine digits of 16 to 44 pixels. Only integers are used,
so that all library versions and machines give the same pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.core.detection.truth import Objects, Placement, pack
from harness.data.datasets import Dataset, Split
from harness.data.images import linear_weights, resample
from harness.data.shipped import digits_training_and_test

HEIGHT, WIDTH = 48, 576
N_TEST, N_CALIBRATION = 600, 200
#: Darkest grey level of a digit's ink, from which its box is measured.
_INK = 96
_SEEDS = {"calibration": 1, "test": 2}

Pixels = npt.NDArray[np.uint8]


def strips() -> Split:
    """Return strips of training digits for calibration, and strips of the digits that training never saw.

    Returns
    -------
    Split
        Input ``image``, shape (n, 48, 576, 1), uint8; labels as `harness.core.detection.truth` packs them.
    """
    training, test = digits_training_and_test()
    calibration = make(training, N_CALIBRATION, np.random.default_rng(_SEEDS["calibration"]))
    return Split(calibration=calibration, test=make(test, N_TEST, np.random.default_rng(_SEEDS["test"])))


def make(digits: Dataset, n: int, rng: np.random.Generator) -> Dataset:
    """Paste digits into n strips.

    Parameters
    ----------
    digits : Dataset
        Images of shape (k, 32, 32, 1), uint8, and their classes.
    """
    images = np.empty((n, HEIGHT, WIDTH, 1), np.uint8)
    labels = []
    for image in images:
        objects = _fill(image[..., 0], digits, rng)
        labels.append((Placement(WIDTH, HEIGHT), objects))
    return Dataset({"image": images}, pack(labels), np.arange(n, dtype=np.int64), tuple("0123456789"))


def _fill(strip: Pixels, digits: Dataset, rng: np.random.Generator) -> Objects:
    """Draw a background and digits from the left to the right; return the digits."""
    background = int(rng.integers(0, 80)) + rng.integers(0, 40, (HEIGHT, WIDTH))
    background += (int(rng.integers(0, 40)) * np.arange(WIDTH)) // WIDTH
    strip[:] = background
    assert digits.labels is not None, "the bundled digits have labels"
    classes, corners = [], []
    left = int(rng.integers(0, 60))
    for _ in range(int(rng.integers(2, 10))):
        side = int(rng.integers(16, 45))
        if left + side > WIDTH:
            break
        number = int(rng.integers(0, len(digits)))
        image = digits.inputs["image"][number : number + 1].astype(np.uint8)
        ink = resample(image, linear_weights, (side, side))[0, ..., 0]
        rows, columns = np.flatnonzero((ink > _INK).any(axis=1)), np.flatnonzero((ink > _INK).any(axis=0))
        top = int(rng.integers(0, HEIGHT - side + 1))
        place = strip[top : top + side, left : left + side]
        contrast = int(rng.integers(60, 101))
        np.maximum(place, (ink.astype(np.int64) * contrast // 100).astype(np.uint8), out=place)
        classes.append(int(digits.labels[number]))
        corners.append([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1])
        left += side + int(rng.integers(-4, 70))
    return Objects.of(classes, corners)
