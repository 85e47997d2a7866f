"""Train a segmenter of scenes of digits, and write ``model.onnx``.

    pip install -e '.[host]'
    python models/scenes/train.py

A few minutes. A network of three layers learns the class of the middle pixel of patches of 15×15; as
convolutions it runs on whole scenes. The weights are seeded; another scikit-learn or CPU may differ in the
last bits, so the file in the repository is the one that counts. No choice was made on the test scenes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier

from harness.data.scenes import IGNORED, NAMES, SIDE, scenes, scenes_of
from harness.data.shipped import bundled_training_and_test

FILE = Path(__file__).with_name("model.onnx")
SEED = 20261128
PATCH, HIDDEN = 15, (48, 32)
#: Scenes that training digits are placed in, again and again, and pixels of the ground for one of a digit.
ROUNDS, GROUND_SHARE = 16, 0.5


def patches(
    images: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Give the patch around each pixel of a digit, and around some of the ground, and their classes."""
    random = np.random.Generator(np.random.PCG64(SEED))
    padded = np.pad(images[..., 0] / 255, ((0, 0), (PATCH // 2,) * 2, (PATCH // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), axis=(1, 2))
    digits = (masks > 0) & (masks != IGNORED)
    ground = (masks == 0) & (random.random(masks.shape) < GROUND_SHARE * digits.mean() / (masks == 0).mean())
    chosen = digits | ground
    return windows[chosen].reshape(-1, PATCH * PATCH).astype(np.float32), masks[chosen]


def to_onnx(network: MLPClassifier) -> onnx.ModelProto:
    """Give the network as convolutions: (batch, 1, 32, 32) to scores of (batch, 11, 32, 32)."""
    nodes, stored, name = [], [], "image"
    for layer, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        side = PATCH if layer == 0 else 1
        kernel = weights.T.reshape(weights.shape[1], -1, side, side).astype(np.float32)
        stored += [numpy_helper.from_array(kernel, f"w{layer}")]
        stored += [numpy_helper.from_array(bias.astype(np.float32), f"b{layer}")]
        last = layer == len(network.coefs_) - 1
        out = "scores" if last else f"conv{layer}"
        pads = [side // 2] * 4
        nodes.append(
            helper.make_node("Conv", [name, f"w{layer}", f"b{layer}"], [out], f"conv{layer}", pads=pads)
        )
        name = out
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"relu{layer}"], f"relu{layer}"))
            name = f"relu{layer}"
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(NAMES), SIDE, SIDE])]
    graph = helper.make_graph(nodes, "scenes", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Train, write the file and print its figures."""
    (digits, labels), _ = bundled_training_and_test()
    made = [scenes_of(digits, labels, seed=SEED + round_) for round_ in range(1, 1 + ROUNDS)]
    x, y = patches(
        np.concatenate([one.inputs["image"] for one in made]), np.concatenate([one.labels for one in made])
    )
    network = MLPClassifier(HIDDEN, alpha=1e-3, batch_size=256, max_iter=12, random_state=SEED, verbose=True)
    network.fit(x, y)
    model = to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FILE)
    content = FILE.read_bytes()
    print(f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    test = scenes().test
    session = onnxruntime.InferenceSession(content)
    x = (test.inputs["image"].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    predicted = session.run(None, {"image": x})[0].argmax(axis=1)
    counted = test.labels != IGNORED
    shares = [
        ((predicted == c) & (test.labels == c)).sum()
        / (((predicted == c) | (test.labels == c)) & counted).sum()
        for c in range(len(NAMES))
    ]
    print("IoU:", {name: round(float(share), 4) for name, share in zip(NAMES, shares, strict=True)})
    print("mean IoU:", np.mean(shares), "pixels:", (predicted == test.labels)[counted].mean())


if __name__ == "__main__":
    main()
