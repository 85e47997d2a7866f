from __future__ import annotations

import gzip
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import DataError
from harness.data import shipped
from harness.data.datasets import content_sha256
from harness.data.shipped import digits, digits_training_and_test, upsample


def test_the_split_never_changes() -> None:
    training, test = digits_training_and_test()
    assert (len(training), len(test)) == (997, 800)
    assert not set(training.ids.tolist()) & set(test.ids.tolist())
    # The model was trained on this split: another one would test on what it has seen.
    assert content_sha256(test.ids) == "610491630f4539db774566fbab89c33c081e7972b6c0a18b8dac862de8fd57cd"
    pixels = content_sha256(test.inputs["image"])
    assert pixels == "9cbdc207f77eb6b9f706c322c90ffaa61f4032f35c9d585820351ff50f715212"


def test_both_parts_have_the_same_classes_and_no_common_image() -> None:
    split = digits()
    for part, n in ((split.calibration, 200), (split.test, 800)):
        assert part.inputs["image"].shape == (n, 32, 32, 1)
        assert part.inputs["image"].dtype == np.uint8
        assert part.labels is not None
        assert np.ptp(np.bincount(part.labels.astype(int), minlength=10)) <= 0.06 * n / 10 + 1
    calibration = {image.tobytes() for image in split.calibration.inputs["image"]}
    assert not calibration & {image.tobytes() for image in split.test.inputs["image"]}


def test_upsampling_is_bilinear() -> None:
    pixels = np.random.default_rng(0).integers(0, 17, (5, 8, 8), dtype=np.uint8)
    at = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    rows = np.array([[np.interp(at, np.arange(8), row) for row in image] for image in pixels])
    both = np.array([[np.interp(at, np.arange(8), column) for column in image.T] for image in rows])
    wanted = np.transpose(both, (0, 2, 1)) * 255 / 16
    assert np.abs(upsample(pixels)[..., 0] - wanted).max() <= 0.5 + 1e-9


def _plant(sklearn: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scikit-learn of our own, and the file of its digits."""
    (sklearn / "datasets" / "data").mkdir(parents=True)
    spec = ModuleSpec("sklearn", None, origin=str(sklearn / "__init__.py"))
    monkeypatch.setattr(shipped, "find_spec", {"sklearn": spec}.get)
    return sklearn / "datasets" / "data" / "digits.csv.gz"


def test_other_digits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savetxt(_plant(tmp_path, monkeypatch), np.zeros((1797, 65), int), fmt="%d", delimiter=",")
    with pytest.raises(DataError, match="differ from those") as caught:
        digits()
    assert "pip install" in caught.value.next_step


@pytest.mark.parametrize(
    "content",
    [None, b"", b"not gzip", gzip.compress(b"1,2,x\n"), gzip.compress(b"1" * 99)[:20], gzip.compress(b"")],
    ids=["missing", "empty", "no gzip", "no number", "cut off", "nothing in it"],  # gzip notes the time
)
def test_a_damaged_file_of_digits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = _plant(tmp_path, monkeypatch)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="differ from those"):
        digits()


def test_without_scikit_learn_digits_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "find_spec", {}.get)
    with pytest.raises(DataError, match="scikit-learn, which is not installed"):
        digits()


def test_they_are_the_ones_that_scikit_learn_gives() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = shipped._bundled_digits()
    np.testing.assert_array_equal(pixels, bunch.images)
    np.testing.assert_array_equal(labels, bunch.target)
