"""A wrong resize in one target's pipeline is named, from the image files of the test set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from harness.testing.fakes import register
from tests.e2e import album
from tests.e2e.shell import ACCURACY, Shell, save_onnx

VALIDATION = """\
schema = 1
[model]
name = "photos"
file = "model.onnx"
[data]
path = "photos"
[data.image]
size = [16, 16]
resize = "stretch"
[input.x]
scale = 0.00392156862745098
layout = "NCHW"
[suites.accuracy]
"""
TARGET = """\
description = "an app that resizes for itself"
backends = ["album"]
[deploy]
threads = 1
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a model of two convolutions and 80 images in two classes."""
    folder, random = tmp_path / "model", np.random.default_rng(0)
    for number in range(80):
        part = folder / "photos" / "ab"[number % 2]
        part.mkdir(parents=True, exist_ok=True)
        coarse = np.kron(random.normal(0, 50, (7, 9, 3)), np.ones((5, 5, 1)))
        pixels = np.clip(128 + coarse + random.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(part / f"{number}.png")
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 2)}
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "first", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2"], ["d"], "second", strides=[2, 2]),
        helper.make_node("GlobalMaxPool", ["d"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "w3"], ["y"], "product"),
    ]
    save_onnx(folder / "model.onnx", nodes, ["n", 3, 16, 16], weights)
    (folder / "validation.toml").write_text(VALIDATION)
    return folder


@pytest.mark.parametrize(
    ("method", "name"), [("NEAREST", "nearest"), pytest.param("BICUBIC", "bicubic", marks=pytest.mark.full)]
)
def test_a_wrong_resize_in_one_targets_pipeline_is_named(
    harness: Shell, photos: Path, method: str, name: str
) -> None:
    site = register(
        harness.folder / "site", {"harness.backends": {"album": "album:AlbumBackend"}}, distribution="album"
    )
    shutil.copy(album.__file__, site / "album.py")
    (harness.folder / "targets").mkdir()
    (harness.folder / "targets" / "phone.toml").write_text(TARGET)
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")])),
        album.ALBUM: str(photos / "photos"), album.METHOD: method,
    }  # fmt: skip
    ended = harness("explain", "--model", photos, "--between", "cpu,phone", env=env)
    assert ended.code == 0, ended.out + ended.err
    lines = ended.out.splitlines()
    cause = f"CAUSE             phone gets its input resized by {name} and not by bilinear"
    assert cause in lines, ended.out
    assert not any(line.startswith(("reproducer", "note")) for line in lines), ended.out


@pytest.mark.full
def test_another_resize_between_two_runs_is_named_with_its_line(harness: Shell, photos: Path) -> None:
    chosen = ("--model", photos, "--target", "cpu", *ACCURACY)
    harness("validate", *chosen)
    base = (harness.results / "latest").resolve().name
    file = photos / "validation.toml"
    file.write_text(file.read_text().replace('"stretch"', '"stretch"\nmethod = "nearest"'))
    harness("validate", *chosen)
    ended = harness("explain", base, "latest", "--apply")
    assert ended.code == 0, ended.out + ended.err
    cause = 'CAUSE             preprocessing of the images (method): "bilinear" became "nearest"'
    assert cause in ended.out.splitlines(), ended.out
    assert '[data.image] method = "bilinear"' in ended.out
    assert 'method = "bilinear"' in file.read_text()
