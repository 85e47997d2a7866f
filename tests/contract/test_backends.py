"""The conformance kit on our own backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from backends.onnxruntime_ import OnnxRuntimeBackend
from backends.openvino_ import OpenVinoBackend
from backends.tflite_ import TfliteBackend
from harness.compression.export import export_tflite
from harness.core.artifact import Artifact
from harness.core.job import Options
from harness.testing.conformance import BackendConformance
from harness.testing.models import write_artifact


class TestOnnxRuntime(BackendConformance):
    backend = OnnxRuntimeBackend


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


class TestTfliteReferenceKernels(_FromTflite):
    backend = TfliteBackend
    options = Options(threads=1, precision="f32", provider="reference")
    expected_failures: ClassVar = {
        "test_infinity_is_not_hidden": "FULLY_CONNECTED without an activation clamps to the finite float32"
    }


class TestOpenVinoOnTflite(_FromTflite):
    backend = OpenVinoBackend
