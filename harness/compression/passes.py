"""The interface of a compression pass: a model and calibration data in, a model and a report out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from harness.compression.export import TfliteExport

Feeds = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, slots=True)
class PassResult:
    """The result of a pass.

    Parameters
    ----------
    model : onnx.ModelProto
        A new model; the given one is not changed.
    report : mapping
        Facts as JSON: bytes, counts, scales.
    tflite : TfliteExport, optional
        The file, if the pass writes it itself. Then ``model`` is only the model it was made from, there is no
        ONNX artifact, and the pass must be the last of its recipe.
    """

    model: onnx.ModelProto
    report: Mapping[str, Any]
    tflite: TfliteExport | None = None


class Pass(Protocol):
    """A plug-in of the group ``harness.passes``."""

    def __call__(
        self, model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]
    ) -> PassResult:
        """Compress ``model``; ``calibration`` is read once, one feed at a time."""
        ...
