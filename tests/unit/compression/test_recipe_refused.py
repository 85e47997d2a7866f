"""What the TFLite writer refuses is refused again from the cache, where no runtime may be opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx.helper import make_node as node

from harness.compression import runtime
from harness.compression.model_file import inspect_onnx
from harness.compression.recipe import VariantBuilder
from harness.config.validation import Validation
from harness.data import sets
from harness.store.cache import Cache

from .graphs import graph


def test_a_refusal_is_in_the_cache(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    model = graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", 16]})
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(40, 16)).astype(np.float32))
    validation = Validation.model_validate({
        "model": {"name": "m", "file": "m.onnx"}, "data": {"path": "x.npy"},
        "variants": {"dynamic": {"recipe": ({"pass": "dynamic"},)}},
    })  # fmt: skip
    cache = Cache(tmp_path / "cache")
    builder = VariantBuilder(validation, tmp_path, cache)
    data = sets.prepare(validation, tmp_path, cache, inspect_onnx(model).inputs)
    first = builder.build(["dynamic"], ("onnx", "tflite"), data)
    with runtime.forbidden():
        again = builder.build(["dynamic"], ("onnx", "tflite"), data)
    assert "DynamicQuantizeLinear" in first[0].refused["tflite"]
    assert again[0].refused == first[0].refused
