"""The runtimes without the harness, for ``onnx.backend.test``: our layer is compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from harness.testing.onnx_backend import as_array


class BareOnnxRuntime:
    """``onnxruntime.InferenceSession`` on the CPU."""

    _session: Any

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> Self:  # noqa: ANN401 - onnx's own
        """Open a ``ModelProto``."""
        import onnxruntime

        prepared = cls()
        prepared._session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return prepared

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:  # noqa: ANN401 - onnx's own
        """Feed by position and return by position."""
        names = (value.name for value in self._session.get_inputs())
        return list(self._session.run(None, dict(zip(names, map(as_array, inputs), strict=False))))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device == "CPU"


class BareOpenVino:
    """A compiled model's request on the CPU, in float32."""

    _request: Any
    _count: int

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> Self:  # noqa: ANN401 - onnx's own
        """Compile a ``ModelProto``."""
        import openvino

        core, prepared = openvino.Core(), cls()
        read = core.read_model(model.SerializeToString())
        compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        prepared._request, prepared._count = compiled.create_infer_request(), len(compiled.inputs)
        return prepared

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:  # noqa: ANN401 - onnx's own
        """Feed by position and return by position."""
        # Inputs that have no effect are dropped when the model is read.
        feeds = dict(enumerate(map(as_array, inputs[: self._count])))
        return list(self._request.infer(feeds).to_tuple())

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device == "CPU"
