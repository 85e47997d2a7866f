"""Cost of compression: time against ``quantize_static`` alone, memory by images and by model size.

Every figure comes from a fresh process; the two sides of a ratio take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.paired import heading
from harness.device.environment import peak_memory_byte

ROUNDS = 4
#: 100 MB: 26 million weights.
WIDE, LAYERS = 2560, 4
SIDE = 32


def report() -> None:
    """Print the three results."""
    heading("Compression: time against quantize_static alone, memory")
    pipeline()
    calibration_memory()
    large_model()


def pipeline() -> None:
    """Whole int8 pipeline of digits (calibrate, quantize, export, check) against ``quantize_static``."""
    seconds: dict[str, list[float]] = {"alone": [], "whole": []}
    for _ in range(ROUNDS):
        for side, times in seconds.items():
            times.append(_child(side)["seconds"])
    alone, whole = (float(np.median(times)) for times in seconds.values())
    met = "met" if whole <= 1.5 * alone + 2 else "missed"
    print(f"  int8 pipeline {whole:.2f} s, quantize_static alone {alone:.2f} s: {whole / alone:.2f} x, "
          f"goal <= 1.5 x + 2 s = {1.5 * alone + 2:.2f} s: {met}")  # fmt: skip


def calibration_memory() -> None:
    """Peak memory of quantizing by the number of calibration images."""
    counts = (200, 800, 3200)
    peaks = [_child("calibrate", str(count))["peak_byte"] / 1e6 for count in counts]
    per_image_kb = 1e3 * (peaks[-1] - peaks[0]) / (counts[-1] - counts[0])
    text = ", ".join(f"{count}: {peak:.0f} MB" for count, peak in zip(counts, peaks, strict=True))
    met = "met" if peaks[-1] <= 1.05 * peaks[0] else "missed"
    print(f"  calibration images {text}; {per_image_kb:.2f} kB an image, goal flat (within 5 %): {met}")


def large_model() -> None:
    """A 100-MB model through prune, cluster, quantize and export."""
    for name in ("prune", "cluster", "quantize"):
        figures = _child("large", name)
        met = "met" if figures["peak_byte"] <= 3e9 else "missed"
        size_mb, peak_gb = figures["model_byte"] / 1e6, figures["peak_byte"] / 1e9
        print(f"  {size_mb:.0f}-MB model, {name}: peak {peak_gb:.2f} GB, "
              f"{figures['seconds']:.1f} s; goal <= 3 GB: {met}")  # fmt: skip


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.compression", *arguments]
    figures = json.loads(
        subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout
    )
    assert isinstance(figures, dict)
    return figures


def _digits() -> tuple[onnx.ModelProto, list[dict[str, NDArray[Any]]]]:
    from harness.config.folders import shipped_folder
    from harness.variants.workspace import find_validation, open_workspace

    workspace = open_workspace(*find_validation(shipped_folder("models") / "digits"), {}, lambda text: None)
    return workspace.model, [dict(feed) for feed in workspace.data.calibration_feeds()]


def alone() -> float:
    """Seconds of ONNX Runtime's own static quantization of digits, from a file to a file."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    model, feeds = _digits()

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._rest, None)

    with TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "float.onnx")
        start = time.perf_counter()
        quantize_static(
            Path(folder) / "float.onnx", Path(folder) / "int8.onnx", Reader(), quant_format=QuantFormat.QDQ,
            per_channel=True, weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
        )  # fmt: skip
        return time.perf_counter() - start


def whole() -> float:
    """Seconds of the whole pipeline: canonical form, calibration, quantization, checks, TFLite file."""
    from harness.compression.canonical import canonicalise
    from harness.compression.export import export_tflite
    from harness.compression.quantize import quantize
    from harness.compression.steps import checked

    model, feeds = _digits()
    start = time.perf_counter()
    made = checked("int8", quantize, canonicalise(model), feeds, {}).model
    export_tflite(made, name="digits")
    return time.perf_counter() - start


def calibrate(count: int) -> None:
    """Quantize a small convolutional model on `count` images, generated one by one."""
    from harness.compression.canonical import canonicalise
    from harness.compression.quantize import quantize

    rng = np.random.default_rng(0)
    values = {"w": rng.normal(size=(16, 3, 3, 3)), "v": rng.normal(size=(16, 16, 3, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    model = canonicalise(_model(nodes, values, ["n", 3, SIDE, SIDE], ["n", 16, 1, 1]))
    quantize(model, _images(count), {"calibration": "entropy"})


def _images(count: int) -> Iterator[dict[str, NDArray[np.float32]]]:
    for seed in range(count):
        image = np.random.default_rng(seed).normal(size=(1, 3, SIDE, SIDE))
        yield {"x": image.astype(np.float32)}


def large(name: str) -> int:
    """Run a pass, export its result, and return the model's size in bytes."""
    from harness.compression.canonical import canonicalise
    from harness.compression.export import export_tflite
    from harness.compression.steps import checked
    from harness.device import plugins

    rng = np.random.default_rng(0)
    values = {f"w{i}": rng.normal(size=(WIDE, WIDE)) / WIDE**0.5 for i in range(LAYERS)}
    nodes = []
    for i in range(LAYERS):
        source = "x" if i == 0 else f"r{i - 1}"
        nodes.append(helper.make_node("MatMul", [source, f"w{i}"], [f"a{i}"], f"layer{i}"))
        nodes.append(helper.make_node("Relu", [f"a{i}"], ["y" if i == LAYERS - 1 else f"r{i}"]))
    model = canonicalise(_model(nodes, values, ["n", WIDE], ["n", WIDE]))
    feeds = ({"x": rng.normal(size=(1, WIDE)).astype(np.float32)} for _ in range(16))
    options = {"prune": {"sparsity": 0.5}, "cluster": {"k": 16}, "quantize": {}}[name]
    made = checked(name, plugins.choose(plugins.PASSES, name), model, feeds, options).model
    export_tflite(made, name="large")
    return model.ByteSize()


def _model(
    nodes: list[onnx.NodeProto], values: dict[str, NDArray[Any]], shape: list[Any], out: list[Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "benchmark",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _main(what: str, *rest: str) -> None:
    start = time.perf_counter()
    figures: dict[str, Any] = {}
    if what in ("alone", "whole"):
        figures["seconds"] = {"alone": alone, "whole": whole}[what]()
    elif what == "calibrate":
        calibrate(int(rest[0]))
    else:
        figures["model_byte"] = large(rest[0])
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_byte": peak_memory_byte(), **figures}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
