"""What init guessed is run as written: a model that is no better than chance writes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from harness.cli import main
from harness.compression import model_file, recipe
from harness.config.load import load_validation
from harness.core.errors import UsageError
from harness.data import sets
from harness.init import Asked, init, proof
from harness.store.cache import Cache

from .models import CLASSES, SIDE, images, nearest, save
from .test_init import PLANTED, template

RNG = np.random.default_rng(7)


def refused(model: Path, data: Path, **options: Any) -> UsageError:
    """Return why nothing was written."""
    with pytest.raises(UsageError) as caught:
        init(model, str(data), **options)
    assert not (model.parent / "validation.toml").exists()
    assert caught.value.exit_code == 2
    return caught.value


def classifier(folder: Path) -> tuple[Path, NDArray[Any], NDArray[Any]]:
    raw, labels = images(200)
    model = nearest(
        template(PLANTED["0-1"], colour="RGB", first=True), folder / "m.onnx", ("n", 3, SIDE, SIDE)
    )
    return model, raw, labels


def test_random_labels_are_refused_unless_accepted(tmp_path: Path) -> None:
    model, raw, labels = classifier(tmp_path)
    np.savez(tmp_path / "data.npz", image=raw, labels=RNG.permutation(labels))
    error = refused(model, tmp_path / "data.npz")
    assert "not better than chance" in error.what
    assert "--accept-chance" in error.next_step
    report = init(model, str(tmp_path / "data.npz"), accept_chance=True)
    assert any("accepted by --accept-chance" in note for note in report.notes)
    gates = {gate.name: gate for gate in load_validation(tmp_path)[0].gates}
    chance = gates["float32 better than chance"]
    assert (chance.metric, chance.severity, chance.targets) == ("accuracy", "block", ("*",))
    # Fewer gates because the setup is worse: never.
    np.savez(tmp_path / "good.npz", image=raw, labels=labels)
    init(model, str(tmp_path / "good.npz"), out=tmp_path / "good.toml")
    good = {gate.name for gate in load_validation(tmp_path / "good.toml")[0].gates}
    assert good - set(gates) <= {"float32 accuracy"}


def test_classes_in_another_order_are_named(tmp_path: Path) -> None:
    # A wrong preprocessing may beat chance with them: the order of the classes is doubted all the same.
    model, raw, labels = classifier(tmp_path)
    for other in ((labels + 1) % CLASSES, np.array([0, 1, 2, 4, 3])[labels]):
        np.savez(tmp_path / "data.npz", image=raw, labels=other)
        assert "in different orders" in refused(model, tmp_path / "data.npz").what


def test_two_classes_that_are_swapped_are_named(tmp_path: Path) -> None:
    raw = RNG.normal(size=(100, 6)).astype(np.float32)
    weights = {"w": RNG.normal(size=(6, 1)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])]
    model = save(nodes, weights, {"x": ("n", 6)}, {"y": ("n", 1)}, tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=raw, labels=((raw @ weights["w"])[:, 0] < 0).astype(np.int64))
    assert "another order, or swapped" in refused(model, tmp_path / "data.npz").cause


def test_a_model_that_always_says_the_commonest_class_is_refused(tmp_path: Path) -> None:
    raw = RNG.normal(size=(300, 6)).astype(np.float32)
    labels = (RNG.random(300) < 0.1).astype(np.int64)
    np.savez(tmp_path / "data.npz", x=raw, labels=labels)
    weights = {"w": np.zeros((6, 2), np.float32), "b": np.array([1, 0], np.float32)}
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    model = save(nodes, weights, {"x": ("n", 6)}, {"y": ("n", 2)}, tmp_path / "m.onnx")
    assert "commonest class" in refused(model, tmp_path / "data.npz").what


def test_a_regression_has_to_beat_a_constant(tmp_path: Path) -> None:
    raw = RNG.normal(size=(200, 6)).astype(np.float32)
    weights = {"w": RNG.normal(size=(6, 1)).astype(np.float32)}
    model = save(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        weights,
        {"x": ("n", 6)},
        {"y": ("n", 1)},
        tmp_path / "m.onnx",
    )
    truth = (raw @ weights["w"])[:, 0].astype(np.float64)
    np.savez(tmp_path / "noise.npz", x=raw, labels=RNG.permutation(truth))
    assert "constant answer" in refused(model, tmp_path / "noise.npz").what
    np.savez(tmp_path / "data.npz", x=raw, labels=truth + 0.1 * RNG.normal(size=200))
    report = init(model, str(tmp_path / "data.npz"))
    assert report.proof is not None
    assert report.proof.beats_chance
    names = {gate.name for gate in load_validation(tmp_path)[0].gates}
    assert {"float32 better than the mean", "float32 as on the host"} <= names


def test_what_was_asked_for_is_written_and_proved(tmp_path: Path) -> None:
    model, raw, labels = classifier(tmp_path)
    # Channels first in the data: the model takes them as they are, which --layout can say.
    np.savez(tmp_path / "data.npz", image=np.moveaxis(raw, -1, 1).astype(np.float32), labels=labels)
    report = init(model, str(tmp_path / "data.npz"), asked=Asked(layout="same"))
    assert report.guess.text == "0-1"
    assert report.proof is not None
    assert report.proof.evidence.score.value == 1
    assert load_validation(tmp_path)[0].input["image"].layout == "same"


def test_a_runtime_that_dies_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, _ = classifier(tmp_path)
    (tmp_path / "dying.py").write_text(
        "import os, signal\ndef load():\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert main.main(["init", str(model), "--data", "dying:load"]) == 2
    printed = capsys.readouterr().err
    assert "SIGSEGV" in printed
    assert "nothing was written" in printed
    assert not (tmp_path / "validation.toml").exists()


def test_the_int8_variant_is_made_once_and_is_the_one_that_a_run_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, raw, labels = classifier(tmp_path)
    np.savez(tmp_path / "data.npz", image=raw, labels=labels)
    monkeypatch.setattr(proof, "cache_folder", lambda: tmp_path / "init")
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "checked", None)  # the builder runs no step
        init(model, str(tmp_path / "data.npz"))
    validation = load_validation(tmp_path / "validation.toml")[0]
    made = {}
    for folder in ("init", "run"):
        builder = recipe.VariantBuilder(validation, tmp_path, Cache(tmp_path / folder))
        assert builder.model is not None
        info = model_file.inspect_onnx(builder.model)
        data = sets.prepare(validation, tmp_path, Cache(tmp_path / folder), info.inputs)
        with monkeypatch.context() as patch:
            if folder == "init":
                patch.setattr(recipe, "checked", None)
            (variant,) = builder.build(["int8"], ("onnx",), data)
        made[folder] = variant.artifacts["onnx"].sha256
    assert made["init"] == made["run"]
