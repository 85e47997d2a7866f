"""The runtimes themselves: which one a backend loads, and that they answer as they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.contracts import Unsupported
from harness.core.job import DEPLOY, Batch, Case, Job, Options
from harness.device import bare, planted
from harness.device.files import FileStore
from harness.device.worker import DeviceBench, StoredData
from tests.unit.testing.faults.linear import LinearBackend

ORT, OPENVINO, LITERT = (
    "onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so", "libopenvino.so.2641",
    "_pywrap_litert_interpreter_wrapper.so",
)  # fmt: skip
DIGITS = Path("models/digits/model.onnx")


@pytest.mark.parametrize(
    ("backend", "model_format", "libraries", "runtime"),
    [
        ("openvino", "onnx", {ORT}, "openvino"),
        ("mine", "onnx", {ORT}, "onnxruntime"),
        ("mine", "onnx", {OPENVINO}, "openvino"),
        ("mine", "tflite", {ORT, LITERT}, "tflite"),
        ("mine", "openvino", {OPENVINO, LITERT}, "openvino"),
    ],
)
def test_the_runtime_is_that_of_the_name_or_the_only_one_that_is_mapped(
    backend: str, model_format: str, libraries: set[str], runtime: str
) -> None:
    assert bare.runtime_of(backend, model_format, libraries) == runtime


@pytest.mark.parametrize(
    ("model_format", "libraries", "why"),
    [
        ("onnx", {ORT, OPENVINO}, "onnxruntime and openvino are in the process"),
        ("onnx", {LITERT}, "no runtime that opens onnx files is in the process"),
        ("tflite", set(), "no runtime that opens tflite files is in the process"),
    ],
)
def test_where_nothing_tells_no_runtime_is_guessed(model_format: str, libraries: set[str], why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        bare.runtime_of("mine", model_format, libraries)


def test_a_gpu_is_not_compared() -> None:
    artifact = Artifact("float32", "onnx", (describe_file(DIGITS),), DIGITS.parent)
    with pytest.raises(Unsupported, match="CUDAExecutionProvider does not compute on the CPU"):
        bare.open_bare("onnxruntime", artifact, Options(provider="CUDAExecutionProvider"))


def test_libraries_are_read_from_the_map(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r-xp 0 08:01 12 /x/libopenvino.so.2641\n7f02-7f03 rw-p 0 00:00 0 [heap]\n")
    assert bare.mapped_libraries(maps) == {"libopenvino.so.2641"}
    assert bare.mapped_libraries(tmp_path / "none") == set()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_bound_and_plain_calls_answer_alike(runtime: str) -> None:
    pytest.importorskip(runtime)
    artifact = Artifact("float32", "onnx", (describe_file(DIGITS),), DIGITS.parent)
    model = bare.open_bare(runtime, artifact, Options(1, "f32"))
    feeds = {"image": np.random.default_rng(0).random((2, 1, 32, 32), np.float32)}
    (logits,) = (np.array(output) for output in model.run(feeds))
    assert logits.shape == (2, 10)
    model.bind(feeds)()
    np.testing.assert_allclose(model.run(feeds)[0], logits, rtol=1e-5, atol=1e-5)


def test_a_planted_fault_is_not_around_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = Artifact("float32", "onnx", (describe_file(DIGITS),), DIGITS.parent)
    case = Case("single_stream")
    options = {DEPLOY: Options(1, extra={"session.x": "1"})}
    batch = planted.asking(
        Batch("cpu", "onnxruntime", "float32", "performance", artifact, options, {}, {}, (case,)),
        "slower-30", 0.3,
    )  # fmt: skip
    opened: list[Options] = []
    monkeypatch.setattr(bare, "open_bare", lambda name, file, given: opened.append(given))
    job = Job(batch.target, batch.backend, batch.variant, batch.suite, case)
    bench = DeviceBench(batch, job, LinearBackend(), StoredData(batch, FileStore(tmp_path)))
    bench.open_bare()
    assert opened == [replace(options[DEPLOY], extra={"session.x": "1"})]
