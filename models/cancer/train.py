"""Train a small network on scikit-learn's breast cancer data, and write the model and two tables of samples.

    pip install -e '.[host]'
    python models/cancer/train.py

A few seconds. The weights are seeded; another scikit-learn or CPU may still differ in the last bits, so the
files in the repository are those that count. No choice here was made on the test samples.
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
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier

from harness.data.datasets import stratified_order

FOLDER = Path(__file__).parent
SEED = 20261127
N_TEST, N_CALIBRATION = 369, 100
HIDDEN = 16
SITES = "ABCD"


def sites(x: NDArray[np.float64], names: list[str]) -> NDArray[np.str_]:
    """Stand in for hospitals, which the data do not tell: quarters by mean texture.

    Nothing but this one feature is looked at. As at real sites, the inputs differ from site to site, and so
    does the share of malignant tumours, since texture is related to it.
    """
    texture = x[:, names.index("mean texture")]
    quarter = np.searchsorted(np.quantile(texture, [0.25, 0.5, 0.75]), texture)
    return np.array(list(SITES))[quarter]


def write_table(path: Path, rows: NDArray[np.int64]) -> None:
    """Write samples with their diagnosis, site and record: the position in scikit-learn's file."""
    data = load_breast_cancer()
    names = data.feature_names.tolist()
    site, diagnosis = sites(data.data, names), data.target_names[data.target]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["diagnosis", "site", "record", *(name.replace(" ", "_") for name in names)])
        for row in rows.tolist():
            values = [np.format_float_positional(v, trim="-") for v in data.data[row].astype(np.float32)]
            writer.writerow([diagnosis[row], site[row], row, *values])


def graph(network: MLPClassifier) -> onnx.ModelProto:
    """Give the network with one logit a class: scikit-learn has one for both."""
    (first, second), (bias, last) = network.coefs_, network.intercepts_
    # Logits ±z/2 have the softmax that a sigmoid of z has. scikit-learn's class 0 is malignant; here classes
    # are in the order of their names: benign, malignant.
    weights = {
        "w1": first, "b1": bias,
        "w2": np.hstack([second, -second]) / 2, "b2": np.concatenate([last, -last]) / 2,
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["features", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
    ]
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    made = helper.make_graph(
        nodes, "cancer",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 30])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        stored,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Train, write the files, and print what the README says."""
    data = load_breast_cancer()
    x, malignant = data.data.astype(np.float32), 1 - data.target
    order = stratified_order(malignant, np.arange(len(x)), seed=SEED)
    test, training = np.sort(order[:N_TEST]), order[N_TEST:]
    mean, std = (np.array([float(f"{v:.4g}") for v in f(x[training], axis=0)]) for f in (np.mean, np.std))
    network = MLPClassifier((HIDDEN,), alpha=1.0, max_iter=2000, random_state=SEED)
    network.fit((x[training] - mean) / std, data.target[training])
    onnx.save(graph(network), FOLDER / "model.onnx")
    write_table(FOLDER / "test.csv", test)
    write_table(FOLDER / "calibration.csv", training[:N_CALIBRATION])

    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    scaled = ((x[test] - mean.astype(np.float32)) / std.astype(np.float32)).astype(np.float32)
    (logits,) = session.run(None, {"features": scaled})
    right = logits.argmax(1) == malignant[test]
    print(f"mean = [{', '.join(f'{v:g}' for v in mean)}]")
    print(f"std = [{', '.join(f'{v:g}' for v in std)}]")
    print(f"sha256  {hashlib.sha256((FOLDER / 'model.onnx').read_bytes()).hexdigest()}")
    print(f"test    {right.sum()}/{len(test)} = {right.mean():.4f}")
    of_site = sites(data.data, data.feature_names.tolist())[test]
    for site in SITES:
        print(f"site {site}  {right[of_site == site].mean():.4f} of {(of_site == site).sum()}")


if __name__ == "__main__":
    main()
