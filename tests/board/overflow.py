"""Models planted with an integer overflow that only some CPUs have (facts of kernels, not of this project).

Both are one matrix product on ten classes. A sample of class k is a block of equal inputs; the right class
gets the largest sum, unless the kernel's 16-bit lanes saturate or wrap.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES, SAMPLES = 10, 200
VALIDATION = """
schema = 1
[model]
name = "{name}"
file = "float.onnx"
[data]
path = "data.npz"
split = "none"
[variants.int8]
files = {{ onnx = "int8.onnx" }}
[suites.accuracy]
[[gate]]
name = "int8 accuracy"
suite = "accuracy"
metric = "accuracy_loss"
variant = "int8"
case = "clean"
reference = "float32@host"
max = "5 pt"
"""


def saturates(folder: Path) -> Path:
    """u8×s8: AVX2 without VNNI adds two products in 16 saturating bits.

    The right class: eight weights 127 and four of -64, with inputs of 255: 8·127 - 4·64 = 760 against 12·50 =
    600 of its neighbour. Pairs of 127·255 saturate at 32767: (4·32767 / 255) - 4·64 = 258 < 600.
    """
    block = [127] * 8 + [-64] * 4
    weights = np.zeros((12 * CLASSES, CLASSES), np.int8)
    inputs = np.zeros((CLASSES, 12 * CLASSES), np.float32)
    for k in range(CLASSES):
        rows = slice(12 * k, 12 * k + 12)
        weights[rows, k], weights[rows, (k + 1) % CLASSES] = block, 50
        inputs[k, rows] = 1.0
    return _write(folder, "saturates", weights, inputs, np.uint8, 1 / 255, 800 / 255)


def wraps(folder: Path) -> Path:
    """s8×s8: ARM without dotprod adds two products eight places apart in 16 wrapping bits.

    (-128)·(-128) twice is 32768, which is -32768 in 16 bits: the right class gets the smallest sum.
    """
    weights = np.zeros((16 * CLASSES, CLASSES), np.int8)
    inputs = np.zeros((CLASSES, 16 * CLASSES), np.float32)
    for k in range(CLASSES):
        weights[16 * k : 16 * k + 16, k] = -128
        inputs[k, 16 * k : 16 * k + 16] = -1.0
    return _write(folder, "wraps", weights, inputs, np.int8, 1 / 128, 2100 / 127)


def _write(
    folder: Path, name: str, weights: NDArray[np.int8], rows: NDArray[np.float32], dtype: type,
    x_scale: float, y_scale: float,
) -> Path:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    size = weights.shape[0]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])

    def save(file: str, nodes: list[onnx.NodeProto], **constants: NDArray[np.generic]) -> None:
        stored = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
        graph = helper.make_graph(nodes, name, [x], [y], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, folder / file)

    save("float.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], w=weights.astype(np.float32))
    zero = np.zeros((), dtype)
    save(
        "int8.onnx",
        [
            helper.make_node("QuantizeLinear", ["x", "xs", "z"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "xs", "z"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
            helper.make_node("MatMul", ["xd", "wd"], ["m"]),
            helper.make_node("QuantizeLinear", ["m", "ys", "z"], ["mq"]),
            helper.make_node("DequantizeLinear", ["mq", "ys", "z"], ["y"]),
        ],
        w=weights, xs=np.float32(x_scale), ws=np.float32(1.0), ys=np.float32(y_scale), z=zero, wz=np.int8(0),
    )  # fmt: skip
    labels = np.arange(SAMPLES) % CLASSES
    np.savez(folder / "data.npz", x=rows[labels], labels=labels)
    (folder / "validation.toml").write_text(VALIDATION.format(name=name))
    return folder
