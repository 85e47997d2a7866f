"""Which files of a folder are samples, of which class, and what is said about the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.core.errors import DataError
from harness.data.datasets import Dataset, Split
from harness.data.image_folders import Listing, list_images
from harness.data.sources import DataSource, load, load_either


def make(root: Path, *names: str) -> Path:
    """Write an image of its own grey level for each name."""
    for level, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "PNG")
    return root


def names(listing: Listing, root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in listing.test.files]


@pytest.mark.parametrize("where", ["", "cat", "cat/deep"])
@pytest.mark.parametrize("junk", ["._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "DESKTOP.INI"])
def test_tool_files_are_skipped_at_every_level_and_counted(tmp_path: Path, where: str, junk: str) -> None:
    make(tmp_path, "cat/a.png", "cat/deep/b.png", "dog/c.png")
    (tmp_path / where / junk).write_bytes(b"\0\5\x16\7")
    listing = list_images(tmp_path)
    assert names(listing, tmp_path) == ["cat/a.png", "cat/deep/b.png", "dog/c.png"]
    assert listing.class_names == ("cat", "dog")
    assert listing.notes == (f"left out of {tmp_path.name}/: hidden or tool files: 1",)


@pytest.mark.parametrize("where", ["", "cat", "cat/deep"])
@pytest.mark.parametrize("junk", ["__MACOSX", ".ipynb_checkpoints", ".git", "@eaDir"])
def test_tool_folders_are_skipped_at_every_level(tmp_path: Path, where: str, junk: str) -> None:
    make(tmp_path, "cat/a.png", "cat/deep/b.png", "dog/c.png")
    make(tmp_path / where / junk, "cat/z.png")
    listing = list_images(tmp_path)
    assert len(listing.test.files) == 3
    assert listing.class_names == ("cat", "dog")


def test_what_is_left_out_is_counted_by_reason_in_one_line(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "dog/b.PNG", "loose.png")
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / "cat" / "more.txt").touch()
    (tmp_path / "dog" / "box.xml").touch()
    (tmp_path / "dog" / "README").touch()
    (tmp_path / ".hidden").touch()
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_images(tmp_path)
    assert names(listing, tmp_path) == ["cat/a.png", "dog/b.PNG"]
    (note,) = listing.notes
    for said in ("tool files: 1", "beside the class folders: 1", "devices: 2", "not images: 4 (.txt 2"):
        assert said in note


def test_all_suffixes_of_pillow_are_read(tmp_path: Path) -> None:
    for suffix, fmt in {
        "jpg": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "webp": "WEBP", "bmp": "BMP",
        "tiff": "TIFF", "gif": "GIF",
    }.items():  # fmt: skip
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(tmp_path / name / f"a.{suffix}", fmt)
    assert len(load(DataSource(path=tmp_path))) == 14


def test_class_folders_called_by_numbers_are_in_numeric_order(tmp_path: Path) -> None:
    make(tmp_path, *(f"{i}/a.png" for i in range(12)))
    listing = list_images(tmp_path)
    assert listing.class_names == tuple(map(str, range(12)))
    assert listing.test.labels is not None
    assert listing.test.labels.tolist() == list(range(12))
    assert "numeric order" in listing.notes[0]
    alphabetical = list_images(tmp_path, class_order="alphabetical")
    assert alphabetical.class_names[:4] == ("0", "1", "10", "11")
    assert "in alphabetical order (0, 1, 10, …), not in numeric order" in alphabetical.notes[0]


@pytest.mark.parametrize(
    ("folders", "said"), [("123", "'1' is class 0"), ("0124", "'4' is class 3"), ("012", "")]
)
def test_numbers_that_are_not_the_classes_are_said(tmp_path: Path, folders: str, said: str) -> None:
    make(tmp_path, *(f"{name}/a.png" for name in folders))
    notes = list_images(tmp_path).notes
    assert said in notes[0] if said else notes == ()


@pytest.mark.parametrize("test", ["val", "test", "valid", "Validation"])
def test_the_test_set_beside_train_is_the_test_set_and_train_calibrates(tmp_path: Path, test: str) -> None:
    make(tmp_path, *(f"Train/{c}/{i}.png" for c in ("cat", "dog") for i in range(10)))
    make(tmp_path, *(f"{test}/{c}/{i}.png" for c in ("cat", "dog") for i in range(3)))
    (tmp_path / "annotations").mkdir()
    split = load_either(DataSource(path=tmp_path, calibration_max=6))
    assert isinstance(split, Split)
    assert split.test.class_names == ("cat", "dog")
    assert split.test.labels is not None
    assert split.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.calibration.labels is not None
    assert sorted(split.calibration.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert not set(split.calibration.ids.tolist()) & set(split.test.ids.tolist())
    assert any(f"{test}/ is the test set and Train/ calibrates" in note for note in split.notes)
    none = load_either(DataSource(path=tmp_path, calibration_max=0))
    assert isinstance(none, Split)
    assert len(none.calibration) == 0


def test_with_a_test_set_of_its_own_val_is_not_used(tmp_path: Path) -> None:
    make(tmp_path, *(f"{part}/{c}/a.png" for part in ("train", "val", "test") for c in "ab"))
    listing = list_images(tmp_path)
    assert names(listing, tmp_path) == ["test/a/a.png", "test/b/a.png"]
    assert any("val is not used" in note for note in listing.notes)


def test_a_test_set_without_classes_gives_way_to_val(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "test/1.png")
    assert names(list_images(tmp_path), tmp_path) == ["val/a/1.png", "val/b/1.png"]


@pytest.mark.parametrize("part", ["val", "test"])
def test_parts_with_different_classes_are_refused(tmp_path: Path, part: str) -> None:
    make(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", f"{part}/a/1.png", f"{part}/b/1.png")
    with pytest.raises(DataError, match=r" and .* have different class folders; only one has c") as caught:
        list_images(tmp_path)
    assert "train" in caught.value.what
    assert part in caught.value.what


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    make(tmp_path, "car/a.png", "train/a.png")
    assert list_images(tmp_path).class_names == ("car", "train")


def test_a_folder_above_the_classes_is_not_a_class(tmp_path: Path) -> None:
    make(tmp_path, "photos/cat/a.png", "photos/dog/a.png", "__MACOSX/photos/._a.png")
    listing = list_images(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert "the classes are below photos/" in listing.notes


def test_a_class_without_images_is_refused_because_it_moves_the_others(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird" / "a.txt").touch()
    with pytest.raises(DataError, match="bird contains no images"):
        list_images(tmp_path)


def test_a_link_to_a_folder_above_is_not_followed_again(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    assert len(list_images(tmp_path).test.files) == 2


def test_files_are_left_out_by_name(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "cat/b.png", "dog/a.png")
    (tmp_path / "cat" / "b.png").write_bytes(b"")
    loaded = load(DataSource(path=tmp_path, skip=("cat/b.png",)))
    assert isinstance(loaded, Dataset)
    assert len(loaded) == 2
    assert any("files named in skip: 1" in note for note in loaded.notes)
    with pytest.raises(DataError, match=r"skip names 1 files that are not there: cat/c\.png"):
        load(DataSource(path=tmp_path, skip=("cat/b.png", "cat/c.png")))


def test_skip_is_for_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2)))
    with pytest.raises(DataError, match="skip is set"):
        load(DataSource(path=tmp_path / "x.npz", skip=("a.png",)))


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (["cat/a.png,cat", "dog/b.png,dog"], [0, 1]),
        (["file,label", "cat/a.png,cat", "dog/b.png,dog"], [0, 1]),
        (["label,file", "7,cat/a.png", "5,dog/b.png"], [7, 5]),
        (["id,file,fold,class", "1,cat/a.png,3,1", "2,dog/b.png,3,0"], [1, 0]),
        ([",file,label", "0,cat/a.png,1", "1,dog/b.png,0"], [1, 0]),
        (["cat\\a.png;1", "dog\\b.png;0"], [1, 0]),
        (["cat/a.png 1", "dog/b.png 0"], [1, 0]),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_lists_of_files_and_labels(tmp_path: Path, lines: list[str], labels: list[int], suffix: str) -> None:
    photos = make(tmp_path / "photos", "cat/a.png", "dog/b.png", "dog/unlisted.png")
    (tmp_path / f"list.{suffix}").write_text("\n".join(lines) + "\n")
    loaded = load(DataSource(path=photos, labels=tmp_path / f"list.{suffix}"))
    assert len(loaded) == 2
    assert loaded.labels is not None
    assert loaded.labels.tolist() == labels


@pytest.mark.parametrize(
    ("line", "cause"),
    [("photos/cat/a.png,1", "and these to"), ("a,1", "have no suffix"), ("b.png,1", "relative to")],
)
def test_files_that_are_elsewhere_are_named_with_the_likely_cause(
    tmp_path: Path, line: str, cause: str
) -> None:
    photos = make(tmp_path / "photos", "cat/a.png", "a.png")
    (tmp_path / "list.csv").write_text(f"file,label\n{line}\n")
    with pytest.raises(DataError, match=r"1 of 1 files in list\.csv do not exist") as caught:
        load(DataSource(path=photos, labels=tmp_path / "list.csv"))
    assert cause in caught.value.cause


@pytest.mark.parametrize("name", ["y.txt", "y.npy"])
def test_labels_of_a_plain_folder_in_a_file_of_their_own(tmp_path: Path, name: str) -> None:
    photos = make(tmp_path / "photos", "a.png", "b.png", "c.png")
    if name == "y.npy":
        np.save(tmp_path / name, [2, 0, 1])
    else:
        (tmp_path / name).write_text("2\n0\n1\n")
    loaded = load(DataSource(path=photos, labels=tmp_path / name))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="labels are in photos and in"):
        load(DataSource(path=make(tmp_path / "photos", "x/d.png", "y/d.png"), labels=tmp_path / name))


def test_a_limit_of_calibration_samples_keeps_the_classes_balanced(tmp_path: Path) -> None:
    make(
        tmp_path, *(f"train/{c}/{i}.png" for c in "abc" for i in range(9)), *(f"val/{c}/1.png" for c in "abc")
    )
    split = load_either(DataSource(path=tmp_path, calibration_max=6))
    assert isinstance(split, Split)
    assert split.calibration.labels is not None
    assert np.bincount(split.calibration.labels.astype(int)).tolist() == [2, 2, 2]


def test_one_class_folder_alone_is_no_label(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "cat/b.png")
    listing = list_images(tmp_path)
    assert listing.test.labels is None
    assert listing.class_names == ()
    assert listing.notes == ("cat/ is the only class folder: its images have no labels",)
