"""Weights stored in fewer bits than they are computed in.

When ONNX Runtime and OpenVINO load a model, they fold all operators on constants except ``DequantizeLinear``.
So a model whose weights are unpacked by Cast, Gather and Mul is small on disk and as fast as a dense one.
ONNX Runtime unpacks the same weights behind an int4 or int8 ``DequantizeLinear`` at every inference
(digits: 1,214 µs and 930 µs instead of 375 µs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from harness.compression.canonical import Array, open_session, sort_fields
from harness.compression.zipped import gzip_bytes
from harness.core.errors import ModelError

_PACKED_OPSET = 21  # the first with 4-bit integers in Cast
_PACKED_IR_VERSION = 10
# Folding these would undo the quantization.
_NOT_FOLDED = frozenset({"QuantizeLinear", "DequantizeLinear"})
_INDEX_TYPES = ((16, TensorProto.UINT4), (1 << 8, TensorProto.UINT8), (1 << 16, TensorProto.UINT16))

_GROUPS = ((2, 4), (4, 2))  # (size of the codebook at most, weights that share an index of four bits)


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed weight: constants, and the nodes that compute the weight from them."""

    constants: tuple[onnx.TensorProto, ...]
    nodes: tuple[onnx.NodeProto, ...]

    @property
    def byte_size(self) -> int:
        """Size in the file."""
        return sum(part.ByteSize() for part in (*self.constants, *self.nodes))


def from_codebook(name: str, codebook: Array, indices: Array, shared_as: str = "") -> Packed:
    """Store a weight as ``codebook[indices]``.

    Parameters
    ----------
    name : str
        Name of the weight.
    codebook : ndarray, shape (k,), float32
    indices : ndarray of the weight's shape, integers in 0..k-1
        Packed into 1, 2, 4, 8, 16 or 32 bits, the fewest that fit k.
    shared_as : str
        Name of the codebook if several weights share one.
    """
    packed, unpacked = f"{name}/indices", f"{name}/positions"
    book = shared_as or f"{name}/codebook"
    shape, group = indices.shape, next((g for limit, g in _GROUPS if len(codebook) <= limit), 1)
    if group > 1:
        # ONNX has no integers of fewer than four bits: one index stands for two or four weights.
        base = len(codebook) ** np.arange(group)[::-1]
        flat = np.pad(indices.reshape(-1), (0, -indices.size % group)).reshape(-1, group)
        indices, book = flat @ base, f"{book}/by{group}"
        codebook = codebook[np.arange(len(codebook) ** group)[:, None] // base % len(codebook)]
    kind = next((t for limit, t in _INDEX_TYPES if len(codebook) <= limit), TensorProto.INT32)
    constants = [_integers(packed, kind, indices), numpy_helper.from_array(codebook, book)]
    gathered = f"{name}/groups" if group > 1 else name
    nodes = [
        helper.make_node("Cast", [packed], [unpacked], f"{name}/Cast", to=TensorProto.INT32),
        helper.make_node("Gather", [book, unpacked], [gathered], f"{name}/Gather", axis=0),
    ]
    if group > 1:
        operators = [("Reshape", {"flat": [-1]}), ("Reshape", {"shape": shape})]
        if int(np.prod(shape)) % group:
            operators.insert(1, ("Slice", {"start": [0], "end": [int(np.prod(shape))]}))
        for count, (op, inputs) in enumerate(operators, 1):
            names = [f"{name}/{label}" for label in inputs]
            constants += [
                numpy_helper.from_array(np.array(value, np.int64), label)
                for label, value in zip(names, inputs.values(), strict=True)
            ]
            output = name if count == len(operators) else f"{name}/{op}{count}/out"
            nodes.append(helper.make_node(op, [gathered, *names], [output], f"{name}/{op}{count}"))
            gathered = output
    return Packed(tuple(constants), tuple(nodes))


def from_blocks(
    name: str, integers: Array, scales: Array, shape: Sequence[int], axis: int, bits: int
) -> Packed:
    """Store a weight as integers with one scale per block of a filter.

    Parameters
    ----------
    name : str
        Name of the weight.
    integers : ndarray, shape (filters, blocks, block)
        Values of the filters, padded with zeros to whole blocks.
    scales : ndarray, shape (filters, blocks, 1), float32
    shape : sequence of int
        Shape of the weight.
    axis : int
        Axis of the filters in that shape.
    bits : int
        4 or 8.
    """
    kind = TensorProto.INT4 if bits == 4 else TensorProto.INT8
    constants = [
        _integers(f"{name}/integers", kind, integers),
        numpy_helper.from_array(scales, f"{name}/scales"),
    ]
    nodes: list[onnx.NodeProto] = []
    last = f"{name}/integers"

    def append(op: str, more: Sequence[tuple[str, Sequence[int]]] = (), **attributes: object) -> None:
        nonlocal last
        for label, value in more:
            constants.append(numpy_helper.from_array(np.array(value, np.int64), f"{name}/{label}"))
        names = [f"{name}/scales"] if op == "Mul" else [f"{name}/{label}" for label, _ in more]
        step = f"{name}/{op}{len(nodes)}"
        nodes.append(helper.make_node(op, [last, *names], [f"{step}/out"], step, **attributes))
        last = f"{step}/out"

    append("Cast", to=TensorProto.FLOAT)
    append("Mul")
    moved = (shape[axis], *(extent for position, extent in enumerate(shape) if position != axis))
    length = int(np.prod(moved[1:]))
    if integers[0].size != length:
        append("Reshape", [("filters", (shape[axis], integers[0].size))])
        append("Slice", [("starts", (0,)), ("ends", (length,)), ("axes", (1,))])
    append("Reshape", [("shape", moved)])
    if axis:
        order = [*range(1, axis + 1), 0, *range(axis + 1, len(shape))]
        append("Transpose", perm=order)
    nodes[-1].output[0] = name
    return Packed(tuple(constants), tuple(nodes))


def from_half(name: str, values: Array) -> Packed:
    """Store a weight in float16."""
    cast = helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/Cast", to=TensorProto.FLOAT)
    return Packed((numpy_helper.from_array(values.astype(np.float16), f"{name}/half"),), (cast,))


def _integers(name: str, kind: int, values: Array) -> onnx.TensorProto:
    flat = values.reshape(-1)
    if kind in (TensorProto.UINT4, TensorProto.INT4):  # two per byte, the first in the low half
        pairs = np.append(flat, np.zeros(flat.size % 2, flat.dtype)).astype(np.uint8).reshape(-1, 2) & 15
        data = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8)
    else:
        data = flat.astype(helper.tensor_dtype_to_np_dtype(kind))
    return helper.make_tensor(name, kind, values.shape, data.tobytes(), raw=True)


def store(model: onnx.ModelProto, weights: Mapping[str, Packed | Array]) -> onnx.ModelProto:
    """Return a copy of a model with the given weights, packed or dense (float32)."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    packed = [weight for weight in weights.values() if isinstance(weight, Packed)]
    if packed:
        result = lift(result)
    unchanged = [tensor for tensor in result.graph.initializer if tensor.name not in weights]
    new = {tensor.name: tensor for weight in packed for tensor in weight.constants}
    dense = [
        numpy_helper.from_array(weight, name)
        for name, weight in weights.items()
        if not isinstance(weight, Packed)
    ]
    del result.graph.initializer[:]
    result.graph.initializer.extend([*unchanged, *dense, *new.values()])
    nodes = [*(node for weight in packed for node in weight.nodes), *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    sort_fields(result)
    return result


def lift(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a model to an opset with 4-bit and 16-bit integers."""
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) >= _PACKED_OPSET:
        return model
    try:
        result = version_converter.convert_version(model, _PACKED_OPSET)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ModelError(
            f"the model cannot be converted to opset {_PACKED_OPSET}, which packed weights need: {error}",
            where=f"graph {model.graph.name!r}",
            cause="the ONNX version converter has no rule for one of its operators",
            next_step=f"export the model again with opset {_PACKED_OPSET} or later",
        ) from error
    result.ir_version = max(result.ir_version, _PACKED_IR_VERSION)
    return result


def expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its weights unpacked, as a runtime folds them; unchanged if none is packed."""
    constants = {tensor.name for tensor in model.graph.initializer}
    folded: list[onnx.NodeProto] = []
    others: list[onnx.NodeProto] = []
    for node in model.graph.node:
        fold = (
            bool(node.input)
            and node.op_type not in _NOT_FOLDED
            and all(not n or n in constants for n in node.input)
        )
        (folded if fold else others).append(node)
        constants.update(node.output if fold else ())
    if not folded:
        return model
    computed = {name for node in folded for name in node.output}
    used = {name for node in others for name in node.input} | {value.name for value in model.graph.output}
    weights = sorted(computed & used)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "packed weights"
    part.graph.node.extend(folded)
    sources = {name for node in folded for name in node.input}
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in sources)
    part.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in weights)
    dense = open_session(part, "the packed weights").run(None, {})
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(others)
    result.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    result.graph.initializer.extend(map(numpy_helper.from_array, dense, weights))
    sort_fields(result)
    return result


def sizes(before: onnx.ModelProto, after: onnx.ModelProto) -> dict[str, Any]:
    """Return the sizes of two models as files, plain and with gzip, in bytes."""
    files = [model.SerializeToString(deterministic=True) for model in (before, after)]
    zipped = gzip_bytes(files)
    return {
        "bytes_before": len(files[0]),
        "bytes_after": len(files[1]),
        "gzip_bytes_before": zipped[0],
        "gzip_bytes_after": zipped[1],
    }
