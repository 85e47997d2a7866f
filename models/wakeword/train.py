"""Train the bundled wake word on streams of tones, and write ``model.onnx`` and ``int8_static.onnx``.

    pip install -e '.[host]'
    python models/wakeword/train.py

A minute or two. A filter bank of fixed tones is the first convolution; a network of two layers learned the
rest. The weights are seeded; another scikit-learn or CPU may differ in the last bits, so the files in the
repository are the ones that count. No choice was made on the test streams.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from sklearn.neural_network import MLPClassifier

from harness.data.tones import RATE_HZ, WINDOW, streams, tones, windows

FOLDER = Path(__file__).parent
FILE, STATIC = FOLDER / "model.onnx", FOLDER / "int8_static.onnx"
SEED, STREAMS, HIDDEN = 20261128, 900, 24
#: Tones of the filter bank, samples of a filter, and from one place to the next.
TONES_HZ, LENGTH, STRIDE = (300, 500, 650, 800, 1000, 1400), 160, 80
#: Windows that ONNX Runtime's quantizer is calibrated with.
SAMPLES = 200


def filters() -> NDArray[np.float32]:
    """Four filters a tone: a sine, a cosine and their negatives, so that ReLUs keep all of their energy."""
    time_s = (np.arange(LENGTH) - LENGTH / 2) / RATE_HZ
    window = np.hanning(LENGTH) / LENGTH * 4
    waves = [window * f(2 * np.pi * hz * time_s) for hz in TONES_HZ for f in (np.sin, np.cos)]
    return np.array([sign * wave for wave in waves for sign in (1, -1)], np.float32)


def energies(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give what the first convolution and its ReLU return: (n, filters, places), flat."""
    places = np.lib.stride_tricks.sliding_window_view(audio, LENGTH, axis=1)[:, ::STRIDE]
    return np.maximum(places @ filters().T, 0).swapaxes(1, 2).reshape(len(audio), -1).astype(np.float32)


def to_onnx(network: MLPClassifier, scale: float) -> onnx.ModelProto:
    """Give the network as an ONNX file: (batch, 1, 1, 2000) to two logits."""
    (first, second), (bias, last) = network.coefs_, network.intercepts_
    stored = {
        "filters": filters()[:, None, None], "w0": first.T * scale, "b0": bias,
        "w1": np.concatenate([np.zeros_like(second), second], axis=1).T, "b1": np.array([0.0, last[0]]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["audio", "filters"], ["waves"], "filter_bank", strides=[1, STRIDE]),
        helper.make_node("Relu", ["waves"], ["energies"], "energies"),
        helper.make_node("Flatten", ["energies"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "w0", "b0"], ["dense"], "dense", transB=1),
        helper.make_node("Relu", ["dense"], ["hidden"], "hidden"),
        helper.make_node("Gemm", ["hidden", "w1", "b1"], ["logits"], "classes", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "wakeword",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 1, 1, WINDOW])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in stored.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Reader(CalibrationDataReader):  # type: ignore[misc] # it has no types
    """Feeds calibration windows one by one."""

    def __init__(self) -> None:
        self._windows = iter(tones().calibration.inputs["audio"][:SAMPLES, None, None, None])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next feed, None after the last."""
        window = next(self._windows, None)
        return None if window is None else {"audio": window}


def main() -> None:
    """Train, write the files and print their figures."""
    training = windows(streams(STREAMS, seed=SEED))
    assert training.labels is not None
    x = energies(training.inputs["audio"])
    scale = float(1 / x.std())
    network = MLPClassifier(
        (HIDDEN,), alpha=1e-3, batch_size=128, max_iter=25, random_state=SEED, learning_rate_init=2e-3
    )
    network.fit(x * scale, training.labels)
    onnx.save(to_onnx(network, scale), FILE)
    onnx.checker.check_model(FILE, full_check=True)
    quantize_static(FILE, STATIC, Reader(), quant_format=QuantFormat.QDQ)
    test = tones().test
    right = network.predict(energies(test.inputs["audio"]) * scale) == test.labels
    print(f"right windows: {right.mean():.4f}, of wake words {right[test.labels == 1].mean():.4f}")
    for file in (FILE, STATIC):
        print(f"{file.name}  {file.stat().st_size:,} bytes  {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
