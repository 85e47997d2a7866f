"""The runtimes without the harness, as ``onnx.backend.test`` calls them: what our layer is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.onnxruntime_ import OnnxRuntimeBackend
from backends.openvino_ import OpenVinoBackend
from harness.testing.onnx_backend import adapter, as_array

SessionOnnxRuntime = adapter(OnnxRuntimeBackend)
SessionOpenVino = adapter(OpenVinoBackend)


class BareOnnxRuntime:
    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> BareOnnxRuntime:
        import onnxruntime

        prepared = cls()
        prepared.session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return prepared

    session: Any

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:
        names = [value.name for value in self.session.get_inputs()]
        return list(self.session.run(None, dict(zip(names, map(as_array, inputs), strict=False))))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


class BareOpenVino:
    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> BareOpenVino:
        import openvino

        prepared = cls()
        core = openvino.Core()
        read = core.read_model(model.SerializeToString())
        prepared.request = core.compile_model(
            read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        ).create_infer_request()
        return prepared

    request: Any

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:
        return list(self.request.infer(dict(enumerate(map(as_array, inputs)))).to_tuple())

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"
