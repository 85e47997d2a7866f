"""What every compression pass is: an ONNX model and calibration data in, an ONNX model and a report out."""

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
    """What a pass made.

    Parameters
    ----------
    model : onnx.ModelProto
        A new model; the one that was given is left as it was.
    report : mapping
        Plain facts that JSON can hold: bytes, counts, scales.
    tflite : TfliteExport, optional
        The file, where the pass writes it itself. Then ``model`` is only what it was made from, no runtime of
        ONNX files gets it, and the pass is the last of its recipe.
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
