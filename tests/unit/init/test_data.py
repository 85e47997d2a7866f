"""What init finds out about data: the label column, damaged files, missing values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from harness.cli import main
from harness.config.load import load_validation
from harness.config.schema import DataTable
from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.data.splits import split_of
from harness.init import init
from harness.init.data import Reading, find

from .models import CLASSES, LEVELS, SIDE, images, nearest, save

FEATURES = TensorSpec("x", (None, 3), "float32")


def label_column(path: Path, text: str, spec: TensorSpec = FEATURES) -> tuple[str | int | None, str]:
    path.write_text(text)
    source = find(str(path), None, [spec], reading=Reading(), channels_first=True)
    return source.tables[0].label_column, " ".join(source.notes)


BODY = [(0.5, 1, 7, "red"), (1.5, 2, 9, "blue"), (2.5, 3, 8, "red"), (3.5, 4, 6, "blue")]


def text_of(columns: str, order: list[int], separator: str = ",") -> str:
    head = separator.join(columns[i] for i in order) + "\n" if columns else ""
    return head + "".join(separator.join(str(row[i]) for i in order) + "\n" for row in BODY)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("columns", ["abcd", ""])
def test_the_only_column_of_text_is_the_label_wherever_it_is(
    tmp_path: Path, columns: str, position: int, separator: str
) -> None:
    order = [0, 1, 2]
    order.insert(position, 3)
    column, note = label_column(tmp_path / "t.csv", text_of(columns, order, separator))
    assert column == ("d" if columns else position)
    assert "labels come from the column" in note


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("name", ["id", "Unnamed: 0", "PassengerId", "row"])
def test_a_column_that_names_the_rows_is_no_feature(tmp_path: Path, name: str, position: int) -> None:
    rows = np.array([[0.5, 1, 7, 0], [1.5, 2, 9, 1], [2.5, 3, 8, 0], [3.5, 5, 6, 1]])
    frame = pd.DataFrame(rows, columns=["a", "b", "c", "label"])
    frame.insert(position, name, [17, 4, 23, 9])
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    source = find(str(path), None, [FEATURES], reading=Reading(), channels_first=True)
    (table,) = source.tables
    left_out = name == "Unnamed: 0" and position == 0  # by every reader
    assert (table.label_column, table.ignore) == ("label", () if left_out else (name,))
    split = split_of(table, Path(), ("x",))
    samples_read = np.concatenate([split.calibration.inputs["x"], split.test.inputs["x"]])
    assert sorted(samples_read.tolist()) == rows[:, :3].tolist()
    # A model that takes one more feature may take this column.
    wider = TensorSpec("x", (None, 4), "float32")
    if not left_out:
        (table,) = find(str(path), None, [wider], reading=Reading(), channels_first=True).tables
        assert table.ignore == ()


def test_ignored_columns_are_those_of_a_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 2)))
    with pytest.raises(DataError, match=r"d.npz \(npz\) is not a table"):
        split_of(DataTable(path="d.npz", ignore=("id",)), tmp_path, ("x",))
    (tmp_path / "t.csv").write_text("id,a,b\n1,2,0\n2,3,1\n")
    with pytest.raises(DataError, match="no column 'c'"):
        split_of(DataTable(path="t.csv", ignore=("c",)), tmp_path, ("x",))
    with pytest.raises(DataError, match="'b' is ignored and used"):
        split_of(DataTable(path="t.csv", ignore=("b",), label_column="b"), tmp_path, ("x",))


def test_a_name_of_labels_goes_before_a_coordinate(tmp_path: Path) -> None:
    text = "x,y,z,label\n1,2,3,0\n4,5,6,1\n"
    assert label_column(tmp_path / "t.csv", text)[0] == "label"


def test_classes_written_as_floats_are_found(tmp_path: Path) -> None:
    rows = "".join(f"{i}.25,{i % 2}.0,{i}.5,{i}.75\n" for i in range(10))
    assert label_column(tmp_path / "t.csv", "a,kind,b,c\n" + rows)[0] == "kind"


def test_of_several_columns_of_classes_the_last_is_tried_first(tmp_path: Path) -> None:
    rows = "".join(f"{i % 2},{i}.5,{i % 4},{i % 3}\n" for i in range(12))
    (tmp_path / "t.csv").write_text("a,b,c,d\n" + rows)
    source = find(str(tmp_path / "t.csv"), None, [FEATURES], reading=Reading(), channels_first=True)
    assert [table.label_column for table in (source.tables[0], *source.other_columns)] == ["d", "a", "c"]


def test_without_classes_the_last_column_and_the_first_are_tried(tmp_path: Path) -> None:
    rows = "".join(f"{i}.5,{i}.25,{i}.75,{i}.125\n" for i in range(12))
    (tmp_path / "t.csv").write_text("a,b,c,d\n" + rows)
    source = find(str(tmp_path / "t.csv"), None, [FEATURES], reading=Reading(), channels_first=True)
    assert [table.label_column for table in (source.tables[0], *source.other_columns)] == ["d", "a"]


def test_a_column_that_is_named_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c,label\n" + "1,2,3,0\n" * 9)
    reading = Reading(label_columns=("b",))
    source = find(str(tmp_path / "t.csv"), None, [FEATURES], reading=reading, channels_first=True)
    assert (source.tables[0].label_column, source.other_columns) == ("b", ())


@pytest.mark.parametrize("targets", [2, 3])
def test_as_many_columns_as_the_model_has_outputs_are_tried_last_and_first(
    tmp_path: Path, targets: int
) -> None:
    names = [f"c{i}" for i in range(3 + targets)]
    row = ",".join(f"{i}.5" for i in range(3 + targets))
    (tmp_path / "t.csv").write_text(",".join(names) + "\n" + f"{row}\n" * 9)
    outputs = [TensorSpec("y", (None, targets), "float32")]
    source = find(str(tmp_path / "t.csv"), None, [FEATURES], outputs, reading=Reading(), channels_first=True)
    assert [table.label_column for table in (source.tables[0], *source.other_columns)] == [
        tuple(names[-targets:]),
        tuple(names[:targets]),
    ]
    assert source.last_columns == ()
    with pytest.raises(DataError, match="name each column of labels with --label-column"):
        find(str(tmp_path / "t.csv"), None, [FEATURES], reading=Reading(), channels_first=True)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("1,5,2,5,3,5,0\n1,5,2,5,3,5,1\n", "decimal commas"),
        ("a,b\n1,2\n", "cannot be determined"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_its_likely_cause(
    tmp_path: Path, text: str, cause: str
) -> None:
    with pytest.raises(DataError, match=r"columns.*, the model takes 3 features") as caught:
        label_column(tmp_path / "t.csv", text)
    assert cause in caught.value.cause


def planted(folder: Path, side: int = SIDE) -> tuple[Path, NDArray[Any], NDArray[Any]]:
    raw, labels = images(100, side=side)
    plain = np.broadcast_to(LEVELS[:, None, None, :], (CLASSES, side, side, 3)) / 255
    model = nearest(np.moveaxis(plain, -1, 1), folder / "m.onnx", ("n", 3, side, side))
    return model, raw, labels


def written(folder: Path) -> DataTable:
    return load_validation(folder)[0].data


def save_photos(folder: Path, raw: NDArray[Any], labels: NDArray[Any]) -> None:
    for i, (pixels, label) in enumerate(zip(raw, labels, strict=True)):
        file = folder / f"class{label}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def test_damaged_images_are_listed_and_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, raw, labels = planted(tmp_path)
    photos = tmp_path / "photos"
    save_photos(photos, raw, labels)
    for name in ("class0/0.png", "class3/8.png"):
        (photos / name).write_bytes((photos / name).read_bytes()[:60])
    argv = ["init", str(model), "--data", str(photos)]
    assert main.main(argv) == 2
    error = capsys.readouterr().err
    assert "2 of 100 image files cannot be decoded" in error
    assert "class0/0.png" in error
    assert "class3/8.png" in error
    assert main.main([*argv, "--skip-damaged"]) == 0
    assert "2 of 100 image files are damaged and left out" in capsys.readouterr().out
    assert written(tmp_path).skip == ("class0/0.png", "class3/8.png")


def test_rows_with_missing_values_are_left_out_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    centres = np.array([[0, 0, 9], [0, 9, 0], [9, 0, 0]], np.float32)
    labels = np.arange(60) % 3
    values = centres[labels] + np.random.default_rng(0).normal(size=(60, 3))
    frame = pd.DataFrame(values, columns=["a", "b", "c"]).assign(label=labels)
    frame = frame.astype({"b": object})
    frame.loc[7, "b"] = "?"
    frame.to_csv(tmp_path / "t.csv", index=False)
    model = nearest(centres, tmp_path / "m.onnx", ("n", 3), "x")
    argv = ["init", str(model), "--data", str(tmp_path / "t.csv")]
    assert main.main(argv) == 2
    assert "line 9, column 'b' has '?'" in capsys.readouterr().err
    assert main.main([*argv, "--missing", "drop"]) == 0
    assert "1 of 60 rows" in capsys.readouterr().out
    assert written(tmp_path).missing == "drop"
    assert main.main([*argv, "--missing", "0.5", "--max-bytes", "5000", "--force"]) == 0
    assert (written(tmp_path).missing, written(tmp_path).max_bytes) == (0.5, 5000)


@pytest.mark.parametrize("value", ["nan", "often"])
def test_a_replacement_is_a_finite_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["init", "m.onnx", "--data", "t.csv", "--missing", value])
    assert "--missing" in capsys.readouterr().err


def test_labels_of_every_shape_give_one_accuracy(tmp_path: Path) -> None:
    model, raw, labels = planted(tmp_path)
    for given in (labels[:, None], labels.astype(np.float32), np.array([f"c{label}" for label in labels])):
        np.savez(tmp_path / "d.npz", image=raw, labels=given)
        report = init(model, str(tmp_path / "d.npz"), force=True)
        assert report.findings.trials[0].score == 1
        assert report.findings.task == "classification"


def test_wrong_labels_are_counted_over_all_samples(tmp_path: Path) -> None:
    model, raw, labels = planted(tmp_path)
    labels[::10] = -1
    np.savez(tmp_path / "d.npz", image=raw, labels=labels)
    with pytest.raises(DataError, match=r"10 of 100 labels are outside 0\.\.4: sample 0 "):
        init(model, str(tmp_path / "d.npz"))


def test_train_beside_val_calibrates_and_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, raw, labels = planted(tmp_path)
    save_photos(tmp_path / "photos" / "train", raw[:60], labels[:60])
    save_photos(tmp_path / "photos" / "val", raw[60:], labels[60:])
    (tmp_path / "photos" / "val" / "class1" / "._1.png").touch()
    report = init(model, str(tmp_path / "photos"))
    assert (len(report.findings.split.calibration), len(report.findings.split.test)) == (60, 40)
    assert report.findings.trials[0].score == 1
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    argv = ["validate", "--model", str(tmp_path), "--suite", "accuracy", "--target", "cpu"]
    main.main([*argv, "--results", str(tmp_path / "results")])
    printed = capsys.readouterr()
    for said in ("val/ is the test set and train/ calibrates", "hidden or tool files: 1"):
        assert said in report.text()
        assert re.sub(r"\s+", " ", printed.out + printed.err).count(said) >= 1


@pytest.mark.parametrize("order", ["numeric", "alphabetical"])
def test_class_folders_called_by_numbers_are_in_the_order_of_the_model(tmp_path: Path, order: str) -> None:
    rng = np.random.default_rng(3)
    colours = rng.integers(20, 236, (12, 3))
    names = [str(i) for i in range(12)]
    trained = names if order == "numeric" else sorted(names)
    for name, colour in zip(names, colours, strict=True):
        for i in range(8):
            file = tmp_path / "photos" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = (colour + rng.integers(-9, 10, (SIDE, SIDE, 3))).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    plain = np.broadcast_to(colours[[int(name) for name in trained]][:, :, None, None], (12, 3, SIDE, SIDE))
    model = nearest(plain / 255, tmp_path / "m.onnx", ("n", 3, SIDE, SIDE))
    report = init(model, str(tmp_path / "photos"))
    assert report.findings.trials[0].score == 1
    assert written(tmp_path).class_order == order
    assert f"{order} order" in report.text()


@pytest.mark.parametrize("place", [0, 2, 4])
def test_of_several_columns_that_could_be_labels_the_one_that_the_model_explains_is_taken(
    tmp_path: Path, place: int
) -> None:
    """A feature of small whole numbers looks like classes, too, and no header tells them apart."""
    rng = np.random.default_rng(4)
    table = np.column_stack([rng.normal(size=(120, 3)), rng.integers(0, 3, 120)]).astype(np.float32)
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    scores = table @ weights
    bias = -scores.mean(axis=0)
    labels = (scores + bias).argmax(axis=1)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    model = save(nodes, {"w": weights, "b": bias}, {"x": ("n", 4)}, {"y": ("n", 3)}, tmp_path / "m.onnx")
    rows = np.insert(table, place, labels, axis=1)
    text = "\n".join(",".join(f"{value:g}" for value in row) for row in rows.tolist())
    (tmp_path / "t.csv").write_text(text)
    report = init(model, str(tmp_path / "t.csv"))
    assert report.findings.table.label_column == place
    assert report.findings.trials[0].score > 0.95


def test_the_target_of_a_regression_is_found_in_the_middle(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    table = np.column_stack([rng.normal(size=(80, 3)), rng.integers(0, 2, 80)]).astype(np.float32)
    weights = np.array([[3], [-2], [5], [1]], np.float32)
    target = (table @ weights)[:, 0] + rng.normal(size=80) / 4
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = save(nodes, {"w": weights}, {"x": ("n", 4)}, {"y": ("n", 1)}, tmp_path / "m.onnx")
    columns = {"a": table[:, 0], "b": table[:, 1], "progress": target, "c": table[:, 2], "d": table[:, 3]}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    report = init(model, str(tmp_path / "t.csv"))
    assert report.findings.table.label_column == "progress"
    assert any("best of 5 that could be labels" in note for note in report.notes)


def test_columns_that_describe_samples_are_no_features_and_no_labels(tmp_path: Path) -> None:
    rows = [f"{i},{'AB'[i % 2]},{i}.5,{i % 3},{'xy'[i % 2]}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["day,site,a,b,kind", *rows]))
    spec = TensorSpec("x", (None, 2), "float32")
    with pytest.raises(DataError, match="has 5 columns, the model takes 2 features") as refused:
        find(str(tmp_path / "t.csv"), None, [spec], reading=Reading(), channels_first=True)
    assert "--group SITE, --time DATE" in refused.value.next_step
    reading = Reading(columns={"group": "site", "time": 0})
    source = find(str(tmp_path / "t.csv"), None, [spec], reading=reading, channels_first=True)
    (table,) = source.tables
    assert (table.label_column, table.group, table.time) == ("kind", "site", 0)


@pytest.mark.parametrize(
    ("samples", "labels"),
    [
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        ("images.npy", "labels.npy"),
        ("images_test.npy", "labels_test.npy"),
        ("x.npy", "y.npy"),
        ("X_test.npy", "y_test.npy"),
    ],
)
def test_labels_beside_the_samples_are_taken_and_named(tmp_path: Path, samples: str, labels: str) -> None:
    for name in (samples, labels):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / samples).write_bytes(b"x")
    source = find(str(tmp_path / samples), None, [FEATURES], reading=Reading(), channels_first=True)
    assert source.tables[0].labels == str(tmp_path / labels)
    assert labels in source.notes[0]
    named = find(str(tmp_path / samples), Path("mine"), [FEATURES], reading=Reading(), channels_first=True)
    assert (named.tables[0].labels, named.notes) == ("mine", ())
    (tmp_path / labels).unlink()
    alone = find(str(tmp_path / samples), None, [FEATURES], reading=Reading(), channels_first=True)
    assert (alone.tables[0].labels, alone.notes) == ("", ())
