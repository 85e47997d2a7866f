"""The conformance kit on our own backends."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends.onnxruntime_ import CPU, OnnxRuntimeBackend, OnnxRuntimeDeviceSession
from backends.openvino_ import OpenVinoBackend
from backends.tflite_ import TfliteBackend
from backends.tflm_ import TflmBackend
from harness.compression.export import export_tflite
from harness.core.artifact import Artifact
from harness.core.contracts import Availability, Session
from harness.core.job import Options
from harness.testing.conformance import BackendConformance
from harness.testing.models import write_artifact


class TestOnnxRuntime(BackendConformance):
    backend = OnnxRuntimeBackend


class _GpuSessionInHostMemory(OnnxRuntimeBackend):
    """Everything of ONNX Runtime's that a session on a GPU calls, but for the memory."""

    def probe(self) -> Availability:
        return replace(super().probe(), device_memory=(CPU,))

    def open(self, artifact: Artifact, options: Options) -> Session:
        session = super().open(artifact, options)
        session.__class__ = type("InHostMemory", (OnnxRuntimeDeviceSession,), {"memory": "cpu"})
        session.effective = {**session.effective, "device_id": "0"}  # type: ignore[misc]
        return session


class TestOnnxRuntimeOnADevice(BackendConformance):
    backend = _GpuSessionInHostMemory


class TestOpenVino(BackendConformance):
    backend = OpenVinoBackend


class _FromTflite(BackendConformance):
    def artifact_for(self, model: Any, folder: Path) -> Artifact:
        export = export_tflite(model, name="known")
        return write_artifact(
            export.data,
            folder,
            "model.tflite",
            input_permutation=export.input_permutation,
            output_permutation=export.output_permutation,
        )


class TestTflite(_FromTflite):
    backend = TfliteBackend


class TestTfliteBuiltinKernels(_FromTflite):
    backend = TfliteBackend
    options = Options(threads=1, precision="f32", provider="builtin")
    expected_failures: ClassVar = {
        "test_infinity_is_not_hidden": "FULLY_CONNECTED without an activation clamps to the finite float32"
    }


class TestTfliteReferenceKernels(_FromTflite):
    backend = TfliteBackend
    options = Options(threads=1, precision="f32", provider="reference")
    expected_failures: ClassVar = {
        "test_infinity_is_not_hidden": "FULLY_CONNECTED without an activation clamps to the finite float32"
    }


class TestOpenVinoOnTflite(_FromTflite):
    backend = OpenVinoBackend


NO_WHEEL = TflmBackend().probe().reason


@pytest.mark.skipif(bool(NO_WHEEL) and platform.machine() != "x86_64", reason=f"tflite-micro: {NO_WHEEL}")
class TestTflm(_FromTflite):
    backend = TflmBackend
    expected_failures: ClassVar = {
        "test_infinity_is_not_hidden": "FULLY_CONNECTED without an activation clamps to the finite float32"
    }
