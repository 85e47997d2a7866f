"""Scenes of handwritten digits: four of scikit-learn's digits on a noisy ground, with a mask of classes.

The digits of test scenes are those that no model was trained on, each in one scene.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.data.datasets import Dataset, Split
from harness.data.shipped import bundled_training_and_test

#: Pixels of a digit's side and of a scene's, digits of a scene, and how far a digit moves in its quarter.
DIGIT, SIDE, DIGITS, JITTER = 8, 32, 4, 8
#: Ink of at least this, of 16, is the digit; fainter ink does not count.
INK, FAINT = 6, 1
#: Class of the ground, and of pixels that do not count; a digit's class is one more than the digit.
GROUND, IGNORED = 0, 255
NAMES = ("ground", *"0123456789")
N_CALIBRATION = 100
_SEED = 20261128
_NOISE = 40


def scenes() -> Split:
    """Return 100 scenes of training digits for calibration, and 200 of the 800 test digits.

    Returns
    -------
    Split
        Input ``image``, shape (n, 32, 32, 1), uint8; labels uint8 of shape (n, 32, 32).
    """
    (training, training_labels), (test, test_labels) = bundled_training_and_test()
    first = scenes_of(training, training_labels, seed=_SEED)
    second = scenes_of(test, test_labels, seed=_SEED + 1)
    return Split(first.take(np.arange(N_CALIBRATION)), second)


def scenes_of(digits: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], *, seed: int) -> Dataset:
    """Place digits, four in a scene, each in a quarter of its own.

    Parameters
    ----------
    digits : ndarray, shape (n, 8, 8), uint8
        Ink from 0 to 16.
    labels : ndarray, shape (n,), int64
    seed : int
        Of places and noise.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    count = len(digits) // DIGITS
    ink = np.zeros((count, SIDE, SIDE), np.int64)
    masks = np.full((count, SIDE, SIDE), GROUND, np.uint8)
    order = random.permutation(len(digits))[: count * DIGITS].reshape(count, DIGITS)
    corners = random.integers(0, JITTER + 1, (count, DIGITS, 2))
    for scene in range(count):
        for place, digit in enumerate(order[scene]):
            top, left = corners[scene, place] + np.array(divmod(place, 2)) * (SIDE // 2)
            window = (scene, slice(top, top + DIGIT), slice(left, left + DIGIT))
            ink[window] = digits[digit]
            masks[window] = np.where(
                digits[digit] >= INK, labels[digit] + 1, np.where(digits[digit] >= FAINT, IGNORED, GROUND)
            )
    noise = random.integers(0, _NOISE, ink.shape)
    pixels = np.minimum(255, ink * 255 // 16 + noise).astype(np.uint8)[..., np.newaxis]
    return Dataset({"image": pixels}, masks, np.arange(count), NAMES)
