"""``harness explain BASE NEW``: each side is made again from what its run stored."""

from __future__ import annotations

import re

import onnx
from onnx import numpy_helper

from tests.e2e.shell import ACCURACY, MakeModel, Shell


def test_another_model_file_is_named_with_its_layer(harness: Shell, model: MakeModel) -> None:
    folder = model()
    chosen = ("--model", folder, *ACCURACY, "--explain", "0")
    assert harness("validate", *chosen).code == 0
    base = (harness.results / "latest").resolve().name
    changed = onnx.load(folder / "model.onnx")
    for tensor in changed.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(array * array.dtype.type(0.9), tensor.name))
    onnx.save(changed, folder / "model.onnx")
    harness("validate", *chosen)
    ended = harness("explain", base, "latest")
    assert ended.code == 0, ended.out + ended.err
    assert re.search(r"confirmed +constants of the file", ended.out)
    assert any(line.startswith("CAUSE") for line in ended.out.splitlines())
