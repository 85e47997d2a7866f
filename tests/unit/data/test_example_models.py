"""The bundled examples are what their READMEs say: bytes, and accuracy by bare ONNX Runtime and NumPy."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, jaccard_score

from harness.data.scenes import IGNORED, NAMES, scenes

MODELS = Path(__file__).parents[3] / "models"


def readme(name: str) -> str:
    return (MODELS / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cancer", "characters", "detector", "rows", "scenes"])
def test_the_readme_names_the_file(name: str) -> None:
    file = MODELS / name / "model.onnx"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in readme(name)
    assert f"| {file.stat().st_size:,} |" in readme(name)
    model = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert f"opset {model.opset_import[0].version}" in readme(name)


def test_the_figures_of_cancer() -> None:
    with (MODELS / "cancer" / "test.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    tables = tomllib.loads((MODELS / "cancer" / "validation.toml").read_text(encoding="utf-8"))
    features = [name for name in rows[0] if name not in ("diagnosis", "site", "record")]
    x = np.array([[row[name] for name in features] for row in rows], np.float32)
    step = tables["input"]["features"]
    session = onnxruntime.InferenceSession(MODELS / "cancer" / "model.onnx")
    scaled = (x - np.array(step["mean"], np.float32)) / np.array(step["std"], np.float32)
    (logits,) = session.run(None, {"features": scaled})
    names = np.array(["benign", "malignant"])
    right = names[logits.argmax(axis=1)] == [row["diagnosis"] for row in rows]
    text = readme("cancer")
    assert f"all {len(rows)} | **{100 * right.mean():.2f} %** ({right.sum()})" in text
    site = np.array([row["site"] for row in rows])
    for name in "ABCD":
        assert f"site {name} | {100 * right[site == name].mean():.1f} % of {(site == name).sum()} |" in text
    texture = x[:, features.index("mean_texture")]
    borders = [
        texture[site == name].max() < texture[site == above].min() for name, above in ("AB", "BC", "CD")
    ]
    assert all(borders), "sites are quarters by mean texture"


def test_the_figures_of_rows() -> None:
    with (MODELS / "rows" / "test.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    pixels = np.array([[row[f"pixel{i}"] for i in range(8)] for row in rows], np.float32).reshape(-1, 8, 8)
    digits = np.array([int(row["digit"]) for row in rows]).reshape(-1, 8)
    assert [row["row"] for row in rows] == [str(i) for i in range(8)] * len(pixels)
    assert len({row["image"] for row in rows}) == len(pixels) == 200
    stored = onnx.load(MODELS / "rows" / "model.onnx").graph.initializer
    w, u, b, v, c = ({x.name: onnx.numpy_helper.to_array(x) for x in stored}[name] for name in "wubvc")
    text = readme("rows")
    for carried, form in ((True, "| **{:.2f} %** |"), (False, "| {:.2f} % |")):
        state, right = np.zeros((len(pixels), 32), np.float32), []
        for row in range(8):
            state = np.tanh(pixels[:, row] @ w + (state if carried else 0 * state) @ u + b)
            right.append((state @ v + c).argmax(axis=1) == digits[:, row])
        by_row = " | ".join(f"{100 * share.mean():.1f}" for share in right)
        assert f"{form.format(100 * np.mean(right))} {by_row} |" in text


def test_the_figures_of_characters() -> None:
    session = onnxruntime.InferenceSession(MODELS / "characters" / "model.onnx")
    with np.load(MODELS / "characters" / "test.npz") as archive:
        documents = np.split(archive["input_ids"].astype(np.int64), np.cumsum(archive["lengths"])[:-1])
    surprise = []
    for ids in documents:
        feeds = {"input_ids": ids[None], "position_ids": np.arange(len(ids))[None]}
        (logits,) = session.run(None, feeds)
        log_p = log_softmax(logits[0, :-1].astype(np.float64), axis=1)
        surprise.append(-log_p[np.arange(len(ids) - 1), ids[1:]])
    text = readme("characters")
    assert f"| float32 | **{np.exp(np.concatenate(surprise).mean()):.3f}** |" in text
    assert f"{len(documents)} paragraphs" in text
    assert f"{sum(map(len, documents)):,} characters" in text


def test_the_figures_of_scenes() -> None:
    test = scenes().test
    session = onnxruntime.InferenceSession(MODELS / "scenes" / "model.onnx")
    x = test.inputs["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    predicted = session.run(None, {"image": x})[0].argmax(axis=1)
    counted = np.asarray(test.labels) != IGNORED
    flat = np.asarray(test.labels)[counted], predicted[counted]
    by_class = jaccard_score(*flat, average=None)
    text = readme("scenes")
    assert f"| float32 | **{100 * by_class.mean():.2f} %** | {100 * accuracy_score(*flat):.2f} % |" in text
    assert f"from {100 * by_class.min():.0f} % ({NAMES[by_class.argmin()]})" in text
    assert f"{len(test)} scenes" in text


def test_scenes_have_four_digits_and_faint_ink_does_not_count() -> None:
    split = scenes()
    for part in (split.calibration, split.test):
        labels = np.asarray(part.labels)
        ink = part.inputs["image"][..., 0]
        assert ink[labels == 0].max() < 40, "the ground is noise alone"
        assert ink[(labels > 0) & (labels != IGNORED)].min() >= 255 * 6 // 16
    digits = [len(np.unique(mask[(mask > 0) & (mask != IGNORED)])) for mask in np.asarray(split.test.labels)]
    assert max(digits) == 4
