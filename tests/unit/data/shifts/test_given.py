"""Shifted sets that the user brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.config.load import check
from harness.config.validation import Validation
from harness.core.errors import DataError
from harness.data.datasets import Dataset
from harness.data.shift_export import export
from harness.data.shifts import apply, catalogue, given
from harness.data.shifts.family import Kind
from harness.store.cache import Cache

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3)).astype(np.uint8)
IDS = np.array([7, 2, 4])
CLEAN = Dataset({"image": PIXELS[IDS]}, np.array([1, 0, 0]), IDS)


def save(folder: Path, array: Any = 255 - PIXELS, name: str = "rain/3.npy") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, array)
    return folder / name


def images(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - PIXELS[index]).save(path)


def test_an_array_is_read_in_the_order_of_the_clean_samples(tmp_path: Path) -> None:
    path = save(tmp_path)
    np.save(tmp_path / "labels.npy", np.isin(np.arange(10), [7]).astype(int))
    assert given.given_sets(tmp_path) == {("rain", 3): path}
    np.testing.assert_array_equal(given.read(path, tmp_path, CLEAN, None)["image"], 255 - PIXELS[IDS])


def test_imagenet_c_layout_is_paired_by_class_and_name(tmp_path: Path) -> None:
    names = ["dog/a.png", "cat/b.png", "cat/a.png"]
    images(tmp_path / "snow" / "5", names)
    files = tuple(Path("clean", name).with_suffix(".jpg") for name in reversed(names))
    clean = Dataset({"image": PIXELS[:3]}, None, np.arange(3), files=files)
    ((cell, path),) = given.given_sets(tmp_path).items()
    assert cell == ("snow", 5)
    read = given.read(path, tmp_path, clean, None)["image"]
    np.testing.assert_array_equal(read, 255 - PIXELS[[2, 1, 0]])
    (path / "cat" / "b.png").unlink()
    with pytest.raises(DataError, match="snow/5 has no image for 1 of 3 clean ones, such as cat/b"):
        given.read(path, tmp_path, clean, None)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PIXELS[:7], "rain/3.npy has 7 samples, and the clean data at least 8"),
        (PIXELS[:, :4], "has samples of uint8 (4, 8, 3), and the clean data of uint8 (8, 8, 3)"),
        (PIXELS / 255, "has samples of float64"),
    ],
)
def test_sizes_that_do_not_fit_are_one_message(tmp_path: Path, array: Any, message: str) -> None:
    path = save(tmp_path, array)
    with pytest.raises(DataError) as caught:
        given.read(path, tmp_path, CLEAN, None)
    assert message in caught.value.what


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    path.write_bytes(b"rain")
    with pytest.raises(DataError, match=r"rain/3.npy cannot be read"):
        given.read(path, tmp_path, CLEAN, None)


def test_labels_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path)
    np.save(tmp_path / "labels.npy", np.zeros(10, int))
    with pytest.raises(DataError, match=r"1 of 3 labels .* the first one of sample 7"):
        given.read(path, tmp_path, CLEAN, None)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        given.given_sets(tmp_path / "nowhere")
    with pytest.raises(DataError, match="there are no shifted sets"):
        given.given_sets(tmp_path)
    save(tmp_path, name="rain/6.npy")
    with pytest.raises(DataError, match=r"rain/6.npy is no severity"):
        given.given_sets(tmp_path)


def test_what_is_exported_is_read_back_and_pinned(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=PIXELS, labels=np.arange(10) % 2)
    table = {
        "model": {"name": "m", "file": "m.onnx"}, "data": {"path": "data.npz", "split": "none"},
        "shifts": {"kind": "image", "families": ["fog"]}, "input": {"image": {}},
    }  # fmt: skip
    validation = check(table, Validation, where="")
    out = tmp_path / "out"
    exported = export(validation, tmp_path, out, Cache(tmp_path / "cache"), ("contrast",))
    assert list(exported.sha256) == [f"contrast/{severity}.npy" for severity in (1, 2, 3, 4, 5)]
    path = given.given_sets(out)["contrast", 4]
    about = apply.about(Kind.IMAGE, PIXELS)
    family = catalogue.named("contrast", Kind.IMAGE)
    wanted = apply.shift(PIXELS, np.arange(10), family, 4, seed=0, about=about)
    np.testing.assert_array_equal(given.read(path, out, CLEAN, None)["image"], wanted[IDS])
    np.save(path, 255 - PIXELS)
    with pytest.raises(DataError, match=r"contrast/4.npy does not have the hash of SHA256SUMS"):
        given.read(path, out, CLEAN, None)
