"""What stands in a graph for nothing goes, and the numbers stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise
from harness.compression.cluster import cluster
from harness.compression.optimize import optimize
from harness.compression.quantize import quantize
from harness.compression.steps import checked
from harness.core.errors import ConfigurationError, ModelError

from .graphs import feeds_of, graph, residual_cnn, run_onnx

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [operator.op_type for operator in model.graph.node]


BATCH_NORM = {name: np.abs(normal(6)) + 0.5 for name in ("gamma", "beta", "mean", "variance")}
PLANTED = {
    "identity": (
        [node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["b"]), node("Neg", ["b"], ["y"])],
        {}, ["Relu", "Neg"],
    ),
    "transposes that cancel": (
        [
            node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]), node("Relu", ["a"], ["b"]),
            node("Transpose", ["b"], ["y"], perm=[0, 3, 1, 2]),
        ],
        {}, ["Relu"],
    ),
    "a dead branch": (
        [node("Relu", ["x"], ["y"]), node("Exp", ["x"], ["unused"])],
        {}, ["Relu"],
    ),
    "constants": (
        [node("Add", ["c", "c"], ["d"]), node("Mul", ["d", "c"], ["e"]), node("Add", ["x", "e"], ["y"])],
        {"c": normal(1, 3, 1, 1)}, ["Add"],
    ),
    "batch normalization": (
        [
            node("Conv", ["x", "w", "b"], ["a"]),
            node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["y"]),
        ],
        {"w": normal(6, 3, 3, 3), "b": normal(6), **BATCH_NORM}, ["Conv"],
    ),
    "dropout": (
        [node("Relu", ["x"], ["a"]), node("Dropout", ["a"], ["b"]), node("Neg", ["b"], ["y"])],
        {}, ["Relu", "Neg"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_what_stands_for_nothing_goes(what: str) -> None:
    nodes, constants, left = PLANTED[what]
    constants = {**constants, "nobody_reads_this": normal(50)}
    model = graph(list(nodes), constants, {"x": ["n", 3, 8, 8]})
    del model.graph.output[1:]  # what nobody asks for is dead
    feeds = feeds_of(model, np.random.default_rng(1), 2)
    result = checked(what, optimize, model, [feeds], {})
    assert kinds(result.model) == left
    assert "nobody_reads_this" not in {tensor.name for tensor in result.model.graph.initializer}
    assert result.report["nodes_before"] == len(nodes)
    assert result.report["nodes_after"] == len(left)
    assert sum(result.report["removed"].values()) == len(nodes) - len(left)
    assert result.model.ByteSize() <= model.ByteSize()
    for before, after in zip(
        run_onnx(model, feeds).values(), run_onnx(result.model, feeds).values(), strict=True
    ):
        np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())


def test_packed_weights_are_left_packed() -> None:
    model = canonicalise(residual_cnn(0, channels=32))
    packed = cluster(model, [], {"k": 4}).model
    result = optimize(packed, [], {})
    assert "would grow" in result.report["left"]
    assert result.model.ByteSize() == packed.ByteSize()


def test_a_quantized_model_and_unknown_options_are_refused() -> None:
    model = canonicalise(residual_cnn(0))
    int8 = quantize(model, [feeds_of(model, np.random.default_rng(0), 1)], {}).model
    with pytest.raises(ModelError, match="quantized already"):
        optimize(int8, [], {})
    with pytest.raises(ConfigurationError, match="level"):
        optimize(model, [], {"level": 99})


def test_two_processes_make_the_same_bytes(tmp_path: Path) -> None:
    nodes, constants, _ = PLANTED["batch normalization"]
    onnx.save(graph(list(nodes), constants, {"x": ["n", 3, 8, 8]}), tmp_path / "m.onnx")
    text = (
        "import hashlib, onnx, sys; from harness.compression.optimize import optimize\n"
        "made = optimize(onnx.load(sys.argv[1]), [], {}).model.SerializeToString(deterministic=True)\n"
        "print(hashlib.sha256(made).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", text, str(tmp_path / "m.onnx")],
            check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1
