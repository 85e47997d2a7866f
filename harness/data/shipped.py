"""The data set of the bundled model: the digits that come with scikit-learn.

1,797 handwritten digits of 8×8 pixels (UCI "Optical Recognition of Handwritten Digits", CC BY 4.0).
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.core.commands import install, pip
from harness.core.errors import DataError
from harness.data.datasets import Dataset, Split, content_sha256, stratified_order
from harness.data.images import linear_weights

N_TEST = 800
N_CALIBRATION = 200
_SPLIT_SEED = 0
_SHA256_PIXELS = "5bc7f24e2d037bcb2a7115e0717894f69e75510dae324a18ed27b05ac11e849d"
_SHA256_LABELS = "5383ddd907a091bb4b1156307896bd921e17fad0edc1f88f7e53bb6ed7dd6149"


def digits() -> Split:
    """Return 200 training images for calibration and the 800 test images that are not in the training set.

    Returns
    -------
    Split
        Input ``image``, shape (n, 32, 32, 1), uint8; labels int64 in 0..9.
    """
    training, test = digits_training_and_test()
    return Split(calibration=training.take(np.arange(N_CALIBRATION)), test=test)


def digits_training_and_test() -> tuple[Dataset, Dataset]:
    """Return the 997 training images in stratified order and the 800 test images in the order of ids."""
    pixels, labels = _bundled_digits()
    ids = np.arange(len(labels), dtype=np.int64)
    everything = Dataset({"image": upsample(pixels)}, labels, ids, tuple("0123456789"))
    order = stratified_order(labels, ids, seed=_SPLIT_SEED)
    return everything.take(order[N_TEST:]), everything.take(np.sort(order[:N_TEST]))


Digits = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def bundled_training_and_test() -> tuple[Digits, Digits]:
    """Return pixels, shape (n, 8, 8), 0 to 16, and labels: of 997 training digits and of 800 test digits."""
    pixels, labels = _bundled_digits()
    order = stratified_order(labels, np.arange(len(labels), dtype=np.int64), seed=_SPLIT_SEED)
    training, test = order[N_TEST:], np.sort(order[:N_TEST])
    return (pixels[training], labels[training]), (pixels[test], labels[test])


def upsample(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Enlarge 8×8 images of 0..16 to 32×32 images of 0..255, bilinearly with half-pixel centres.

    Only with integers, so that all library versions and machines give the same pixels.

    Parameters
    ----------
    pixels : ndarray, shape (n, 8, 8), uint8

    Returns
    -------
    ndarray, shape (n, 32, 32, 1), uint8
    """
    weights = linear_weights(8, 32)
    sums = weights @ pixels.astype(np.int64) @ weights.T * 255
    whole = 16 * (2 * 32) ** 2  # the sums of an image of 16s, without the factor 255
    return ((2 * sums + whole) // (2 * whole)).astype(np.uint8)[..., np.newaxis]


def _bundled_digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read the file in scikit-learn without importing it, which takes seconds."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError(
            "the bundled digits need scikit-learn, which is not installed",
            where="harness.data.shipped:digits",
            next_step=install("host"),
        )
    path = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    pixels, labels = _read(path)
    if (content_sha256(pixels), content_sha256(labels)) != (_SHA256_PIXELS, _SHA256_LABELS):
        raise _wrong_digits(path)
    return pixels, labels


def _read(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read lines of 64 pixels and a label."""
    try:
        with gzip.open(path, "rt") as stream:
            table = np.array([line.split(",") for line in stream], np.int64)
        pixels = table[:, :-1].astype(np.uint8).reshape(-1, 8, 8)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise _wrong_digits(path) from error
    return pixels, table[:, -1].copy()


def _wrong_digits(path: Path) -> DataError:
    return DataError(
        "scikit-learn's digits differ from those that the bundled model was trained and tested on",
        where=str(path),
        cause="another version or a damaged installation of scikit-learn",
        next_step=f"{pip()} install --force-reinstall scikit-learn",
    )
