"""Train a recurrent network that reads digits row by row, and write the model and two tables of rows.

    pip install -e '.[host]'
    python models/rows/train.py

NumPy alone, about half a minute. The weights are seeded; another NumPy or CPU may still differ in the last
bits, so the files in the repository are those that count. No choice here was made on the test images.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

from harness.data.datasets import stratified_order

FOLDER = Path(__file__).parent
SEED = 20261127
N_TEST, N_CALIBRATION = 200, 60
ROWS, COLUMNS, STATE, CLASSES = 8, 8, 32, 10
EPOCHS, BATCH, RATE, DECAY = 120, 64, 3e-3, 1e-4
#: Pixels are 0 to 16; the weights of the file take them as they are.
WHITE = 16.0
#: The answer after each row counts in training, the later ones more.
WEIGHT = np.arange(1, ROWS + 1) / ROWS

Floats = NDArray[np.float64]
Weights = dict[str, Floats]


def start(random: np.random.Generator) -> Weights:
    """Give the first weights: the state of the row before is mostly kept."""
    return {
        "w": random.normal(0, 1 / np.sqrt(COLUMNS), (COLUMNS, STATE)),
        "u": 0.5 * np.eye(STATE) + random.normal(0, 0.3 / np.sqrt(STATE), (STATE, STATE)),
        "b": np.zeros(STATE),
        "v": random.normal(0, 1 / np.sqrt(STATE), (STATE, CLASSES)),
        "c": np.zeros(CLASSES),
    }


def gradients(weights: Weights, x: Floats, labels: NDArray[np.int64]) -> tuple[float, Weights]:
    """Give the loss of images, shape (n, rows, columns), and its gradients through all rows."""
    states, scores = [np.zeros((len(x), STATE))], []
    for row in range(ROWS):
        states.append(np.tanh(x[:, row] @ weights["w"] + states[-1] @ weights["u"] + weights["b"]))
        scores.append(states[-1] @ weights["v"] + weights["c"])
    total, sums = 0.0, {name: np.zeros_like(value) for name, value in weights.items()}
    back = np.zeros_like(states[0])
    for row in reversed(range(ROWS)):
        shifted = scores[row] - scores[row].max(axis=1, keepdims=True)
        probable = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        total -= WEIGHT[row] * np.log(probable[np.arange(len(x)), labels]).mean()
        probable[np.arange(len(x)), labels] -= 1
        error = WEIGHT[row] * probable / len(x)
        sums["v"] += states[row + 1].T @ error
        sums["c"] += error.sum(axis=0)
        inner = (error @ weights["v"].T + back) * (1 - states[row + 1] ** 2)
        sums["w"] += x[:, row].T @ inner
        sums["u"] += states[row].T @ inner
        sums["b"] += inner.sum(axis=0)
        back = inner @ weights["u"].T
    return total, sums


def train(x: Floats, labels: NDArray[np.int64]) -> Weights:
    """Train with Adam; D. Kingma and J. Ba, "Adam", ICLR 2015."""
    random = np.random.default_rng(SEED)
    weights = start(random)
    mean, square = ({name: np.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    steps = EPOCHS * (len(x) // BATCH)
    for step in range(steps):
        chosen = random.integers(0, len(x), BATCH)
        noisy = x[chosen] + random.normal(0, 0.05, (BATCH, ROWS, COLUMNS))
        loss, sums = gradients(weights, noisy, labels[chosen])
        for name in weights:
            mean[name] += 0.1 * (sums[name] - mean[name])
            square[name] += 0.001 * (sums[name] ** 2 - square[name])
            unbiased = mean[name] / (1 - 0.9 ** (step + 1)), square[name] / (1 - 0.999 ** (step + 1))
            move = unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
            weights[name] -= RATE * (1 - step / steps) * (move + DECAY * weights[name])
        if step % 500 == 0:
            print(f"step {step:5d} of {steps}  loss {loss:.3f}")
    return weights


def graph(weights: Weights) -> onnx.ModelProto:
    """Give one step: a row of pixels and the state before it, to scores and the state after it."""
    # Two Gemm, each with a bias: a MatMul before an Add is fused into one with a bias that is not constant,
    # which TFLite cannot hold.
    stored = {**weights, "w": weights["w"] / WHITE, "zero": np.zeros(STATE)}
    nodes = [
        helper.make_node("Gemm", ["pixels", "w", "b"], ["of_pixels"]),
        helper.make_node("Gemm", ["state", "u", "zero"], ["of_state"]),
        helper.make_node("Add", ["of_pixels", "of_state"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_state"]),
        helper.make_node("Gemm", ["next_state", "v", "c"], ["scores"]),
    ]
    shapes = {"pixels": COLUMNS, "state": STATE, "scores": CLASSES, "next_state": STATE}
    specs = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in shapes.items()
    }
    made = helper.make_graph(
        nodes, "rows", [specs["pixels"], specs["state"]], [specs["scores"], specs["next_state"]],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_table(path: Path, numbers: NDArray[np.int64]) -> None:
    """Write the rows of images: the image and the row that they are of, their pixels, the digit."""
    data = load_digits()
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "row", *(f"pixel{i}" for i in range(COLUMNS)), "digit"])
        for number in numbers.tolist():
            for row in range(ROWS):
                pixels = data.images[number, row].astype(int).tolist()
                writer.writerow([number, row, *pixels, data.target[number]])


def answers(images: Floats, *, carried: bool) -> NDArray[np.int64]:
    """Run the file row by row with ONNX Runtime; gives the digit after each row, shape (n, rows)."""
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    zeros = np.zeros((len(images), STATE), np.float32)
    state, digits = zeros, []
    for row in range(ROWS):
        feeds = {"pixels": images[:, row].astype(np.float32), "state": state if carried else zeros}
        scores, state = session.run(["scores", "next_state"], feeds)
        digits.append(scores.argmax(axis=1))
    return np.stack(digits, axis=1)


def main() -> None:
    """Train, write the files, and print what the README says."""
    data = load_digits()
    order = stratified_order(data.target, np.arange(len(data.target)), seed=SEED)
    test, training = np.sort(order[:N_TEST]), order[N_TEST:]
    onnx.save(graph(train(data.images[training] / WHITE, data.target[training])), FOLDER / "model.onnx")
    write_table(FOLDER / "test.csv", test)
    write_table(FOLDER / "calibration.csv", training[:N_CALIBRATION])
    print(f"sha256  {hashlib.sha256((FOLDER / 'model.onnx').read_bytes()).hexdigest()}")
    for carried in (True, False):
        right = answers(data.images[test], carried=carried) == data.target[test][:, None]
        by_row = " ".join(f"{100 * share:.1f}" for share in right.mean(axis=0))
        print(f"state carried: {carried}  all rows {100 * right.mean():.2f} %  by row {by_row}")


if __name__ == "__main__":
    main()
