"""Dynamic int8: close to float, in unsigned weights, and clear where there is nothing to do."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.dynamic import dynamic
from harness.compression.export import export_tflite
from harness.compression.weights import sqnr_db
from harness.core.errors import ModelError, UnsupportedOperator, UsageError

from .graphs import feeds_of, graph, residual_cnn, run_onnx


@pytest.fixture(scope="module")
def cnn() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1, channels=32))


def test_dynamic_is_close_to_float_and_small(cnn: onnx.ModelProto) -> None:
    before = cnn.SerializeToString()
    result = dynamic(cnn, [], {})
    assert cnn.SerializeToString() == before
    assert result.report["quantized"] == {"Conv": 7, "MatMul": 1}
    assert result.report["float"] == {}
    assert result.report["bytes_after"] < result.report["bytes_before"]
    weights = [v for name, v in initializers(result.model).items() if name.endswith("_quantized")]
    assert {v.dtype for v in weights} == {np.dtype(np.uint8)}
    feeds = feeds_of(cnn, np.random.default_rng(2), 4)
    ratio = sqnr_db(run_onnx(cnn, feeds)["y"], run_onnx(result.model, feeds)["y"])
    assert ratio is not None
    assert ratio > 25
    assert dynamic(cnn, [], {}).model.SerializeToString() == result.model.SerializeToString()


def test_unsupported_options_are_refused_with_the_reason(cnn: onnx.ModelProto) -> None:
    with pytest.raises(ModelError, match="no layer that dynamic"):
        dynamic(graph([node("Relu", ["x"], ["y"])], {}, {"x": ["n", 2]}), [], {})
    with pytest.raises(ModelError, match="quantized already"):
        dynamic(dynamic(cnn, [], {}).model, [], {})
    with pytest.raises(UsageError, match="per_channel"):
        dynamic(cnn, [], {"per_chanel": True})
    with pytest.raises(UnsupportedOperator, match="DynamicQuantizeLinear"):
        export_tflite(dynamic(cnn, [], {}).model, name="m")
