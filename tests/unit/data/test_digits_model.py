"""The committed model is the one that its README describes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from harness.data.shipped import digits

FOLDER = Path(__file__).parents[3] / "models" / "digits"
MODEL = FOLDER / "model.onnx"


def test_the_readme_names_this_file() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in readme
    assert f"{MODEL.stat().st_size:,}" in readme
    assert MODEL.stat().st_size < 1_000_000


def test_the_graph_is_plain() -> None:
    model = onnx.load(MODEL, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"
    }  # fmt: skip
    weights = [onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer]
    assert f"{sum(weight.size for weight in weights):,}" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert any(
        node.attribute and any(a.name == "group" and a.i > 1 for a in node.attribute)
        for node in model.graph.node
    )
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, [d.dim_value for d in shape[1:]]) == ("batch", [1, 32, 32])


def test_the_accuracy_is_the_one_claimed() -> None:
    test = digits().test
    images = (test.inputs["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.2) / np.float32(0.4)
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    right = int((logits.argmax(axis=1) == test.labels).sum())
    assert abs(right - 794) <= 1  # another CPU may round a near tie the other way
    (one,) = session.run(["logits"], {"image": images[:1]})
    np.testing.assert_allclose(one, logits[:1], atol=1e-4)
