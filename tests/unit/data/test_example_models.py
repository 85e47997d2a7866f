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

MODELS = Path(__file__).parents[3] / "models"


def readme(name: str) -> str:
    return (MODELS / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cancer"])
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
