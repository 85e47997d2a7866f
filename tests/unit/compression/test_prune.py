"""The prune pass: its masks against plain numpy, its refit against least squares, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression import refit as refit_module
from harness.compression.canonical import canonicalise, initializers
from harness.compression.prune import prune
from harness.core.errors import ConfigurationError, DataError, ModelError, UnsupportedOperator, UsageError

from .graphs import Feeds, graph, residual_cnn, run_onnx

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def two_layers(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """Gemm, Relu, Gemm with weights of shape (out, in)."""
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["h"], "first", transB=1),
        node("Relu", ["h"], ["r"], "relu"),
        node("Gemm", ["r", "w2", "b2"], ["y"], "second", transB=1),
    ]
    constants = {"w1": first, "b1": normal(len(first)), "w2": second, "b2": normal(len(second))}
    return canonicalise(graph(nodes, constants, {"x": ["n", first.shape[1]]}))


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    constants = initializers(model)
    return {n.name: constants[n.input[1]] for n in model.graph.node if n.op_type in ("Conv", "Gemm")}


@pytest.fixture(scope="module")
def cnn() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.99), st.sampled_from(["layer", "global"]))
def test_exactly_the_smallest_are_zero_ties_by_index(seed: int, sparsity: float, scope: str) -> None:
    random = np.random.default_rng(seed)
    # Few magnitudes, so that there are ties; no zeros, so that the count is exact.
    first, second = (random.integers(1, 4, s) * random.choice([-1, 1], s) for s in ((6, 5), (4, 6)))
    model = two_layers(first.astype(np.float32), second.astype(np.float32))
    result = prune(model, [], {"sparsity": sparsity, "scope": scope, "refit": False})
    parts = [first, second] if scope == "layer" else [np.concatenate([first.ravel(), second.ravel()])]
    expected = []
    for part in parts:
        flat = part.ravel().astype(np.float32)
        flat[np.argsort(np.abs(flat), kind="stable")[: round(sparsity * flat.size)]] = 0
        expected.append(flat)
    pruned = weights(result.model)
    np.testing.assert_array_equal(
        np.concatenate([pruned["first"].ravel(), pruned["second"].ravel()]), np.concatenate(expected)
    )
    assert result.report["zeros_after"] == sum(int((part == 0).sum()) for part in expected)


def test_report_and_model_say_the_same(cnn: onnx.ModelProto) -> None:
    before = cnn.SerializeToString()
    result = prune(cnn, [{"x": normal(4, 1, 16, 16)}], {"sparsity": 0.6})
    assert cnn.SerializeToString() == before
    report, pruned = result.report, weights(result.model)
    assert report["bytes_after"] == report["bytes_before"] == result.model.ByteSize()
    assert report["sparsity_by_layer"] == {name: float((w == 0).mean()) for name, w in pruned.items()}
    assert report["zeros_after"] == sum(round(0.6 * w.size) for w in pruned.values())
    assert report["sparsity"] == report["zeros_after"] / report["weights"]
    assert report["zeros_before"] == 0
    assert report["refit"]["layers"] == list(pruned)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_n_of_m_along_the_input_channels(cnn: onnx.ModelProto, n: int, m: int) -> None:
    result = prune(cnn, [], {"pattern": f"{n}:{m}", "refit": False})
    for name, before in weights(cnn).items():
        after = weights(result.model)[name]
        if before.shape[1] % m:
            assert name in result.report["left"]
            np.testing.assert_array_equal(after, before)
            continue
        blocks = np.moveaxis(before, 1, -1).reshape(-1, m)
        pruned = np.moveaxis(after, 1, -1).reshape(-1, m)
        for whole, part in zip(blocks, pruned, strict=True):
            largest = np.sort(np.argsort(np.abs(whole))[m - n :])
            np.testing.assert_array_equal(np.flatnonzero(part), largest)
            np.testing.assert_array_equal(part[largest], whole[largest])


def test_n_of_m_of_a_matmul_runs_down_its_columns() -> None:
    model = canonicalise(graph([node("MatMul", ["x", "w"], ["y"])], {"w": normal(8, 3)}, {"x": ["n", 8]}))
    (after,) = initializers(prune(model, [], {"pattern": "2:4", "refit": False}).model).values()
    assert ((after.reshape(2, 4, 3) != 0).sum(axis=1) == 2).all()


def test_excluded_layer_keeps_its_weights() -> None:
    model = two_layers(normal(4, 4), normal(3, 4))
    result = prune(model, [], {"exclude": ["second"], "refit": False})
    np.testing.assert_array_equal(weights(result.model)["second"], weights(model)["second"])
    assert result.report["left"] == {"second": "excluded"}
    assert (weights(result.model)["first"] == 0).mean() == 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_refit_solves_the_ridge_regression_of_every_row(seed: int) -> None:
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((50, 9)) @ random.standard_normal((9, 9))
    matrix = inputs.T @ inputs / 50
    w, mask_matrix = random.standard_normal((5, 9)), random.random((5, 9)) < 0.6
    refitted = refit_module.refit(w[None], mask_matrix[None], matrix[None])[0]
    ridge = refit_module._RIDGE * np.trace(matrix) / 9
    for row, mask, have in zip(w, mask_matrix, refitted, strict=True):
        # Least squares with rows that pull towards the old weights, by numpy's SVD.
        left = np.concatenate([inputs[:, mask] / np.sqrt(50), np.sqrt(ridge) * np.eye(mask.sum())])
        right = np.concatenate([inputs @ row / np.sqrt(50), np.sqrt(ridge) * row[mask]])
        best, start, loss = (
            float(np.square(left @ values - right).sum())
            for values in (np.linalg.lstsq(left, right)[0], row[mask], have[mask])
        )
        # By the loss: along directions that the inputs hardly have, weights may differ and lose nothing.
        assert loss - best <= 1e-2 * (start - best) + 1e-12
        assert not have[~mask].any()


@pytest.mark.parametrize(
    "attributes",
    [{"pads": [1, 0, 2, 1], "strides": [2, 1]}, {"dilations": [2, 1]}, {"group": 2}, {"group": 4}],
)
def test_patches_times_weights_are_the_convolution(attributes: dict[str, Any]) -> None:
    w = normal(8, 4 // attributes.get("group", 1), 3, 2)
    conv = node("Conv", ["x", "w"], ["y"], "conv", **attributes)
    model = canonicalise(graph([conv], {"w": w}, {"x": ["n", 4, 9, 8]}))
    (made,) = model.graph.node
    x = normal(3, 4, 9, 8)
    rows = refit_module._patches(made, w, x) @ refit_module._rows(made, w).transpose(0, 2, 1)
    expected = run_onnx(model, {"x": x})["y"]
    n, channels, height, width = expected.shape
    actual = np.concatenate(rows, axis=-1).reshape(n, height, width, channels).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_refit_restores_what_other_inputs_can_say() -> None:
    """Inputs 0..3 are repeated as 4..7: weights on the copies can be spared without loss."""
    large, small = (np.sign(normal(3, 4)) * (1 + np.abs(normal(3, 4))) for _ in range(2))
    w = np.concatenate([large, 1e-3 * small], axis=1)  # every one of the copies is smaller than any other
    model = canonicalise(
        graph([node("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"w": w, "b": normal(3)}, {"x": ["n", 8]})
    )
    x = np.tile(normal(64, 4) + 2, 2)
    expected = run_onnx(model, {"x": x})["y"]
    errors = {
        refit: np.abs(
            run_onnx(prune(model, [{"x": x}], {"refit": refit}).model, {"x": x})["y"] - expected
        ).max()
        for refit in (True, False)
    }
    assert errors[True] < 0.1 * errors[False]


def test_more_readings_than_memory_allows_give_the_same(
    cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds: list[Feeds] = [{"x": normal(1, 1, 16, 16)} for _ in range(6)]
    at_once = prune(cnn, iter(feeds), {}).model
    monkeypatch.setattr(refit_module, "_MOST_MOMENT_BYTE", 8 * 9**2 * 8)  # the depthwise layers' need
    result = prune(cnn, iter(feeds), {})
    assert result.model.SerializeToString() == at_once.SerializeToString()
    assert result.report["refit"]["calibration_feeds"] == 6


def test_layer_too_wide_for_memory_is_named(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit_module, "_MOST_MOMENT_BYTE", 8 * 64 + 1)
    report = prune(cnn, [{"x": normal(2, 1, 16, 16)}], {}).report
    assert any("take more than" in reason for reason in report["refit"]["left"].values())


def test_shared_weights_are_pruned_once_and_not_refitted() -> None:
    w = normal(4, 4)
    nodes = [node("MatMul", ["x", "w"], ["h"], "one"), node("MatMul", ["h", "w"], ["y"], "two")]
    model = canonicalise(graph(nodes, {"w": w}, {"x": ["n", 4]}))
    result = prune(model, [{"x": normal(8, 4)}], {})
    assert result.report["weights"] == 16
    assert result.report["refit"]["left"] == dict.fromkeys(["one", "two"], "its weights are shared")
    assert result.report["zeros_after"] == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 1.0}, "sparsity"),
        ({"sparsity": -0.1}, "sparsity"),
        ({"sparsity": float("nan")}, "sparsity"),
        ({"sparsity": True}, "sparsity"),
        ({"sparsty": 0.5}, "did you mean sparsity"),
        ({"scope": "whole"}, "scope"),
        ({"pattern": "4:2"}, "pattern"),
        ({"pattern": 24}, "pattern"),
        ({"pattern": "2:4", "sparsity": 0.3}, r"implies 0\.5"),
        ({"exclude": "first"}, "exclude"),
        ({"refit": "yes"}, "refit"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        prune(two_layers(normal(4, 4), normal(3, 4)), [], options)


def test_unknown_layer_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="frist") as caught:
        prune(two_layers(normal(4, 4), normal(3, 4)), [], {"exclude": ["frist"]})
    assert "did you mean 'first'" in caught.value.next_step


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ([], "empty"),
        ([{"x": np.zeros((2, 4), np.float32)}] * 2, "are equal"),
        (
            [{"x": np.full((2, 4), np.nan, np.float32)}, {"x": np.ones((2, 4), np.float32)}],
            "not finite|are equal",
        ),
        ([{"x": normal(2, 5)}], "does not run"),
        ([{"z": normal(2, 4)}], "does not run"),
    ],
)
def test_bad_calibration_data_are_refused(feeds: list[Feeds], words: str) -> None:
    with pytest.raises(DataError, match=words):
        prune(two_layers(normal(4, 4), normal(3, 4)), feeds, {})


def test_models_that_cannot_be_pruned_are_refused() -> None:
    spoilt = two_layers(normal(4, 4), normal(3, 4))
    spoilt.graph.initializer[0].raw_data = np.full(4, np.nan, np.float32).tobytes() * (
        len(spoilt.graph.initializer[0].raw_data) // 16
    )
    with pytest.raises(ModelError, match="NaN"):
        prune(spoilt, [], {})
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    quantized = graph(nodes, {"s": np.float32(0.1), "z": np.uint8(3)}, {"x": ["n", 4]})
    with pytest.raises(ModelError, match="quantized already"):
        prune(quantized, [], {})
    custom = canonicalise(residual_cnn(1))
    custom.graph.node[0].op_type, custom.graph.node[0].domain = "Mystery", "vendor"
    with pytest.raises(UnsupportedOperator, match="Mystery"):
        prune(custom, [], {})
    with pytest.raises(ModelError, match="no layer to prune"):
        prune(canonicalise(graph([node("Relu", ["x"], ["y"])], {}, {"x": ["n", 4]})), [], {})


def test_same_bytes_on_any_number_of_blas_threads(tmp_path: Path) -> None:
    code = (
        "import sys, hashlib, onnx, numpy as np; from harness.compression.canonical import canonicalise; "
        "from harness.compression.prune import prune; "
        "from harness.compression.channels import prune_channels; "
        "r = np.random.default_rng(0); m = canonicalise(onnx.load(sys.argv[1])); "
        "f = [{'x': r.standard_normal((8, 1, 16, 16)).astype(np.float32)}]; "
        "print(*(hashlib.sha256(p(m, f, {}).model.SerializeToString()).hexdigest() "
        "for p in (prune, prune_channels)))"
    )
    onnx.save(residual_cnn(2, channels=64), tmp_path / "m.onnx")
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "m.onnx")],
            env={"PYTHONHASHSEED": str(count), "OPENBLAS_NUM_THREADS": str(count), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in (1, 2)
    ]
    assert runs[0] == runs[1]
