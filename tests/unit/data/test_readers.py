"""Every format that `load` reads, and every way in which a file is damaged."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from harness.core.errors import DataError
from harness.data.datasets import Dataset, Split
from harness.data.images import ImageRecipe
from harness.data.readers import read_npz
from harness.data.sources import DataSource, load, load_either

GREY = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([0, 1, 2, 1, 0], dtype=np.uint8)


def write_idx(path: Path, array: npt.NDArray[np.generic], *, code: int = 0x08) -> Path:
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, image=GREY, mask=GREY[:, 0], y=LABELS)
    loaded = load(DataSource(path=path))
    assert set(loaded.inputs) == {"image", "mask"}
    np.testing.assert_array_equal(loaded.inputs["image"], GREY)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == LABELS.tolist()
    assert loaded.labels.dtype == np.int64
    assert loaded.ids.tolist() == [0, 1, 2, 3, 4]
    assert set(load(DataSource(path=path, input_names=("mask",))).inputs) == {"mask"}


def test_npy_pair(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", GREY)
    np.save(tmp_path / "y.npy", LABELS)
    loaded = load(DataSource(path=tmp_path / "x.npy", labels=tmp_path / "y.npy", input_names=("pixels",)))
    np.testing.assert_array_equal(loaded.inputs["pixels"], GREY)
    np.testing.assert_array_equal(loaded.labels, LABELS)
    assert load(DataSource(path=tmp_path / "x.npy")).labels is None


def test_labels_given_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=GREY, labels=LABELS)
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(DataError, match=r"labels are in x\.npz and in y\.npy"):
        load(DataSource(path=tmp_path / "x.npz", labels=tmp_path / "y.npy"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_pair(tmp_path: Path, suffix: str) -> None:
    images = write_idx(tmp_path / f"images-ubyte{suffix}", GREY)
    labels = write_idx(tmp_path / f"labels-ubyte{suffix}", LABELS)
    loaded = load(DataSource(path=images, labels=labels))
    np.testing.assert_array_equal(loaded.inputs["input"], GREY[..., np.newaxis])
    np.testing.assert_array_equal(loaded.labels, LABELS)


def test_idx_is_big_endian(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0], [3.0, 1e9]], dtype=">f4")
    loaded = load(DataSource(path=write_idx(tmp_path / "values", values, code=0x0D)))
    assert loaded.inputs["input"].dtype == np.float32
    np.testing.assert_array_equal(loaded.inputs["input"], values)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, files of unequal size, with what lies about in folders of photos."""
    for name, level, side in (("dog/b.png", 200, 9), ("cat/a.png", 50, 8), ("dog/deep/c.PNG", 220, 10)):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((side, side, 3), level, dtype=np.uint8)).save(file)
    (tmp_path / "photos" / ".hidden").mkdir()
    (tmp_path / "photos" / "dog" / "Thumbs.db").write_bytes(b"x")
    return tmp_path / "photos"


SMALL = ImageRecipe(size=(8, 8), resize="stretch", colour="L")


def test_a_folder_per_class(photos: Path) -> None:
    loaded = load(DataSource(path=photos, image=SMALL))
    assert loaded.inputs["input"].shape == (3, 8, 8, 1)
    assert loaded.inputs["input"][:, 0, 0, 0].tolist() == [50, 200, 220]
    assert loaded.class_names == ("cat", "dog")
    np.testing.assert_array_equal(loaded.labels, [0, 1, 1])


def test_a_folder_without_classes_has_no_labels(photos: Path) -> None:
    loaded = load(DataSource(path=photos / "cat", image=SMALL))
    assert loaded.labels is None
    assert len(loaded) == 1


@pytest.mark.parametrize("header", ["", "file,label\n"])
def test_a_folder_with_a_table(photos: Path, tmp_path: Path, header: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(header + "dog/b.png,1\ncat/a.png,0\n")
    loaded = load(DataSource(path=photos, labels=table, image=SMALL))
    assert loaded.inputs["input"][:, 0, 0, 0].tolist() == [200, 50]
    np.testing.assert_array_equal(loaded.labels, [1, 0])


def test_a_table_that_names_missing_files(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("dog/b.png,1\ndog/gone.png,1\n")
    with pytest.raises(DataError, match=r"1 of 2 .* first is 'gone.png'"):
        load(DataSource(path=photos, labels=tmp_path / "labels.csv", image=SMALL))


@pytest.mark.parametrize(
    ("text", "label_column", "names"),
    [
        ("1,0.5,2\n0,1.5,3\n", 0, ()),
        ("kind,a,b\n1,0.5,2\n0,1.5,3\n", 0, ()),
        ("a,b,kind\n0.5,2,1\n1.5,3,0\n", "kind", ()),
        ("a,b,kind\n0.5,2,yes\n1.5,3,NA\n", -1, ("NA", "yes")),
        ("yes,0.5,2\nNA,1.5,3\n", 0, ("NA", "yes")),
    ],
    ids=["no-header", "header", "by-name", "last-text", "text-no-header"],
)
def test_csv(tmp_path: Path, text: str, label_column: str | int, names: tuple[str, ...]) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    loaded = load(DataSource(path=path, label_columns=(label_column,)))
    np.testing.assert_array_equal(loaded.inputs["input"], np.array([[0.5, 2], [1.5, 3]], dtype=np.float32))
    assert loaded.inputs["input"].dtype == np.float32
    np.testing.assert_array_equal(loaded.labels, [1, 0])
    assert loaded.class_names == names


def test_csv_of_whole_numbers_stays_whole_and_a_header_can_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("0,1,2\n5,6,7\n")
    loaded = load(DataSource(path=path))
    assert loaded.inputs["input"].dtype == np.int64
    assert loaded.inputs["input"].shape == (2, 3)
    assert loaded.labels is None
    assert len(load(DataSource(path=path, header=True))) == 1


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"a": [0.5, 1.5], "target": [2.25, -1.0], "b": [1, 2]}).to_parquet(path)
    loaded = load(DataSource(path=path, label_columns=("target",)))
    np.testing.assert_array_equal(loaded.inputs["input"], [[0.5, 1], [1.5, 2]])
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [2.25, -1.0]


@pytest.fixture
def callables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "loaders_of_a_test.py").write_text(
        "import numpy as np\n"
        "from harness.data.datasets import Dataset, Split\n"
        "def whole():\n"
        "    return Dataset({'x': np.arange(20.0)[:, None]}, None, np.arange(20))\n"
        "def split():\n"
        "    w = whole()\n"
        "    return Split(w.take(np.arange(15, 20)), w.take(np.arange(15)))\n"
        "def nonsense():\n"
        "    return 7\n"
        "def uneven():\n"
        "    return Dataset({'x': np.zeros((3, 1))}, np.zeros(2, int), np.arange(3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "loaders_of_a_test", raising=False)
    return "loaders_of_a_test"


def test_a_callable(callables: str) -> None:
    assert len(load(DataSource(callable=f"{callables}:whole"))) == 20
    assert len(load(DataSource(callable=f"{callables}:split"))) == 15
    split = load_either(DataSource(callable=f"{callables}:split"))
    assert isinstance(split, Split)
    assert split.calibration.ids.tolist() == [15, 16, 17, 18, 19]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "returned int"),
        ("uneven", "labels has 2"),
        ("gone", "cannot be loaded"),
        ("", "cannot be loaded"),
    ],
)
def test_a_callable_that_is_none(callables: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(DataSource(callable=f"{callables}:{name}"))


def test_a_module_that_is_missing() -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        load(DataSource(callable="no_such_module_anywhere:digits"))


class Trap:
    """Unpickling it would leave a mark."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (sys.intern, ("sprung",))


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "y.npy"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    objects = np.array([Trap(), Trap()], dtype=object)
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    path, labels = tmp_path / name, None
    (np.savez if name == "x.npz" else np.save)(path, objects, allow_pickle=True)
    if name == "y.npy":
        path, labels = tmp_path / "x.npy", path
    with pytest.raises(DataError, match="pickled Python objects") as caught:
        load(DataSource(path=path, labels=labels))
    assert "np.savez" in caught.value.next_step


@pytest.mark.parametrize("kind", ["npz", "npy", "parquet", "images-ubyte.gz", "images-ubyte"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_a_damaged_file_is_one_message(tmp_path: Path, kind: str, damage: str) -> None:
    path = tmp_path / (kind if "-" in kind else f"x.{kind}")
    if kind == "npz":
        np.savez_compressed(path, image=np.random.default_rng(0).random((40, 8)))
    elif kind == "npy":
        np.save(path, GREY)
    elif kind == "parquet":
        pd.DataFrame({"a": [1.0]}).to_parquet(path)
    else:
        write_idx(path, GREY)
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"hello, world\n", "truncated": content[: len(content) * 2 // 3]}[damage]
    )
    with pytest.raises(DataError) as caught:
        load(DataSource(path=path))
    assert str(path) in caught.value.where
    assert path.name in caught.value.what


@pytest.mark.parametrize("position", [0.2, 0.5])
def test_a_flipped_byte_in_an_archive_is_found(tmp_path: Path, position: float) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, image=np.random.default_rng(0).integers(0, 9, (40, 80)))
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(DataError, match="image"):
        load(DataSource(path=path))


def test_a_flipped_byte_in_gzip_is_found(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "images-ubyte.gz", GREY)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # the checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be decompressed"):
        load(DataSource(path=path))


def test_a_foreign_member_of_an_archive(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(DataError, match=r"notes\.txt"):
        load(DataSource(path=tmp_path / "x.npz"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY, "labels": LABELS[:3]}, r"input 'x' has 5, labels has 3 samples"),
        ({"x": GREY[:0]}, "empty"),
        ({"labels": LABELS}, "no input arrays"),
        ({"x": GREY, "labels": LABELS, "y": LABELS}, "both 'labels' and 'y'"),
        ({"x": np.array(["a", "b"])}, "must be numeric"),
        ({"x": np.array([1.0, np.nan])}, "sample 1 .* not finite"),
        ({"x": np.float32(1)}, "samples on the first axis"),
        ({"x": GREY, "labels": np.array([0, 1, np.inf, 1, 0])}, "sample 2 .* not finite"),
    ],
)
def test_arrays_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, npt.NDArray[np.generic]], message: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]  # NumPy's stub: allow_pickle
    with pytest.raises(DataError, match=message) as caught:
        load(DataSource(path=tmp_path / "x.npz"))
    assert str(tmp_path / "x.npz") in caught.value.where


def test_an_input_without_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", picture=GREY, mask=GREY)
    with pytest.raises(DataError, match="there is no array for the input 'image'") as caught:
        load(DataSource(path=tmp_path / "x.npz", input_names=("image",)))
    assert "picture" in caught.value.cause
    np.save(tmp_path / "x.npy", GREY)
    with pytest.raises(DataError, match="one array for 2 inputs"):
        load(DataSource(path=tmp_path / "x.npy", input_names=("a", "b")))


@pytest.mark.parametrize(
    ("text", "label_column", "message"),
    [
        ("", 0, "is empty"),
        ("a,b\n", "a", "empty"),
        ("a,b\n1,2\n", "c", "no column 'c'"),
        ("1,2\n3,4\n", 2, "2 columns, but no column 2"),
        ("a,b\n1,2\n,4\n", "a", r"1 of 2 rows has no label; the first: line 3"),
        ("a,b\n1,2\n3,\n", "a", r"line 3, column 'b' has an empty cell"),
        ("a,b\n1,2\n3,x\n", "a", "is not a number"),
        ("a,b\n1,2\n3,4,5,6\n", "a", "cannot be read"),
        ("a,b\n0,2,3\n1,4,5\n", "a", "cannot be read"),
        ("a,b\n1,2\n3\n", "a", r"line 3 has 1 cells"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, text: str, label_column: str | int, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load(DataSource(path=tmp_path / "t.csv", label_columns=(label_column,)))


def test_a_missing_file_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz does not exist"):
        load(DataSource(path=tmp_path / "gone.npz"))
    np.save(tmp_path / "x.npy", GREY)
    with pytest.raises(DataError, match=r"gone\.npy does not exist"):
        load(DataSource(path=tmp_path / "x.npy", labels=tmp_path / "gone.npy"))
    with pytest.raises(DataError, match="unknown data format 'hdf5'"):
        load(DataSource(path=tmp_path / "x.npy", format="hdf5"))
    with pytest.raises(DataError, match="no data"):
        load(DataSource())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty contains no images"):
        load(DataSource(path=tmp_path / "empty"))


def test_taking_samples_keeps_their_ids() -> None:
    whole = Dataset({"x": np.arange(4)}, np.array([3, 2, 1, 0]), np.array([10, 11, 12, 13]), tuple("abcd"))
    some = whole.take(np.array([2, 0]))
    assert some.ids.tolist() == [12, 10]
    assert some.inputs["x"].tolist() == [2, 0]
    np.testing.assert_array_equal(some.labels, [1, 3])
    assert some.class_names == whole.class_names


KERAS = ("x_train", "y_train", "x_test", "y_test")
MEDICAL = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.mark.parametrize("names", [KERAS, MEDICAL])
@pytest.mark.parametrize("text", [False, True])
def test_an_archive_with_the_parts_of_a_training_tests_with_its_test_part(
    tmp_path: Path, names: tuple[str, ...], text: bool
) -> None:
    x, y = np.arange(40, dtype=np.uint8).reshape(10, 4), np.arange(10) % 3
    labels = np.array(["a", "b", "c"])[y] if text else y
    arrays = dict(zip(names, (x[:6], labels[:6], x[6:], labels[6:]), strict=True))
    np.savez(tmp_path / "d.npz", **arrays, x_val=x)
    source = DataSource(path=tmp_path / "d.npz", input_names=("input",), calibration_max=5)
    split = load_either(source)
    assert isinstance(split, Split)
    np.testing.assert_array_equal(split.test.inputs["input"], x[6:])
    np.testing.assert_array_equal(split.test.labels, y[6:])
    np.testing.assert_array_equal(split.calibration.inputs["input"], x[:5])
    np.testing.assert_array_equal(split.calibration.labels, y[:5])
    assert f"the first 5 of {names[0]} calibrate" in split.test.notes[0]
    assert "x_val" in split.test.notes[1]


def test_arrays_that_only_look_like_parts_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_test=np.zeros((3, 2)), y=np.arange(3))
    named = load_either(DataSource(path=tmp_path / "d.npz", input_names=("x_test",)))
    assert list(named.inputs) == ["x_test"]
    assert named.labels.tolist() == [0, 1, 2]


def test_a_single_array_is_that_of_the_single_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", pictures=np.zeros((3, 2)), labels=np.arange(3))
    contents = read_npz(tmp_path / "d.npz", names=("image",))
    assert list(contents.inputs) == ["image"]
    assert contents.notes == ("the array 'pictures' of d.npz is taken for the only input, 'image'",)
    np.savez(tmp_path / "d.npz", pictures=np.zeros((3, 2)), more=np.zeros((3, 2)))
    with pytest.raises(DataError, match="no array for the input 'image'"):
        read_npz(tmp_path / "d.npz", names=("image",))
