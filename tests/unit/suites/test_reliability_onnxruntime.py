from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import TensorSpec
from suites.reliability.summarise import ReliabilitySuite
from tests.unit.suites.real_onnx import DIGITS, run_suite

pytest.importorskip("onnxruntime")

SETTINGS = {"processes": 1, "truncations": 3, "bit_flips": 8}


def test_digits_are_reliable_but_for_flipped_bits(tmp_path: Path) -> None:
    spec = TensorSpec("image", (None, 1, 32, 32), "float32")
    results, rows = run_suite(ReliabilitySuite(), DIGITS, spec, tmp_path, SETTINGS)
    assert len(results) == 14
    values = {row.metric: row.value for row in rows}
    for metric in (
        "deterministic_repeat",
        "deterministic_session",
        "deterministic_process",
        "bad_input_refused",
        "recovered_after_bad_input",
        "recovered_after_nonfinite_input",
        "truncation_refused",
        "hash_catches_damage",
        "recovered_after_damage",
        "provider_as_asked",
        "precision_as_asked",
        "artifact_hash_equal",
    ):
        assert values[metric] == 1, metric
    assert values["nonfinite_hidden"] == values["damage_crashed"] == 0
    assert values["bit_flip_silent"] > 0.3  # the runtime loads damaged files without an error
    assert values["batch_max_relative_difference"] < 1e-5
    assert values["thread_max_relative_difference"] < 1e-5


def test_quantized_model_hides_nan(tmp_path: Path) -> None:
    """The smallest model that hides NaN: a quantizer and its inverse."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    constants = [
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.uint8(10), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "qdq.onnx")
    settings = {"processes": 1, "truncations": 1, "bit_flips": 1}
    spec = TensorSpec("x", (None, 4), "float32")
    _, rows = run_suite(ReliabilitySuite(), tmp_path / "qdq.onnx", spec, tmp_path, settings)
    hidden = next(row for row in rows if row.metric == "nonfinite_hidden")
    assert hidden.value == 1
    assert "all_nan 8/8" in hidden.reason
