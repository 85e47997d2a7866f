"""The runtimes without the harness, for ``onnx.backend.test``: our layer is compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from harness.core.job import Options
from harness.device.bare import OnnxRuntime, OpenVino
from harness.testing.onnx_backend import as_array


class _Bare:
    """A runtime, fed and read by position; only the CPU."""

    kind: type[OnnxRuntime | OpenVino]
    _model: OnnxRuntime | OpenVino

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> Self:  # noqa: ANN401 - onnx's own
        """Open a ``ModelProto``, in float32."""
        prepared = cls()
        prepared._model = cls.kind.open(model.SerializeToString(), Options(precision="f32"))
        return prepared

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:  # noqa: ANN401 - onnx's own
        """Run; OpenVINO drops inputs that have no effect when it reads the model."""
        return self._model.run(dict(zip(self._model.names, map(as_array, inputs), strict=False)))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device == "CPU"


class BareOnnxRuntime(_Bare):
    """``onnxruntime.InferenceSession``."""

    kind = OnnxRuntime


class BareOpenVino(_Bare):
    """A compiled model's request of OpenVINO."""

    kind = OpenVino
