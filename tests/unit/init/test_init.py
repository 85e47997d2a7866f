from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from harness.cli import main
from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.compression.model_file import load_onnx
from harness.config.load import load_validation
from harness.config.validation import Validation
from harness.core.errors import DataError, HarnessError, ModelError, UsageError
from harness.init import init
from harness.init.preprocess import IMAGENET_MEAN, IMAGENET_STD

from .models import CLASSES, LEVELS, SIDE, images, nearest, save

Made = Callable[[NDArray[Any]], NDArray[Any]]
PLANTED: dict[str, Made] = {
    "0-255": lambda x: x,
    "0-1": lambda x: x / 255,
    "-1..1": lambda x: x / 127.5 - 1,
    "ImageNet mean/std": lambda x: (x / 255 - IMAGENET_MEAN) / IMAGENET_STD,
}


def template(made: Made, *, colour: str, first: bool) -> NDArray[Any]:
    """What the planted model should be fed for a plain image of each class."""
    plain = made(np.broadcast_to(LEVELS[:, None, None, :], (CLASSES, SIDE, SIDE, 3)).astype(np.float64))
    if colour == "BGR":
        plain = plain[..., ::-1]
    return np.moveaxis(plain, -1, 1) if first else plain


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    raw, labels = images(200)
    np.savez(tmp_path / "data.npz", image=raw, labels=labels)
    return tmp_path


def written(path: Path) -> Validation:
    return load_validation(path)[0]


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("values", PLANTED)
def test_the_planted_preprocessing_is_found(folder: Path, values: str, colour: str) -> None:
    model = nearest(
        template(PLANTED[values], colour=colour, first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE)
    )
    report = init(model, str(folder / "data.npz"))
    assert report.guess.text == f"{colour}, {values}"
    assert report.findings.trials[0].score == 1
    step = written(folder).input["image"]
    assert step.layout == "NCHW"
    assert step.reverse_channels == (colour == "BGR")
    assert f"{colour}, {values}" in report.text()


def test_a_model_with_channels_last_keeps_the_layout(folder: Path) -> None:
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=False), folder / "m.onnx", ("n", SIDE, SIDE, 3)
    )
    assert init(model, str(folder / "data.npz")).guess.text == "RGB, 0-1"
    assert written(folder).input["image"].layout == "same"


@pytest.mark.parametrize("batch", [1, 7])
def test_a_fixed_batch_is_kept_to(folder: Path, batch: int) -> None:
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", (batch, 3, SIDE, SIDE)
    )
    report = init(model, str(folder / "data.npz"))
    assert (report.guess.text, report.findings.trials[0].score) == ("RGB, 0-1", 1)


def test_of_guesses_with_the_same_score_the_simplest_is_taken_and_the_other_named(tmp_path: Path) -> None:
    # Without a bias, the scale of the input does not change which score is the highest.
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (100, 4, 4, 1), dtype=np.uint8)
    weights = rng.normal(size=(16, 3)).astype(np.float32)
    labels = (raw.reshape(100, 16) @ weights).argmax(axis=1)
    np.savez(tmp_path / "data.npz", x=raw, labels=labels)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    model = save(nodes, {"w": weights}, {"x": ("n", 1, 4, 4)}, {"y": ("n", 3)}, tmp_path / "m.onnx")
    report = init(model, str(tmp_path / "data.npz"))
    assert report.guess.text == "0-255"
    assert any("'0-1' has the same score" in note for note in report.notes)


def test_images_of_another_size_are_resized_and_the_file_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, labels = images(300, side=11)
    for i, (pixels, label) in enumerate(zip(raw, labels, strict=True)):
        file = tmp_path / "photos" / f"class{label}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), tmp_path / "m.onnx", ("n", 3, SIDE, SIDE)
    )
    report = init(model, str(tmp_path / "photos"))
    assert report.guess.text == "RGB, 0-1"
    assert (len(report.findings.split.calibration), len(report.findings.split.test)) == (60, 240)
    validation = written(tmp_path)
    assert validation.data.image is not None
    assert (validation.data.image.size, validation.data.image.resize) == ((SIDE, SIDE), "cover")
    assert validation.data.path == "photos", "a folder can be moved with what lies in it"
    assert {gate.name for gate in validation.gate} >= {"float32 accuracy", "int8 accuracy, clean"}

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    argv = ["validate", "--model", str(tmp_path / "validation.toml"), "--suite", "accuracy"]
    assert main.main([*argv, "--results", str(tmp_path / "results")]) == 0, capsys.readouterr().out


def test_images_of_the_models_size_are_left_as_they_are(tmp_path: Path) -> None:
    raw, labels = images(60, channels=1)
    for i, (pixels, label) in enumerate(zip(raw, labels, strict=True)):
        file = tmp_path / "photos" / f"class{label}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(file)
    plain = np.broadcast_to(LEVELS[:, None, None, :1], (CLASSES, SIDE, SIDE, 1)) / 255
    model = nearest(np.moveaxis(plain, -1, 1), tmp_path / "m.onnx", ("n", 1, SIDE, SIDE))
    assert init(model, str(tmp_path / "photos")).guess.text == "0-1"
    image = written(tmp_path).data.image
    assert image is not None
    assert (image.size, image.colour) == (None, "L")


def features() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A table, its labels, and class centres in standardised units."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, 300)
    centres = rng.normal(size=(CLASSES, 6)) * 3
    z = centres[labels] + rng.normal(size=(300, 6)) * 0.2
    scale = np.array([1, 10, 100, 0.1, 5, 50])
    table = z * scale + 7 * scale
    return table, labels, centres


@pytest.mark.parametrize("where", ["first", "last", "named"])
def test_the_label_column_of_a_table_is_found(tmp_path: Path, where: str) -> None:
    table, labels, _ = features()
    centres = np.stack([table[labels == k].mean(axis=0) for k in range(CLASSES)])
    columns = np.insert(table, 0 if where == "first" else 6 if where == "last" else 3, labels, axis=1)
    head = "a,b,c,Class,d,e,f\n" if where == "named" else ""
    lines = [",".join(str(int(v)) if np.isclose(v, k) else repr(float(v)) for v in row)
             for row, k in zip(columns, labels, strict=True)]  # fmt: skip
    (tmp_path / "t.csv").write_text(head + "\n".join(lines) + "\n")
    model = nearest(centres, tmp_path / "m.onnx", ("n", 6), "x")
    report = init(model, str(tmp_path / "t.csv"))
    assert report.guess.text == "as is"
    assert report.findings.trials[0].score == 1
    assert written(tmp_path).data.label_column == {"first": 0, "last": 6, "named": "Class"}[where]
    assert written(tmp_path).shifts.kind == "features"


def test_a_table_that_has_to_be_standardised_is_recognised(tmp_path: Path) -> None:
    table, labels, _ = features()
    np.savez(tmp_path / "t.npz", x=table.astype(np.float32), labels=labels)
    z = (table - table.mean(axis=0)) / table.std(axis=0)
    centres = np.stack([z[labels == k].mean(axis=0) for k in range(CLASSES)])
    report = init(nearest(centres, tmp_path / "m.onnx", ("n", 6), "x"), str(tmp_path / "t.npz"))
    assert report.guess.text == "standardised"
    step = written(tmp_path).input["x"]
    calibration = report.findings.split.calibration.inputs["x"].astype(np.float64)
    np.testing.assert_allclose(step.mean, calibration.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(step.std, calibration.std(axis=0), rtol=1e-5)


def test_without_labels_there_are_gates_on_agreement_and_a_warning(folder: Path) -> None:
    raw, _ = images(200)
    np.savez(folder / "bare.npz", image=raw)
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE)
    )
    report = init(model, str(folder / "bare.npz"))
    metrics = {gate.metric for gate in written(folder).gate}
    assert "agreement" in metrics
    assert not metrics & {"accuracy", "accuracy_loss"}
    assert any("without labels" in note for note in report.notes)
    assert "top-1" not in report.text()


def test_a_regression_with_several_inputs_is_recognised(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 120, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", a=a, b=b, labels=(a + b).sum(axis=1).astype(np.float64))
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["y"]),
    ]
    shapes: dict[str, Any] = {"a": ("n", 4), "b": ("n", 4)}
    model = save(nodes, {"w": np.ones((4, 1), np.float32)}, shapes, {"y": ("n", 1)}, tmp_path / "m.onnx")
    report = init(model, str(tmp_path / "d.npz"))
    validation = written(tmp_path)
    assert validation.model.task == "regression"
    assert set(validation.input) == {"a", "b"}
    assert "mean absolute error" in report.text()
    gates = {gate.variant: gate for gate in validation.gate if gate.metric == "error_increase"}
    assert set(gates) == {"float32", "int8"}
    assert gates["int8"].on_inconclusive == "warn"


def test_nothing_to_calibrate_with_means_no_int8(folder: Path) -> None:
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE)
    )
    report = init(model, str(folder / "data.npz"), split="none")
    assert written(folder).variant_names == ("float32",)
    assert any("no int8" in note for note in report.notes)
    assert len(report.findings.split.test) == 200
    with pytest.raises(DataError, match="no test samples"):
        init(model, str(folder / "data.npz"), split="first", force=True)
    raw, labels = images(300)
    np.savez(folder / "more.npz", image=raw, labels=labels)
    init(model, str(folder / "more.npz"), split="first", force=True)
    assert written(folder).data.split == "first"


def test_names_that_toml_has_to_quote_survive(tmp_path: Path) -> None:
    table, labels, centres = features()
    arrays: dict[str, Any] = {'serving:0 "x"': table.astype(np.float32), "labels": labels}
    np.savez(tmp_path / "t.npz", **arrays)
    model = nearest(centres, tmp_path / "my model (1).onnx", ("n", 6), 'serving:0 "x"')
    init(model, str(tmp_path / "t.npz"))
    assert set(written(tmp_path).input) == {'serving:0 "x"'}
    assert written(tmp_path).model.name == "my-model--1-"


def test_a_tflite_file_is_validated_as_it_is(tmp_path: Path) -> None:
    table, labels, _ = features()
    np.savez(tmp_path / "t.npz", x=table.astype(np.float32), labels=labels)
    centres = np.stack([table[labels == k].mean(axis=0) for k in range(CLASSES)])
    onnx = nearest(centres, tmp_path / "m.onnx", ("n", 6), "x")
    (tmp_path / "m.tflite").write_bytes(export_tflite(canonicalise(load_onnx(onnx)), name="m").data)
    report = init(tmp_path / "m.tflite", str(tmp_path / "t.npz"))
    assert (report.guess.text, report.findings.trials[0].score) == ("as is", 1)
    validation = written(tmp_path)
    assert validation.model.file == ""
    assert validation.variants["float32"].files == {"tflite": "m.tflite"}
    assert validation.variant_names == ("float32",)
    assert {gate.variant for gate in validation.gate} == {"float32", "*"}


def test_nothing_is_overwritten_unless_forced(folder: Path) -> None:
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE)
    )
    (folder / "validation.toml").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        init(model, str(folder / "data.npz"))
    assert (folder / "validation.toml").read_text() == "mine"
    other = folder / "other.toml"
    assert init(model, str(folder / "data.npz"), out=other).path == other
    init(model, str(folder / "data.npz"), force=True)
    assert written(folder).model.name == "m"


def test_an_openvino_model_is_its_own_reference(tmp_path: Path) -> None:
    import openvino

    raw, labels = images(60)
    np.savez(tmp_path / "t.npz", image=raw, labels=labels)
    source = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), tmp_path / "s.onnx", ("n", 3, SIDE, SIDE)
    )
    openvino.save_model(openvino.convert_model(source), tmp_path / "m.xml", compress_to_fp16=False)
    source.unlink()
    report = init(tmp_path / "m.xml", str(tmp_path / "t.npz"))
    assert report.findings.trials[0].score == 1
    assert written(tmp_path).variants["float32"].files == {"openvino": "m.xml"}
    assert any("its own reference" in note for note in report.notes)
    assert report.text().endswith(" --target openvino")
    with pytest.raises(UsageError, match=r"no \.onnx") as caught:
        init(tmp_path / "m.bin", str(tmp_path / "t.npz"))
    assert "its .xml is the model" in caught.value.cause


@pytest.mark.parametrize(
    ("model", "data", "error", "text"),
    [
        ("m.pt", "data.npz", UsageError, "no .onnx, .tflite or .xml file"),
        ("absent.onnx", "data.npz", ModelError, "no such model file"),
        ("noise.onnx", "data.npz", ModelError, "not an ONNX model"),
        ("m.onnx", "absent.npz", DataError, "does not exist"),
        ("m.onnx", "small.npz", DataError, "do not fit the input image"),
        ("m.onnx", "labels.npz", DataError, "labels are outside"),
        ("m.onnx", "wide.csv", DataError, "columns"),
        ("m.onnx", "empty", DataError, "no images"),
        ("m.onnx", "broken", DataError, "cannot be decoded"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(
    folder: Path, model: str, data: str, error: type[HarnessError], text: str
) -> None:
    raw, labels = images(60)
    nearest(template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE))
    (folder / "m.pt").touch()
    (folder / "noise.onnx").write_bytes(b"no model at all")
    np.savez(folder / "small.npz", image=raw[:, :5], labels=labels)
    np.savez(folder / "labels.npz", image=raw, labels=labels + 1)
    (folder / "wide.csv").write_text("1,2,3,4\n5,6,7,8\n")
    (folder / "empty").mkdir()
    (folder / "broken" / "a").mkdir(parents=True)
    (folder / "broken" / "a" / "1.png").write_bytes(b"\x89PNG and nothing more")
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=text) as caught:
        init(folder / model, str(folder / data))
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    assert sorted(folder.iterdir()) == before


@pytest.fixture
def linked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose model and data are links to files elsewhere."""
    nearest(template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE))
    work = folder / "work"
    (work / "sub").mkdir(parents=True)
    (work / "release.onnx").symlink_to(folder / "m.onnx")
    (work / "today.npz").symlink_to(folder / "data.npz")
    monkeypatch.chdir(work)
    return work


def test_links_are_named_as_they_were_given(linked: Path) -> None:
    report = init(Path("release.onnx"), "today.npz")
    assert report.path == Path("validation.toml")
    validation = written(linked)
    assert (validation.model.name, validation.model.file) == ("release", "release.onnx")
    assert validation.data.path == "today.npz"


def test_paths_are_relative_to_the_file_that_is_written(linked: Path) -> None:
    init(Path("release.onnx"), "today.npz", out=Path("sub"))
    validation = written(linked / "sub")
    assert (validation.model.file, validation.data.path) == ("../release.onnx", "../today.npz")
    init(Path("release.onnx"), str(linked / "today.npz"), out=linked.parent / "above.toml")
    validation = written(linked.parent / "above.toml")
    assert (validation.model.file, validation.data.path) == ("work/release.onnx", "work/today.npz")


def test_an_absolute_path_outside_the_folder_stays_absolute(linked: Path) -> None:
    init(Path("release.onnx"), str(linked.parent / "data.npz"), labels=None)
    assert written(linked).data.path == str(linked.parent / "data.npz")


def test_a_relative_path_that_a_linked_folder_would_break_is_absolute(
    linked: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (linked / "away").symlink_to(tmp_path_factory.mktemp("away"))
    init(Path("release.onnx"), "today.npz", out=Path("away"))
    validation = written(linked / "away")
    assert (validation.model.file, validation.data.path) == (
        str(linked / "release.onnx"), str(linked / "today.npz"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "name"),
    [("fruit", "fruit"), ("_x y", "x-y"), ("007", "model-007"), ("1e5", "model-1e5"), ("NA", "model-NA")],
)
def test_a_model_whose_file_name_is_no_name_gets_one(folder: Path, stem: str, name: str) -> None:
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), folder / f"{stem}.onnx", ("n", 3, SIDE, SIDE)
    )
    init(model, str(folder / "data.npz"))
    assert written(folder).model.name == name
