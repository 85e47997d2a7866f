"""What a release has to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UsageError
from harness.run.request import Request
from harness.run.selection import select

TEXT = """
[model]
name = "m"
file = "m.onnx"
[data]
path = "d.npz"
[variants.int8]
recipe = [{ pass = "quantize" }]
[variants.small]
default = false
recipe = [{ pass = "prune" }]
[suites.accuracy]
[suites.reliability]
[[gate]]
name = "g"
suite = "accuracy"
metric = "accuracy"
target = ["cpu", "open*"]
min = 0.5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "validation.toml").write_text(TEXT)
    return tmp_path


def asked(folder: Path, **more: Any) -> Request:
    return Request.parse(model=str(folder), release=True, **more)


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ({"suite": "accuracy"}, "the suite reliability"),
        ({"variant": "float32"}, "the variant int8"),
        ({"target": "tflite"}, "the target cpu"),
        ({"suite": "reliability", "variant": "int8"}, "the suite accuracy, the variant float32"),
    ],
)
def test_a_part_is_no_release(folder: Path, more: dict[str, str], left_out: str) -> None:
    with pytest.raises(UsageError, match=f"this one leaves out {left_out}\n"):
        select(asked(folder, **more))


@pytest.mark.parametrize(
    "more", [{}, {"target": "cpu,tflite"}, {"variant": "all"}, {"variant": "float32,int8"}]
)
def test_a_whole_run_is(folder: Path, more: dict[str, str]) -> None:
    assert set(select(asked(folder, **more)).suites) == {"accuracy", "reliability"}


def test_without_release_a_part_can_be_measured(folder: Path) -> None:
    selection = select(Request.parse(model=str(folder), suite="accuracy", variant="float32"))
    assert selection.variants == ("float32",)
