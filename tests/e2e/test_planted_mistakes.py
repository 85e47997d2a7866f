"""A mistake in what init would have guessed right never ends in PASS: a gate catches it, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.init import init
from tests.e2e.shell import Shell
from tests.unit.init.models import CLASSES, LEVELS, SIDE, images, nearest

RUN = ("validate", "--model", ".", "--suite", "accuracy", "--variant", "float32")


def table(folder: Path) -> None:
    """A classifier of four features of different size, in a table with its label in the middle."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    centres = np.array([[0, 0, 5, 1], [4, 0, 0, 2], [0, 4, 0, 0]])
    rows = centres[labels] + rng.normal(scale=0.7, size=(240, 4))
    nearest(centres.astype(np.float64), folder / "model.onnx", ("n", 4), "x")
    rows[:, 3] = rng.integers(0, 3, 240)  # looks like classes, too
    text = "\n".join(",".join(f"{v:g}" for v in row) for row in np.insert(rows, 2, labels, axis=1).tolist())
    (folder / "data.csv").write_text(text)


def photos(folder: Path) -> None:
    """A classifier of pixels divided by 255, channels first."""
    raw, labels = images(200)
    plain = np.broadcast_to(LEVELS[:, None, None, :] / 255, (CLASSES, SIDE, SIDE, 3))
    nearest(np.moveaxis(plain, -1, 1), folder / "model.onnx", ("n", 3, SIDE, SIDE))
    np.savez(folder / "data.npz", image=raw, labels=labels)


MISTAKES = {
    "layout": (photos, 'layout = "NCHW"', f"shape = [3, {SIDE}, {SIDE}]"),
    "normalization": (photos, "scale = 0.00392156862745098", "scale = 1.0"),
    "channels": (photos, "scale =", "reverse_channels = true\nscale ="),
    "column": (table, "label_column = 2", "label_column = 4"),
}


#: Seen by the same gate as a wrong normalization.
REPEATED = ("channels",)


@pytest.mark.parametrize(
    "mistake", [pytest.param(name, marks=[pytest.mark.full] * (name in REPEATED)) for name in MISTAKES]
)
def test_a_wrong_setting_is_no_pass(harness: Shell, mistake: str) -> None:
    make, right, wrong = MISTAKES[mistake]
    make(harness.folder)
    data = next(path for path in harness.folder.glob("data.*"))
    init(harness.folder / "model.onnx", str(data))
    path = harness.folder / "validation.toml"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))
    ended = harness(*RUN)
    assert ended.code != 0, ended.out
    assert "verdict: PASS" not in ended.out
    path.write_text(text)
    assert "verdict: PASS" in harness(*RUN).out, "as it was written it passes"


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], pytest.param([1, 2, 3, 4, 0], marks=pytest.mark.full)])
def test_classes_in_another_order_are_no_pass(harness: Shell, order: list[int]) -> None:
    photos(harness.folder)
    init(harness.folder / "model.onnx", str(harness.folder / "data.npz"))
    with np.load(harness.folder / "data.npz") as data:
        np.savez(harness.folder / "data.npz", image=data["image"], labels=np.array(order)[data["labels"]])
    ended = harness(*RUN)
    assert ended.code == 1, ended.out
    assert "FAIL" in ended.out
