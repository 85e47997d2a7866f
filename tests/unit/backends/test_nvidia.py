"""TensorRT is loaded in the version that ONNX Runtime was linked with; else the reason is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from backends import nvidia, onnxruntime_, onnxruntime_options
from backends.nvidia import LIBRARIES, preload_tensorrt
from backends.onnxruntime_ import OnnxRuntimeBackend
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.target import TENSORRT


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A provider's file with names of libraries, those of onnxruntime-gpu 1.31.1."""
    path = tmp_path / "libonnxruntime_providers_tensorrt.so"
    path.write_bytes(b"\x7fELF\0libcudart.so.13\0libnvinfer.so.10\0libnvonnxparser.so.10\0")
    return path


def wheel(folder: Path, version: int) -> Path:
    """The wheel tensorrt-cu13-libs, of libraries that hold nothing."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here, with which libraries are made")
    (folder / "tensorrt_libs").mkdir()
    (folder / "tensorrt_libs" / "__init__.py").write_text("")
    for name in LIBRARIES:
        library = f"lib{name}.so.{version}"
        options = ["-shared", "-x", "c", os.devnull, f"-Wl,-soname,{library}"]
        subprocess.run([compiler, *options, "-o", str(folder / "tensorrt_libs" / library)], check=True)
    return folder


def test_a_missing_library_is_named_with_the_wheel_that_has_it(linked: Path) -> None:
    with pytest.raises(BackendError, match="TensorRT 10, with which this ONNX Runtime was built") as caught:
        preload_tensorrt(linked)
    assert "libnvinfer.so.10: cannot open shared object file" in caught.value.cause
    assert "add 'tensorrt-cu13==10.*' to [executor] requirements" in caught.value.next_step


@pytest.mark.parametrize(("version", "says"), [(10, "loaded"), (11, "TensorRT 10")])
def test_the_wheels_libraries_are_loaded_in_that_version_only(
    linked: Path, tmp_path: Path, version: int, says: str
) -> None:
    # In a process of its own: a library stays loaded. Then the loader finds it by its name alone.
    code = (
        "import ctypes, sys; from pathlib import Path; from backends.nvidia import preload_tensorrt\n"
        "try: preload_tensorrt(Path(sys.argv[1]))\n"
        "except Exception as error: sys.exit(print(error))\n"
        "ctypes.CDLL('libnvonnxparser.so.10'); print('loaded')"
    )
    path = os.pathsep.join([str(wheel(tmp_path, version)), str(Path(nvidia.__file__).parents[1])])
    ended = subprocess.run(
        [sys.executable, "-c", code, str(linked)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert says in ended.stdout


@pytest.mark.parametrize("content", [None, b"", b"libnvinfer.so.10"])
def test_a_runtime_without_the_provider(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "provider.so").write_bytes(content)
    with pytest.raises(BackendError, match="no TensorRT provider"):
        preload_tensorrt(tmp_path / "provider.so")


@pytest.mark.filterwarnings("ignore:Specified provider")  # all that ONNX Runtime itself says
@pytest.mark.parametrize(
    ("provider_is_there", "precision", "says"),
    [(False, "", "no TensorRT provider"), (True, "f32", "NVIDIA_TF32_OVERRIDE=0"), (True, "", "fallback")],
)
def test_tensorrt_is_never_replaced(
    monkeypatch: pytest.MonkeyPatch, write: Any, provider_is_there: bool, precision: str, says: str
) -> None:
    # The CPU's wheel: whatever is made to look as if TensorRT were there, nothing else opens in its place.
    artifact = write([("Relu", ["x"], ["y"])], [("x", "FLOAT", ["N", 3])], [("y", "FLOAT", ["N", 3])])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, "CPUExecutionProvider"])
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    if provider_is_there:
        monkeypatch.setattr(onnxruntime_, "preload_tensorrt", lambda linked: None)
    with pytest.raises(BackendError) as caught:
        OnnxRuntimeBackend().open(artifact, Options(provider=TENSORRT, precision=precision))
    assert says in str(caught.value)


class _Said:
    def __init__(self, provider: str, **options: str) -> None:
        self._said = {provider: options}

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self._said


@pytest.mark.parametrize(
    ("options", "override", "precision"),
    [
        ({}, None, "tf32"),
        ({}, "0", "f32"),
        ({"trt_fp16_enable": "0"}, "1", "tf32"),
        ({"trt_fp16_enable": "1"}, "0", "f16"),
        ({"trt_fp16_enable": "True", "trt_bf16_enable": "1"}, None, "f16+bf16"),
    ],
)
def test_precision_that_tensorrt_may_use(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], override: str | None, precision: str
) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    if override is not None:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    assert onnxruntime_options.precision_in_use(_Said(TENSORRT, **options), TENSORRT, Options()) == precision
