"""Models and data as other people export them: init and validate give numpy's figure, or refuse by name."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from harness.store import tables
from tests.e2e.shell import Shell

CLASSES, SAMPLES, SIZE = 4, 120, (3, 6, 5)
OUTPUTS = ("logits", "features", "index", "map")
#: A refusal has one of these: the option that decides, or what does not fit.
PROPERTIES = ("--layout", "--output", "--batch-axis", "do not fit the input", "the labels have")


@dataclass(frozen=True)
class Spec:
    """One way to export a classifier and to save its data."""

    model_layout: str
    data_layout: str
    batch: int | None
    outputs: tuple[str, ...]
    labels: str
    dtype: str
    seed: int


def _some(order: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """The first of some outputs, the logits among them."""
    least = order.index("logits") + 1
    return st.integers(least, len(order)).map(lambda count: tuple(order[:count]))


SPECS = st.builds(
    Spec,
    model_layout=st.sampled_from(["NCHW", "NHWC"]),
    data_layout=st.sampled_from(["NCHW", "NHWC", "flat"]),
    batch=st.sampled_from([None, 1, 4, 7]),
    outputs=st.permutations(OUTPUTS).flatmap(_some),
    labels=st.sampled_from(["int64", "int32", "uint8", "column", "float", "one-hot", "one-hot float"]),
    dtype=st.sampled_from(["uint8", "float32", "float64", "int64"]),
    seed=st.integers(0, 2**16),
)  # fmt: skip


def save(spec: Spec, folder: Path) -> float:
    """Write model and data; return the accuracy that numpy computes."""
    rng = np.random.default_rng(spec.seed)
    pixels = rng.integers(0, 256, (SAMPLES, *SIZE)) if spec.dtype in ("uint8", "int64") else None
    canonical = rng.normal(size=(SAMPLES, *SIZE)) if pixels is None else pixels / 255
    weights = rng.normal(size=(int(np.prod(SIZE)), CLASSES)).astype(np.float32)
    logits = canonical.reshape(SAMPLES, -1).astype(np.float32) @ weights
    bias = -logits.mean(axis=0)
    truth = (logits + bias).argmax(axis=1)
    truth[:CLASSES] = np.arange(CLASSES)  # every class occurs
    other = rng.random(SAMPLES) < 0.1
    truth[other] = rng.integers(0, CLASSES, other.sum())
    _save_model(spec, weights, bias, folder / "model.onnx")
    raw = canonical if pixels is None else pixels
    data = {"NCHW": raw, "NHWC": np.moveaxis(raw, 1, -1), "flat": raw.reshape(SAMPLES, -1)}[spec.data_layout]
    if spec.data_layout == "flat" and spec.model_layout == "NHWC":
        data = np.moveaxis(raw, 1, -1).reshape(SAMPLES, -1)
    labels: NDArray[Any] = {
        "column": truth[:, None], "float": truth.astype(np.float64),
        "one-hot": np.eye(CLASSES, dtype=np.int64)[truth],
        "one-hot float": np.eye(CLASSES, dtype=np.float32)[truth],
    }.get(spec.labels, truth)  # fmt: skip
    if spec.labels in ("int64", "int32", "uint8"):
        labels = labels.astype(spec.labels)
    np.savez(folder / "data.npz", x=data.astype(spec.dtype), labels=labels)
    return float(((logits + bias).argmax(axis=1) == truth).mean())


def _save_model(spec: Spec, weights: NDArray[Any], bias: NDArray[Any], path: Path) -> None:
    batch = "n" if spec.batch is None else spec.batch
    shape = SIZE if spec.model_layout == "NCHW" else (*SIZE[1:], SIZE[0])
    nodes = (
        []
        if spec.model_layout == "NCHW"
        else [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])]
    )
    source = "x" if spec.model_layout == "NCHW" else "t"
    nodes += [
        helper.make_node("Flatten", [source], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("MatMul", ["flat", "f"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["features"]),
        helper.make_node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0),
        helper.make_node("Relu", [source], ["map"]),
    ]
    declared: dict[str, tuple[int, tuple[Any, ...]]] = {
        "logits": (TensorProto.FLOAT, (batch, CLASSES)), "features": (TensorProto.FLOAT, (batch, 9)),
        "index": (TensorProto.INT64, (batch,)), "map": (TensorProto.FLOAT, (batch, *SIZE)),
    }  # fmt: skip
    needed: list[Any] = []
    wanted = set(spec.outputs)
    for node in reversed(nodes):  # nothing that no output needs
        if wanted & set(node.output):
            wanted |= set(node.input)
            needed.insert(0, node)
    values = {
        "w": weights,
        "b": bias,
        "f": np.random.default_rng(1).normal(size=(len(weights), 9)).astype(np.float32),
    }
    graph = helper.make_graph(
        needed, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(name, *declared[name]) for name in spec.outputs],
        [numpy_helper.from_array(values[name].astype(np.float32), name) for name in values if name in wanted],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def right_or_refused(harness: Shell, spec: Spec) -> None:
    with tempfile.TemporaryDirectory(dir=harness.folder) as name:
        folder = Path(name)
        expected = save(spec, folder)
        shell = replace(harness, folder=folder)
        ended = shell("init", "model.onnx", "--data", "data.npz", "--split", "none")
        assert "Traceback" not in ended.err, ended.err
        if ended.code == 2:
            assert any(word in ended.err for word in PROPERTIES), ended.err
            assert not (folder / "validation.toml").exists()
            return
        assert ended.code == 0, ended.err
        ended = shell("validate", "--model", ".", "--suite", "accuracy", "--variant", "float32")
        assert ended.code in (0, 4), ended.err + ended.out
        frame = tables.read(shell.run() / "measurements.csv")
        rows = frame.query("metric == 'accuracy' and case == 'clean' and setting == 'deploy'")
        assert rows["value"].tolist() == [pytest.approx(expected, abs=1e-9)], (spec, ended.out)


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
#: An example takes seconds: a failing one is shown as it is, not shrunk.
PHASES = [Phase.explicit, Phase.generate]


@settings(max_examples=1, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=SLOW)
@given(spec=SPECS)
def test_a_model(harness: Shell, spec: Spec) -> None:
    right_or_refused(harness, spec)


@pytest.mark.full
@settings(max_examples=40, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=SLOW)
@given(spec=SPECS)
def test_forty_models(harness: Shell, spec: Spec) -> None:
    right_or_refused(harness, spec)
