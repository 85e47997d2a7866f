"""Clustering: k values, near the best k values, zeros kept, small files, the same bytes every time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.cluster import cluster, codebook_of, nearest
from harness.compression.quantize import quantize
from harness.compression.storage import expand
from harness.core.errors import ModelError, UsageError

from .graphs import feeds_of, graph, residual_cnn, run_onnx

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def cnn() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1, channels=32))


def dense(model: onnx.ModelProto) -> Mapping[str, Array]:
    return {name: value for name, value in initializers(expand(model)).items() if value.ndim > 1}


def best_error(values: Array, k: int) -> float:
    """The least squared error of k values, by trying every way to cut the sorted values into k runs."""
    ordered = np.sort(values.astype(np.float64))
    return min(
        sum(float(((run - run.mean()) ** 2).sum()) for run in np.split(ordered, cuts))
        for cuts in itertools.combinations(range(1, len(values)), k - 1)
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_codebook_is_nearly_the_best(k: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(10).astype(np.float32)
    codebook = codebook_of(values, k, keep_zeros=True, seed=0)
    assert len(codebook) == k
    error = float(((values - codebook[nearest(codebook, values)]) ** 2).sum())
    assert error <= 1.01 * best_error(values, k)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_each_value_of_a_codebook_is_the_mean_of_those_nearest_to_it(k: int, n: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    codebook = codebook_of(values, k, keep_zeros=True, seed=0)
    owners = nearest(codebook, values)
    assert sorted(set(owners.tolist())) == list(range(len(codebook))) == list(range(min(k, n)))
    means = np.bincount(owners, values) / np.bincount(owners)
    np.testing.assert_allclose(codebook, means, atol=0.05)


def test_nearest_is_the_nearest() -> None:
    random = np.random.default_rng(0)
    codebook, values = np.sort(random.standard_normal(9)).astype(np.float32), random.standard_normal((5, 40))
    distances = np.abs(values[..., np.newaxis] - codebook)
    np.testing.assert_array_equal(nearest(codebook, values), distances.argmin(axis=-1))


@pytest.mark.parametrize("k", [1, 2, 16, 17, 100])
def test_each_layer_has_k_values(cnn: onnx.ModelProto, k: int) -> None:
    before = cnn.SerializeToString()
    result = cluster(cnn, [], {"k": k})
    assert cnn.SerializeToString() == before
    for name, values in dense(result.model).items():
        assert len(np.unique(values)) == result.report["weights"][name]["k"] <= k
    assert max(facts["k"] for facts in result.report["weights"].values()) == k


def test_file_shrinks_and_the_model_computes_with_the_codebook(cnn: onnx.ModelProto) -> None:
    result = cluster(cnn, [], {})
    assert (
        result.report["bytes_after"] == len(result.model.SerializeToString()) < result.report["bytes_before"]
    )
    assert result.report["weights"]["head.w"]["stored"] == "codebook"
    feeds = feeds_of(cnn, np.random.default_rng(2), 3)
    expanded = cluster(cnn, [], {"expand": True})
    assert {facts["stored"] for facts in expanded.report["weights"].values()} == {"dense"}
    assert [n.op_type for n in expanded.model.graph.node] == [n.op_type for n in cnn.graph.node]
    np.testing.assert_array_equal(run_onnx(result.model, feeds)["y"], run_onnx(expanded.model, feeds)["y"])


def test_sqnr_is_that_of_the_weights(cnn: onnx.ModelProto) -> None:
    result = cluster(cnn, [], {"k": 8})
    before, after = dense(cnn), dense(result.model)
    for name, facts in result.report["weights"].items():
        ratio = (before[name] ** 2).sum() / ((before[name] - after[name]) ** 2).sum()
        assert facts["sqnr_db"] == pytest.approx(10 * np.log10(ratio), abs=0.01)


def pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.ndim > 1:
            values[np.abs(values) < np.median(np.abs(values))] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return copy


def test_zeros_stay_zero(cnn: onnx.ModelProto) -> None:
    model = pruned(cnn)
    after = dense(cluster(model, [], {"k": 8}).model)
    for name, values in dense(model).items():
        assert not after[name][values == 0].any()
        assert len(np.unique(after[name])) <= 8
    spoilt = dense(cluster(model, [], {"k": 2, "keep_zeros": False}).model)
    assert any(spoilt[name][values == 0].any() for name, values in dense(model).items())


def test_similar_layers_share_a_codebook(cnn: onnx.ModelProto) -> None:
    alone, shared = cluster(cnn, [], {"k": 8}), cluster(cnn, [], {"k": 8, "codebooks": "kind"})
    assert shared.report["bytes_after"] < alone.report["bytes_after"]
    values = dense(shared.model)
    by_shape: dict[tuple[int, ...], set[float]] = {}
    for value in values.values():
        by_shape.setdefault(value.shape[2:], set()).update(np.unique(value).tolist())
    # 1×1, head, and 3×3, which is two kinds where the stem is not depthwise
    assert {shape: len(levels) for shape, levels in by_shape.items()} == {(1, 1): 8, (): 8, (3, 3): 16}


def test_quantization_after_it_keeps_the_levels(cnn: onnx.ModelProto) -> None:
    clustered = cluster(cnn, [], {"k": 8}).model
    model = quantize(clustered, [feeds_of(cnn, np.random.default_rng(3), 4)], {}).model
    weights = [v for v in initializers(model).values() if v.dtype == np.int8 and v.ndim > 1]
    assert len(weights) == len(dense(cnn))
    assert all(len(np.unique(channel)) <= 8 for weight in weights for channel in weight)


def test_same_bytes_every_time(cnn: onnx.ModelProto) -> None:
    one, two = (cluster(cnn, [], {"k": 5, "seed": 3}).model.SerializeToString() for _ in range(2))
    assert one == two


def test_many_weights_are_clustered_through_a_histogram() -> None:
    centres = np.array([-3, -1, 0.5, 2], np.float32)
    random = np.random.default_rng(0)
    values = (centres[random.integers(0, 4, 50_000)] + random.normal(0, 0.01, 50_000)).astype(np.float32)
    np.testing.assert_allclose(codebook_of(values, 4, keep_zeros=True, seed=0), centres, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k: is 0; must be a whole number of at least 1"),
        ({"k": 2.0}, "must be a whole number"),
        ({"kk": 3}, "did you mean k"),
        ({"codebooks": "all"}, "kind"),
        ({"keep_zeros": 1}, "true or false"),
        ({"seed": -1}, "seed"),
        ({"layers": ["heat"]}, "has no layer 'heat'"),
        ({"layers": "head"}, "list of node names"),
    ],
)
def test_bad_options_are_refused(cnn: onnx.ModelProto, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cluster(cnn, [], options)


def test_only_the_layers_that_are_named(cnn: onnx.ModelProto) -> None:
    gemm = next(n for n in cnn.graph.node if n.op_type == "Gemm")
    result = cluster(cnn, [], {"layers": [gemm.name]})
    before, after = dense(cnn), dense(result.model)
    assert list(result.report["weights"]) == [gemm.input[1]]
    assert [name for name in before if not np.array_equal(before[name], after[name])] == [gemm.input[1]]


def test_one_value_cannot_be_zero_alone() -> None:
    weights = np.array([[0, 1], [0, 2]], np.float32)
    model = canonicalise(graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", 2]}))
    with pytest.raises(UsageError, match="k = 1"):
        cluster(model, [], {"k": 1})


def test_bad_models_are_refused(cnn: onnx.ModelProto) -> None:
    quantized = quantize(cnn, [feeds_of(cnn, np.random.default_rng(3), 4)], {}).model
    with pytest.raises(ModelError, match="quantized already"):
        cluster(quantized, [], {})
    broken = pruned(cnn)
    values = onnx.numpy_helper.to_array(broken.graph.initializer[0]).copy()
    values.flat[0] = np.nan
    broken.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(values, broken.graph.initializer[0].name)
    )
    with pytest.raises(ModelError, match="NaN"):
        cluster(broken, [], {})
    with pytest.raises(ModelError, match="no dense float32 weights"):
        cluster(graph([node("Relu", ["x"], ["y"])], {}, {"x": ["n", 2]}), [], {})
