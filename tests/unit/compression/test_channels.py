"""Channel pruning: channels that nothing reads go without a trace, through every operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.helper import make_node as node

from harness.compression import speed
from harness.compression.canonical import canonicalise, initializers
from harness.compression.channel_groups import couple
from harness.compression.channels import prune_channels
from harness.compression.export import export_tflite
from harness.core.errors import ConfigurationError, ModelError, UnsupportedOperator, UsageError

from .graphs import feeds_of, graph, residual_cnn, run_onnx, run_tflite

RANDOM = np.random.default_rng(0)
EVERY = {"round_to": 1, "fraction": 0.5}
C = 6


def normal(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def conv(x: str, y: str, w: str, **attributes: Any) -> onnx.NodeProto:
    return node("Conv", [x, w, f"{w}.b"], [y], y, pads=[1] * 4, **attributes)


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_ROUNDS", 5)
    monkeypatch.setattr(speed, "_BURST_NS", 100_000)


HEAD = [node("GlobalAveragePool", ["t"], ["p"], "pool"), node("Flatten", ["p"], ["f"], "flatten")]
GEMM = node("Gemm", ["f", "h", "h.b"], ["y"], "head", transB=1)
STEM = conv("x", "a", "w1")
# What stands between the stem (C channels in tensor a) and the head (tensor t): nodes and channels of t.
CHAINS: dict[str, tuple[list[onnx.NodeProto], int]] = {
    "plain": ([node("Relu", ["a"], ["r"]), conv("r", "t", "w2")], C),
    "residual": ([conv("a", "c", "w2"), node("Add", ["c", "a"], ["s"]), node("Relu", ["s"], ["t"])], C),
    "depthwise": (
        [conv("a", "d", "dw", group=C), node("Clip", ["d", "zero", "six"], ["k"]), conv("k", "t", "w2")], C
    ),
    "multiplier": ([conv("a", "d", "dw2", group=C), conv("d", "t", "w12")], C),
    "concat": ([conv("a", "c", "w2"), node("Concat", ["a", "c"], ["k"], axis=1), conv("k", "t", "w12")], C),
    "gate": (
        [
            node("GlobalAveragePool", ["a"], ["g"]), conv("g", "e", "w2"), node("Sigmoid", ["e"], ["z"]),
            node("Mul", ["a", "z"], ["t"]),
        ],
        C,
    ),
    "constants": ([node("Mul", ["a", "row"], ["m"]), node("PRelu", ["m", "slope"], ["t"])], C),
    "mean": (
        [node("ReduceMean", ["a"], ["m"], axes=[2, 3], keepdims=0), node("Unsqueeze", ["m", "ax"], ["t"])], C
    ),
    "spatial": ([node("MaxPool", ["a"], ["m"], kernel_shape=[2, 2]), node("Pad", ["m", "pads"], ["t"])], C),
    "transposed": (
        [
            node("Transpose", ["a"], ["n"], perm=[0, 2, 3, 1]), node("MatMul", ["n", "square"], ["o"]),
            node("Transpose", ["o"], ["t"], perm=[0, 3, 1, 2]),
        ],
        C,
    ),
}  # fmt: skip


def chain(
    nodes: list[onnx.NodeProto], channels: int, head: list[onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    constants: dict[str, Any] = {
        "w1": normal(C, 2, 3, 3), "w2": normal(C, C, 3, 3), "w12": normal(C, 2 * C, 3, 3),
        "dw": normal(C, 1, 3, 3), "dw2": normal(2 * C, 1, 3, 3), "row": normal(1, C, 1, 1),
        "slope": np.abs(normal(C, 1, 1)) + 0.1, "zero": np.float32(0), "six": np.float32(6),
        "square": normal(C, C),
        "ax": np.array([2, 3]), "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
        "shape": np.array([-1, channels * 64]), "h": normal(3, channels), "wide": normal(3, channels * 64),
        "h.b": normal(3), **{f"{w}.b": normal(C) for w in ("w1", "w2", "w12", "dw")}, "dw2.b": normal(2 * C),
    }  # fmt: skip
    every = [STEM, *nodes, *(head or [*HEAD, GEMM])]
    used = {name for operator in every for name in operator.input}
    model = graph(every, {k: v for k, v in constants.items() if k in used}, {"x": ["n", 2, 8, 8]})
    return canonicalise(model)


def silence(model: onnx.ModelProto, share: float = 0.5) -> int:
    """Plant channels that can go: tiny where they are made, weight zero where they are read; count them."""
    coupling, constants = couple(model), initializers(model)
    planted: set[int] = set()
    for group in coupling.groups:
        if not group.fixed_because:
            planted |= {
                int(label) for label in RANDOM.permutation(group.labels)[: int(share * len(group.labels))]
            }
    for operator in model.graph.node:
        for axis, labels in coupling.axes.get((operator.output[0], 1), {}).items():
            if operator.op_type not in ("Conv", "Gemm", "MatMul"):
                continue
            gone = np.isin(labels, list(planted))
            factor = np.where(gone, 1e-3 if axis == coupling.filters[operator.output[0]] else 0, 1).astype(
                np.float32
            )
            value = constants[operator.input[1]]
            constants[operator.input[1]] = value * factor.reshape(
                [-1 if a == axis else 1 for a in range(value.ndim)]
            )
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
    return len(planted)


def assert_same_outputs(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    assert list(before.graph.output) == list(after.graph.output)
    feeds = feeds_of(before, RANDOM, 3)
    expected, actual = run_onnx(before, feeds), run_onnx(after, feeds)
    for name, want in expected.items():
        np.testing.assert_allclose(actual[name], want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("name", CHAINS)
def test_channels_that_nothing_reads_go_without_a_trace(name: str, refit: bool) -> None:
    model = chain(*CHAINS[name])
    planted = silence(model)
    assert planted >= C // 2
    result = prune_channels(model, [feeds_of(model, RANDOM, 4)], {**EVERY, "refit": refit})
    assert sum(group["before"] - group["after"] for group in result.report["groups"]) == planted
    assert [entry["layers"] for entry in result.report["left"]] == [["head"]]
    assert_same_outputs(model, result.model)
    assert result.report["parameters_after"] < 0.8 * result.report["parameters_before"]
    assert result.report["bytes_after"] == result.model.ByteSize() < result.report["bytes_before"]


@pytest.mark.parametrize("flattening", ["Flatten", "Reshape"])
def test_flatten_hands_on_a_block_of_columns_for_each_channel(flattening: str) -> None:
    flat = (
        node("Flatten", ["a"], ["f"]) if flattening == "Flatten" else node("Reshape", ["a", "shape"], ["f"])
    )
    model = chain([], C, [flat, node("Gemm", ["f", "wide", "h.b"], ["y"], "head", transB=1)])
    silence(model)
    result = prune_channels(model, [], {**EVERY, "refit": False})
    assert_same_outputs(model, result.model)
    head = next(n for n in result.model.graph.node if n.op_type == "Gemm")
    assert initializers(result.model)[head.input[1]].shape == (3, C // 2 * 64)


def test_residual_cnn_shrinks_on_both_runtimes() -> None:
    model = canonicalise(residual_cnn(3))
    silence(model)
    before = model.SerializeToString()
    result = prune_channels(model, [feeds_of(model, RANDOM, 4)], EVERY)
    assert model.SerializeToString() == before
    assert_same_outputs(model, result.model)
    feeds = feeds_of(model, RANDOM, 1)
    expected = run_onnx(model, feeds)["y"]
    actual = run_tflite(export_tflite(result.model, name="pruned"), feeds)["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    (group,) = result.report["groups"]
    assert (group["before"], group["after"]) == (8, 4)
    assert all(n in [m.name for m in model.graph.node] for n in group["layers"])


def test_least_important_channels_go_whatever_the_scale_of_their_layer() -> None:
    """A residual group: one layer a hundred times the other, which alone must not decide."""
    model = chain(*CHAINS["residual"])
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name == "w1":
            value[:] = 100 * np.sign(value)
            value[[0, 1]] *= 0.9
        elif tensor.name == "w2":
            value[:] = np.sign(value)
            value[[1, 2]] *= 0.1
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    result = prune_channels(model, [], {"round_to": 1, "fraction": 0.3, "refit": False})
    remaining = [i for i in range(C) if i not in (1, 2)]
    np.testing.assert_array_equal(initializers(result.model)["w1"], initializers(model)["w1"][remaining])


def test_refit_makes_up_for_a_channel_that_repeats_another() -> None:
    model = chain(*CHAINS["plain"])
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("w1", "w1.b"):
            value[3:] = 0.3 * value[:3]  # the smaller of each pair goes
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    feeds = feeds_of(model, RANDOM, 32)
    expected = run_onnx(model, feeds)["y"]
    options = {**EVERY, "exclude": ["t"]}
    errors = {
        refit: np.abs(
            run_onnx(prune_channels(model, [feeds], {**options, "refit": refit}).model, feeds)["y"] - expected
        ).mean()
        for refit in (True, False)
    }
    assert errors[True] < 0.1 * errors[False]


@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({"fraction": 0.3, "round_to": 4}, 24),
        ({"fraction": 0.3, "round_to": 1}, 22),
        ({"fraction": 0.9, "min_channels": 10, "round_to": 8}, 16),
        ({"fraction": 0.99, "round_to": 1}, 1),
    ],
)
def test_number_of_channels_that_stay(options: dict[str, Any], after: int) -> None:
    model = canonicalise(residual_cnn(1, channels=32))
    (group,) = prune_channels(model, [], {**options, "refit": False}).report["groups"]
    assert (group["before"], group["after"]) == (32, after)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([conv("a", "c", "grouped", group=2), conv("c", "t", "w2")], "2 groups"),
        ([node("Softmax", ["a"], ["s"], "soft", axis=1), conv("s", "t", "w2")], "Softmax 'soft'"),
        (
            [node("Add", ["a", "side"], ["t"], "sum")],
            "combines them with a tensor without channels",
        ),
        ([conv("a", "c", "w2"), conv("c", "t", "w2")], "shares its weights"),
    ],
)
def test_channels_that_cannot_be_followed_stay_with_a_reason(
    nodes: list[onnx.NodeProto], reason: str
) -> None:
    constants = {
        "w1": normal(C, 2, 3, 3), "w2": normal(C, C, 3, 3), "grouped": normal(C, C // 2, 3, 3),
        "h": normal(3, C), "h.b": normal(3), **{f"{w}.b": normal(C) for w in ("w1", "w2", "grouped")},
    }  # fmt: skip
    every = [STEM, *nodes, *HEAD, GEMM]
    used = {name for operator in every for name in operator.input}
    inputs: dict[str, Any] = {"x": ["n", 2, 8, 8]} | ({"side": ["n", C, 8, 8]} if "side" in used else {})
    model = canonicalise(graph(every, {k: v for k, v in constants.items() if k in used}, inputs))
    reasons = {group.layers[0]: group.fixed_because for group in couple(model).groups}
    assert reason in reasons["a"]
    for group in couple(model).groups:
        assert group.layers != ("head",) or "output of the model" in group.fixed_because


def test_nothing_to_remove_is_an_error_that_says_why() -> None:
    model = canonicalise(residual_cnn(1, channels=8))
    with pytest.raises(ModelError, match="no channel can be removed") as caught:
        prune_channels(model, [], {"fraction": 0.3, "round_to": 16})
    assert "multiple of 16" in caught.value.cause
    with pytest.raises(ModelError, match="no channel can be removed") as caught:
        prune_channels(model, [], {"exclude": [model.graph.node[0].name]})
    assert "is excluded" in caught.value.cause


def test_speed_is_measured_with_an_interval() -> None:
    model = canonicalise(residual_cnn(1, channels=16))
    speed = prune_channels(model, [], {"refit": False, "fraction": 0.5}).report["speed"]
    assert speed["ci_low"] <= speed["speed_up"] <= speed["ci_high"]
    assert min(speed["before_ns"], speed["after_ns"]) > 0
    assert (speed["n"], speed["threads"], speed["batch"]) == (5, 1, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fraction": 1}, "fraction"),
        ({"fraction": "half"}, "fraction"),
        ({"fracton": 0.3}, "did you mean fraction"),
        ({"importance": "l3"}, "importance"),
        ({"min_channels": 0}, "min_channels"),
        ({"round_to": 2.5}, "round_to"),
        ({"refit": 1}, "refit"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        prune_channels(canonicalise(residual_cnn(1)), [], options)


def test_bad_models_and_names_are_refused() -> None:
    model = canonicalise(residual_cnn(1))
    with pytest.raises(UsageError, match="no layer 'nothing'"):
        prune_channels(model, [], {"exclude": ["nothing"]})
    spoilt = numpy_helper.to_array(model.graph.initializer[0]).copy()
    spoilt.flat[0] = np.inf
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(spoilt, model.graph.initializer[0].name))
    with pytest.raises(ModelError, match="infinity"):
        prune_channels(model, [], {})
    custom = canonicalise(residual_cnn(1))
    custom.graph.node[0].op_type, custom.graph.node[0].domain = "Mystery", "vendor"
    with pytest.raises(UnsupportedOperator, match="Mystery"):
        prune_channels(custom, [], {})
