"""``data.yaml`` of YOLO's tools: splits, names, labels beside the images, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from harness.core.detection.truth import Truth
from harness.core.errors import DataError
from harness.data.boxes import yolo, yolo_yaml
from harness.data.datasets import Split
from harness.data.sources import DataSource, load_either

NAMES = {0: "cat", 1: "dog"}
MOST = 1_000_000


def data_set(root: Path, *, splits: Any = ("train", "val"), by_split: bool = False, **changes: Any) -> Path:
    """Images of 20×10 pixels; those of a split are labelled with its number, one of it has no label."""
    for number, split in enumerate(splits):
        images, labels = (
            root / split / kind if by_split else root / kind / split for kind in ("images", "labels")
        )
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for place in range(4):
            Image.new("RGB", (20, 10)).save(images / f"{split}{place}.png")
            if place:
                (labels / f"{split}{place}.txt").write_text(f"{number % 2} 0.5 0.5 0.5 0.2\n")
    of = {split: f"../{split}/images" if by_split else f"images/{split}" for split in splits}
    table = {"path": "", **of, "names": NAMES, "nc": 2} | changes
    (root / "data.yaml").write_text(yaml.safe_dump(table))
    return root / "data.yaml"


@pytest.mark.parametrize("by_split", [False, True])
@pytest.mark.parametrize("as_folder", [False, True])
def test_splits_and_names_are_those_of_the_file(tmp_path: Path, by_split: bool, as_folder: bool) -> None:
    file = data_set(tmp_path, by_split=by_split)
    read = load_either(DataSource(tmp_path if as_folder else file, calibration_max=3))
    assert isinstance(read, Split)
    assert [len(read.calibration), len(read.test)] == [3, 4]
    assert read.test.class_names == ("cat", "dog")
    assert [file.name for file in read.test.files] == [f"val{place}.png" for place in range(4)]
    assert read.test.labels is not None
    truth = Truth(read.test.labels)
    assert truth.counts.tolist() == [0, 1, 1, 1]
    assert truth.objects[:, 0].tolist() == [1.0] * 3
    assert truth.objects[0, 2:6].tolist() == [5.0, 4.0, 15.0, 6.0]
    assert "val of data.yaml is the test set and train calibrates" in read.test.notes
    assert not set(read.calibration.ids) & set(read.test.ids)


def test_a_split_may_list_its_images_and_one_that_is_tested_does_not_calibrate(tmp_path: Path) -> None:
    file = data_set(tmp_path, train="train.txt", val=["images/val"])
    lines = ["./images/train/train1.png", "images/val/val1.png"]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    splits = yolo_yaml.read(file, MOST)
    assert [image.name for image in splits.train] == ["train1.png"]
    assert "1 images of train are in val, too, and do not calibrate" in splits.notes


def test_names_are_read_from_beside_the_labels(tmp_path: Path) -> None:
    data_set(tmp_path, splits=("val",))
    images = tmp_path / "images" / "val"
    read = yolo.read(tmp_path / "labels" / "val", sorted(images.iterdir()), images, MOST)
    assert list(read.classes.values()) == ["0"]
    (tmp_path / "labels" / "data.yaml").write_text("names: [cat, dog]")
    read = yolo.read(tmp_path / "labels" / "val", sorted(images.iterdir()), images, MOST)
    assert list(read.classes.values()) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nc": 3}, "nc is 3, and there are 2 names"),
        ({"names": {0: "cat", 2: "dog"}}, "names has the numbers 0, 2, not every one from 0"),
        ({"names": None}, "there are no names of classes"),
        ({"val": "images/other"}, "val of data.yaml is images/other, which does not exist"),
        ({"val": None}, "names no split that can be tested"),
        ({"names": ["cat"], "nc": 1}, "3 of 3 boxes have a class that the labels do not name"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    file = data_set(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        load_either(DataSource(file))


@pytest.mark.parametrize(("text", "message"), [("a: [", "is no YAML"), ("- a", "has no keys")])
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_either(DataSource(tmp_path / "other.yaml"))


def test_a_set_without_labels_is_refused_and_says_where_they_were_looked_for(tmp_path: Path) -> None:
    file = data_set(tmp_path)
    for label in (tmp_path / "labels").rglob("*.txt"):
        label.unlink()
    with pytest.raises(DataError, match="none of 4 images has labels") as caught:
        load_either(DataSource(file))
    assert caught.value.cause.endswith("labels/val/val0.txt")


def test_named_images_are_left_out(tmp_path: Path) -> None:
    file = data_set(tmp_path)
    read = load_either(DataSource(file, skip=("images/val/val1.png",)))
    assert isinstance(read, Split)
    assert len(read.test) == 3
