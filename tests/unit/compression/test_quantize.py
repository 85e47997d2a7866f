"""The int8 pass: its promise, its report, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.export import export_tflite
from harness.compression.quantize import output_quantization, quantize
from harness.core.errors import DataError, HarnessError, ModelError, UsageError

from .graphs import Feeds, graph, residual_cnn, run_onnx, run_tflite

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def feeds(n: int = 8) -> list[Feeds]:
    return [{"x": normal(1, 1, 16, 16)} for _ in range(n)]


@pytest.fixture(scope="module")
def cnn() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1))


def weights_and_biases(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    makers = {n.output[0]: n for n in model.graph.node}
    for n in model.graph.node:
        if n.op_type in ("Conv", "Gemm"):
            yield n, [makers[name] for name in n.input]


def test_report_and_model_say_the_same(cnn: onnx.ModelProto) -> None:
    before = cnn.SerializeToString()
    result = quantize(cnn, feeds(), {})
    report = result.report
    assert cnn.SerializeToString() == before
    assert report["bytes_before"] == cnn.ByteSize()
    assert report["bytes_after"] == result.model.ByteSize()
    assert report["calibration_feeds"] == 8
    assert report["float"] == {}
    assert report["quantized"] == {"Add": 2, "Conv": 7, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1}
    output = report["output_quantization"]["y"]
    steps = run_onnx(result.model, feeds(1)[0])["y"] / np.float32(output["scale"])
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert output["dtype"] == "uint8"


def test_weights_are_per_channel_and_biases_in_steps_of_the_product(cnn: onnx.ModelProto) -> None:
    model = quantize(cnn, feeds(), {}).model
    constants = initializers(model)
    for _, (source, weights, bias) in weights_and_biases(model):
        integers, scale = constants[weights.input[0]], constants[weights.input[1]]
        assert scale.shape == (len(integers),)
        assert not constants[weights.input[2]].any()
        assert constants[bias.input[0]].dtype == np.int32
        np.testing.assert_allclose(constants[bias.input[1]], constants[source.input[1]] * scale, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"per_channel": False}, {"portable": False}])
def test_reported_noise_of_weights_is_that_of_the_stored_integers(
    cnn: onnx.ModelProto, options: dict[str, Any]
) -> None:
    """Oracle: numpy, from the float weights and the integers and scales that the model has."""
    result = quantize(cnn, feeds(), options)
    before, after = initializers(cnn), initializers(result.model)
    by_layer = {entry["layer"]: entry for entry in result.report["weights"].values()}
    compared = 0
    for layer, (_, weights, _) in weights_and_biases(result.model):
        exact = before[next(n.input[1] for n in cnn.graph.node if n.name == layer.name)].astype(np.float64)
        integers = after[weights.input[0]].astype(np.float64)
        scale = after[weights.input[1]].astype(np.float64)
        scale = scale.reshape(-1, *[1] * (exact.ndim - 1)) if scale.ndim else scale
        np.testing.assert_array_less(np.abs(exact / scale - integers), 0.5 + 1e-4)  # rounded to the nearest
        noise = np.square(exact - integers * scale).sum()
        expected = 10 * np.log10(np.square(exact).sum() / noise)
        assert by_layer[layer.name]["sqnr_db"] == pytest.approx(expected, abs=0.02)
        compared += 1
    assert compared == len(by_layer) == 8


def test_int8_is_close_to_float(cnn: onnx.ModelProto) -> None:
    result = quantize(cnn, feeds(32), {})
    feed = {"x": normal(16, 1, 16, 16)}
    expected = run_onnx(cnn, feed)["y"]
    error = run_onnx(result.model, feed)["y"] - expected
    assert 10 * np.log10((expected**2).sum() / (error**2).sum()) > 20  # SQNR in dB


def test_channel_of_zeros_keeps_its_bias() -> None:
    weights, bias = normal(4, 3), np.array([0.013, 0.1, 0.2, 0.3], np.float32)
    weights[0] = 0
    gemm = node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    model = canonicalise(graph([gemm], {"w": weights, "b": bias}, {"x": ["n", 3]}))
    result = quantize(model, [{"x": normal(64, 3)}], {}).model
    constants = initializers(result)
    (_, (_, _, dequantized)) = next(weights_and_biases(result))
    stored = constants[dequantized.input[0]] * constants[dequantized.input[1]]
    np.testing.assert_allclose(stored, bias, atol=1e-3)


def test_same_bytes_in_processes_with_different_hash_seeds(tmp_path: Path) -> None:
    code = (
        "import sys, hashlib, onnx, numpy as np; from harness.compression.canonical import canonicalise; "
        "from harness.compression.quantize import quantize; "
        "from harness.compression.export import export_tflite; "
        "r = np.random.default_rng(0); m = canonicalise(onnx.load(sys.argv[1])); "
        "q = quantize(m, [{'x': r.standard_normal((2, 1, 16, 16)).astype(np.float32)}], {}).model; "
        "print(*(hashlib.sha256(b).hexdigest() for b in (m.SerializeToString(), q.SerializeToString(), "
        "export_tflite(q, name='m').data)))"
    )
    onnx.save(residual_cnn(2), tmp_path / "m.onnx")
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "m.onnx")],
            env={"PYTHONHASHSEED": seed, "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    # No litter but ONNX Runtime's own, which it leaves when it is imported.
    assert {path.name for path in tmp_path.iterdir()} - {".ses"} == {"m.onnx"}


def test_bad_calibration_data_is_refused(cnn: onnx.ModelProto) -> None:
    with pytest.raises(DataError, match="empty"):
        quantize(cnn, [], {})


def test_constant_in_several_roles_is_quantized_for_each() -> None:
    """One array as rows of a Gemm, as columns of a MatMul, as a bias and as a summand."""
    square, row = normal(4, 4), normal(4)
    nodes = [
        node("Gemm", ["x", "w", "b"], ["g"], transB=1),
        node("MatMul", ["g", "w"], ["m"]),
        node("Add", ["m", "b"], ["s"]),
        node("Gemm", ["s", "w", "b"], ["y"], transB=1),
    ]
    model = canonicalise(graph(nodes, {"w": square, "b": row}, {"x": ["n", 4]}))
    feed = {"x": normal(64, 4)}
    expected = run_onnx(model, feed)["y"]
    error = run_onnx(quantize(model, [feed], {}).model, feed)["y"] - expected
    assert 10 * np.log10((expected**2).sum() / (error**2).sum()) > 20


@pytest.mark.parametrize("method", ["entropy", "mse", "percentile"])
def test_other_methods_are_close_to_float_too(cnn: onnx.ModelProto, method: str) -> None:
    feed = {"x": normal(16, 1, 16, 16)}
    expected = run_onnx(cnn, feed)["y"]
    error = run_onnx(quantize(cnn, feeds(16), {"calibration": method}).model, feed)["y"] - expected
    assert 10 * np.log10((expected**2).sum() / (error**2).sum()) > 20  # SQNR in dB


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce_range": True}, "unknown key"),
        ({"per_chanel": True}, "did you mean per_channel"),
        ({"activations": "int4"}, "int8"),
        ({"activations": "int16", "calibration": "mse"}, "256 levels"),
        ({"calibration": "mean"}, "entropy"),
        ({"portable": "yes"}, "true or false"),
    ],
)
def test_bad_options_are_refused(cnn: onnx.ModelProto, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        quantize(cnn, feeds(), options)


def with_nan(model: onnx.ModelProto) -> onnx.ModelProto:
    tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    value = numpy_helper.to_array(tensor).copy()
    value.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return model


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: with_nan(canonicalise(residual_cnn(1))), ModelError, "NaN"),
        (lambda: quantize(canonicalise(residual_cnn(1)), feeds(), {}).model, ModelError, "already"),
    ],
    ids=["nan", "quantized"],
)
def test_bad_models_are_refused(make: Any, error: type[HarnessError], words: str) -> None:
    with pytest.raises(error, match=words):
        quantize(make(), feeds(), {})


@pytest.mark.parametrize("clip", [("Relu",), ("Clip", "low", "high")])
def test_an_activation_still_clips_before_a_concat_with_a_wider_range(clip: tuple[str, ...]) -> None:
    random = np.random.default_rng(0)
    constants = {f"w{i}": random.normal(0, 0.4, (4, 3, 3, 3)).astype(np.float32) for i in range(2)}
    constants |= {"low": np.zeros((), np.float32), "high": np.full((), 1.5, np.float32)}
    kind, *bounds = clip
    model = graph(
        [
            node("Conv", ["x", "w0"], ["a"], name="a"),
            node(kind, ["a", *bounds], ["clipped"], name="clip"),
            node("Conv", ["x", "w1"], ["b"], name="b"),
            node("Concat", ["clipped", "b"], ["y"], axis=1, name="join"),
        ],
        {name: constants[name] for name in ("w0", "w1", *bounds)},
        {"x": [1, 3, 6, 6]},
    )
    feeds = [{"x": random.normal(0, 1, (1, 3, 6, 6)).astype(np.float32)} for _ in range(8)]
    quantized = quantize(model, feeds, {}).model
    (step,) = output_quantization(quantized).values()
    for run in (run_onnx, lambda m, f: run_tflite(export_tflite(m, name="joined"), f)):
        for feed in feeds:
            (real,), (rounded,) = run_onnx(model, feed).values(), run(quantized, feed).values()
            assert np.abs(np.asarray(real) - rounded).max() <= 3 * step["scale"]
