"""Quantizers of others: their files run, say where they compute in float, and are refused as ours are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from harness.compression import foreign
from harness.compression.canonical import canonicalise
from harness.compression.foreign import ai_edge_quantizer, nncf
from harness.compression.quantize import quantize
from harness.core.errors import DataError, TargetUnavailable, UnsupportedOperator, UsageError
from harness.variants import compress

from .graphs import Feeds, feeds_of, residual_cnn, run_onnx

DIGITS = Path(__file__).parents[3] / "models/digits"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return canonicalise(residual_cnn(0, channels=16))


@pytest.fixture(scope="module")
def feeds(model: onnx.ModelProto) -> list[Feeds]:
    return [feeds_of(model, np.random.default_rng(seed), 1) for seed in range(12)]


def test_nncf_gives_a_quantized_model_and_tells_its_layers(
    model: onnx.ModelProto, feeds: list[Feeds], capfd: pytest.CaptureFixture[str]
) -> None:
    before = model.SerializeToString()
    result = nncf(model, feeds, {"preset": "mixed"})
    assert model.SerializeToString() == before
    assert capfd.readouterr().out == ""
    assert result.report["calibration_feeds"] == len(feeds)
    assert result.report["quantized"]["Conv"]
    # Too small a model to shrink; what it holds are integers.
    assert any(node.op_type == "DequantizeLinear" for node in result.model.graph.node)
    (name,) = (value.name for value in model.graph.output)
    for feed in feeds:
        exact, made = run_onnx(model, feed)[name], run_onnx(result.model, feed)[name]
        assert not np.array_equal(exact, made)
        np.testing.assert_allclose(made, exact, atol=0.1 * np.abs(exact).max())


def test_ai_edge_quantizer_gives_the_same_file_twice_and_float_inputs(
    model: onnx.ModelProto, feeds: list[Feeds]
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    result = ai_edge_quantizer(model, feeds, {})
    one, two = result.tflite, ai_edge_quantizer(model, feeds, {}).tflite
    assert one is not None
    assert two is not None
    assert one.data == two.data
    kinds = {(operator.kind, operator.dtype) for operator in one.operators}
    assert ("CONV_2D", "int8") in kinds
    interpreter = Interpreter(model_content=one.data)
    runner = interpreter.get_signature_runner("serving_default")
    ((name, details),) = runner.get_input_details().items()
    assert details["dtype"] == np.float32
    (output,) = (value.name for value in model.graph.output)
    step = result.report["output_quantization"][output]
    exact, made = [], []
    for feed in feeds:
        axes = one.input_permutation.get(name, tuple(range(feed[name].ndim)))
        made.append(runner(**{name: feed[name].transpose(axes)})[output])
        exact.append(run_onnx(model, feed)[output])
    # Its ranges are moving averages, so some of what it was calibrated on is clipped.
    assert np.square(np.array(exact) - made).sum() < 0.02 * np.square(exact).sum()
    integers = np.array(made) / step["scale"] + step["zero_point"]
    np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
    assert -128 <= integers.min() < integers.max() <= 127


@pytest.mark.parametrize("pass_", [nncf, ai_edge_quantizer])
def test_bad_input_is_refused(pass_, model: onnx.ModelProto, feeds: list[Feeds]) -> None:  # noqa: ANN001
    with pytest.raises(DataError, match="needs calibration samples"):
        pass_(model, [], {})
    with pytest.raises(UsageError, match="unknown key"):
        pass_(model, feeds, {"bits": 4})
    with pytest.raises(UsageError, match="must be one of"):
        pass_(model, feeds, {"preset" if pass_ is nncf else "recipe": "best"})
    with pytest.raises(Exception, match="quantized already"):
        pass_(quantize(model, feeds, {}).model, feeds, {})


def test_missing_package_is_named_with_the_command(
    model: onnx.ModelProto, feeds: list[Feeds], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(foreign, "import_module", missing)
    for pass_ in (nncf, ai_edge_quantizer):
        with pytest.raises(TargetUnavailable, match=r"\[quantizers\]"):
            pass_(model, feeds, {})


def test_compress_writes_only_the_file_that_there_is(tmp_path: Path) -> None:
    recipe = tmp_path / "edge.toml"
    recipe.write_text('recipe = [{ pass = "ai_edge_quantizer" }]')
    with pytest.raises(UnsupportedOperator, match="makes a TFLite file only"):
        compress.compress(DIGITS, str(recipe), tmp_path / "both", formats=("onnx", "tflite"))
    assert not (tmp_path / "both").exists()
    made = compress.compress(DIGITS, str(recipe), tmp_path / "out")
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert list(card["files"]) == ["tflite"]
    assert card["lineage"]["tools"]["ai-edge-quantizer"]
    assert "makes a TFLite file only" in " ".join(card["notes"])
    assert card["tflite"]["float_layers"] == []
    assert made.card["files"]["tflite"]["size_byte"] < 0.4 * made.reference["files"]["tflite"]["size_byte"]
    again = compress.rebuild(tmp_path / "out/card.json", tmp_path / "again")
    assert again.card["files"] == card["files"]


def test_a_file_is_the_end_of_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "edge.toml"
    recipe.write_text('recipe = [{ pass = "ai_edge_quantizer" }, { pass = "optimize" }]')
    with pytest.raises(Exception, match="make it the last step"):
        compress.compress(DIGITS, str(recipe), tmp_path / "out")
