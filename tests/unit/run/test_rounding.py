"""The bound of a model covers honest kernels, and no half precision, offset or other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.export import export_tflite
from harness.compression.quantize import quantize
from harness.compression.variant import Variant
from harness.core.artifact import Artifact, Quantization, TensorSpec, describe_file
from harness.core.preprocess import Preprocess
from harness.data.datasets import Dataset
from harness.data.sets import PreparedData
from harness.run import rounding
from harness.store.cache import Cache
from tests.unit.compression.compression_graphs import run_openvino
from tests.unit.compression.graphs import graph, run_onnx, run_tflite

RNG = np.random.default_rng(11)
IMAGE = {"x": ["n", 3, 12, 12]}


class Set:
    """The clean set, as far as the bound needs it."""

    class ref:  # noqa: N801
        inputs: ClassVar[dict[str, str]] = {}

        @staticmethod
        def to_json() -> dict[str, Any]:
            return {"samples": 1}


def data(x: np.ndarray[Any, Any]) -> PreparedData:
    calibration = Dataset({"x": x}, None, np.arange(len(x)))
    spec = TensorSpec("x", (None, *x.shape[1:]), "float32")
    return PreparedData((Set,), None, calibration, {"x": Preprocess()}, (), inputs=(spec,))  # type: ignore[arg-type]


def network(scale: float = 1.0) -> onnx.ModelProto:
    random = np.random.default_rng(2)
    constants = {
        "w1": random.normal(size=(16, 3, 3, 3)).astype(np.float32) * np.float32(scale) / 5,
        "b1": random.normal(size=16).astype(np.float32),
        "w2": random.normal(size=(32, 16, 3, 3)).astype(np.float32) / 12, "b2": np.zeros(32, np.float32),
        "g": random.normal(size=(32, 10)).astype(np.float32), "c": np.zeros(10, np.float32),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4), node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4), node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "g", "c"], ["y"]),
    ]  # fmt: skip
    return graph(nodes, constants, {"x": ["n", 3, 12, 12]})


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the type of the output of ArgMax, which the file has to have."""
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [1, None, None, None])
    )
    return model


def variant(model: onnx.ModelProto, folder: Path, name: str = "float32", **more: Any) -> Variant:
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    artifact = Artifact(name, "onnx", (describe_file(path),), folder, **more)
    return Variant(name, {"onnx": artifact}, card={"notes": []})


def bound_of(made: Variant, x: np.ndarray[Any, Any], folder: Path) -> float:
    (described,) = rounding.with_bounds([made], data(x), Cache(folder / "cache"))
    assert "na" not in described.card["rounding"], described.card
    return float(described.card["rounding"]["bounds"]["y"])


def gap(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other).max())


def test_of_float32_it_covers_other_kernels_and_no_fault(tmp_path: Path) -> None:
    model, x = network(), RNG.normal(size=(64, 3, 12, 12)).astype(np.float32)
    bound = bound_of(variant(model, tmp_path), x[:16], tmp_path)
    host = run_onnx(model, {"x": x})["y"]
    for other in (run_openvino(model, {"x": x}), run_tflite(export_tflite(model, name="n"), {"x": x})):
        assert gap(host, other["y"]) < bound / 3
    (described,) = rounding.with_bounds([variant(model, tmp_path)], data(x[:16]), Cache(tmp_path / "cache"))
    short = described.card["rounding"]["short"]["y"]
    largest = float(np.abs(host).max())
    # A unit of the largest answer lies within it; a tenth of that answer, as faults of calls add, does not.
    assert 2.0**-8 * largest < short < 0.1 * largest
    half = host.astype(np.float16).astype(np.float32)
    weights = run_onnx(network(1.001), {"x": x})["y"]
    for fault in (half, host + 0.02, host * np.float32(1.01), weights):
        assert gap(host, fault) > 3 * bound


def test_of_int8_it_covers_other_kernels_and_no_fault(tmp_path: Path) -> None:
    x = RNG.normal(size=(64, 3, 12, 12)).astype(np.float32)
    made = quantize(network(), ({"x": row[np.newaxis]} for row in x[:16]), {})
    step = made.report["output_quantization"]["y"]
    steps = {"y": Quantization(step["scale"], step["zero_point"])}
    bound = bound_of(
        variant(made.model, tmp_path, "int8", output_quantization=steps, precision="int8"), x[:16], tmp_path
    )
    host = run_onnx(made.model, {"x": x})["y"]
    written = export_tflite(made.model, name="n")
    for other in (run_openvino(made.model, {"x": x}), run_tflite(written, {"x": x})):
        assert gap(host, other["y"]) <= bound
    assert step["scale"] <= bound < 16 * step["scale"]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda folder: Variant("float32", {}, card={}), "no ONNX file"),
        (
            lambda folder: variant(
                graph([node("Relu", ["x"], ["y"])], {}, IMAGE), folder
            ),
            "none of its results is rounded",
        ),
        (
            lambda folder: variant(
                typed(graph([node("Exp", ["x"], ["e"]), node("ArgMax", ["e"], ["y"])], {}, IMAGE)), folder
            ),
            "no real numbers",
        ),
        (
            lambda folder: variant(
                graph(
                    [node("Exp", ["x"], ["e"]), node("Sub", ["e", "e"], ["z"]), node("Log", ["z"], ["y"])],
                    {}, IMAGE,
                ),
                folder,
            ),
            "decides whether its outputs are finite",
        ),
    ],
)  # fmt: skip
def test_without_a_bound_the_card_says_why(made: Any, reason: str, tmp_path: Path) -> None:
    x = RNG.normal(size=(4, 3, 12, 12)).astype(np.float32)
    (described,) = rounding.with_bounds([made(tmp_path)], data(x), Cache(tmp_path / "cache"))
    assert reason in described.card["rounding"]["na"]


def test_an_output_of_text_has_no_bound_and_hinders_no_other(tmp_path: Path) -> None:
    model = graph(
        [node("Exp", ["x"], ["y"]), node("Cast", ["y"], ["t"], to=onnx.TensorProto.STRING)], {}, IMAGE
    )
    model.graph.output.append(onnx.helper.make_tensor_value_info("t", onnx.TensorProto.STRING, None))
    model.graph.output[1].type.tensor_type.shape.CopyFrom(model.graph.output[0].type.tensor_type.shape)
    x = RNG.normal(size=(2, 3, 12, 12)).astype(np.float32)
    (described,) = rounding.with_bounds([variant(model, tmp_path)], data(x), Cache(tmp_path / "cache"))
    assert list(described.card["rounding"]["bounds"]) == ["y"]


def test_it_is_derived_once_for_a_file_and_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(2, 3, 12, 12)).astype(np.float32)
    told: list[str] = []
    made = variant(network(), tmp_path)
    for _ in range(2):
        rounding.with_bounds([made], data(x), Cache(tmp_path / "cache"), told.append)
    assert told == ["deriving what rounding explains"]
