"""Write ``int8_static.onnx``: the detector by ONNX Runtime's ``quantize_static`` with its defaults.

    pip install -e '.[host]'
    python models/detector/quantize_static.py

It detects nothing: boxes of up to 576 pixels and scores of up to 1 share one scale in the last Concat.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from harness.data.strips import strips

FOLDER = Path(__file__).parent
MODEL, FILE = FOLDER / "model.onnx", FOLDER / "int8_static.onnx"
SAMPLES = 50


class Reader(CalibrationDataReader):  # type: ignore[misc] # it has no types
    """Feeds calibration strips one by one."""

    def __init__(self) -> None:
        images = strips().calibration.inputs["image"][:SAMPLES]
        self._images = iter(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next feed, None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


def main() -> None:
    """Quantize, and print the hash of the file."""
    quantize_static(MODEL, FILE, Reader(), quant_format=QuantFormat.QDQ)
    print(f"bytes   {FILE.stat().st_size}")
    print(f"sha256  {hashlib.sha256(FILE.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
