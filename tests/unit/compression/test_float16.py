"""Half-precision weights: those of numpy, in half the bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.float16 import float16
from harness.compression.storage import expand
from harness.core.errors import ModelError, UsageError

from .graphs import graph, residual_cnn


def test_weights_are_rounded_as_numpy_does_it() -> None:
    cnn = canonicalise(residual_cnn(1, channels=48))
    result = float16(cnn, [], {})
    after = initializers(expand(result.model))
    for name, values in initializers(cnn).items():
        unchanged = result.report["weights"].get(name, {}).get("stored") != "half"
        expected = values if values.ndim < 2 else values.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(after[name], expected)
        assert unchanged or values.ndim > 1
    assert result.report["weights"]["head.w"]["stored"] == "half"
    assert [value.type.tensor_type.elem_type for value in result.model.graph.input] == [
        onnx.TensorProto.FLOAT
    ]
    assert float16(cnn, [], {}).model.SerializeToString() == result.model.SerializeToString()


def test_half_the_bytes_and_no_infinities() -> None:
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = canonicalise(graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", 64]}))
    report = float16(model, [], {}).report
    assert 0.5 < report["bytes_after"] / report["bytes_before"] < 0.53
    weights[3, 5] = 1e5
    model = canonicalise(graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", 64]}))
    with pytest.raises(ModelError, match="65504"):
        float16(model, [], {})
    with pytest.raises(UsageError, match="did you mean layers"):
        float16(model, [], {"layer": ["a"]})
