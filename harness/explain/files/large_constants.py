"""An ONNX model without the numbers of its large constants, and the bytes of a file with them.

A file that is made of a model of 100 MB differs from it in a few kilobytes. So changes are made to a model
whose large constants have a type and a shape alone, and their numbers come back when it is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import onnx

#: Smaller constants stay: shapes are derived from some.
LARGE_BYTE = 2**14
#: Tags of ``ModelProto.graph`` and ``GraphProto.initializer``: field number, and that a length follows.
_GRAPH, _INITIALIZER = b"\x3a", b"\x2a"


def lean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model without the numbers of its large constants."""
    copied = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _put(copied, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _put(copied.graph, field.name, value)
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= LARGE_BYTE:
            copied.graph.initializer.add().CopyFrom(tensor)
        else:
            copied.graph.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    return copied


def filled(model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """Give a model the numbers of its large constants."""
    for tensor in model.graph.initializer:
        if _is_empty(tensor):
            tensor.CopyFrom(constants[tensor.name])
    return model


def content(model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]) -> bytes:
    """The file of a model with the numbers of its large constants.

    Protobuf joins what is written one after the other: the graph once without its large constants, and
    once for each of them alone. So no second model is held in memory.
    """
    return b"".join(_pieces(model, constants))


def _pieces(model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]) -> Iterator[bytes]:
    left_out = [tensor.name for tensor in model.graph.initializer if _is_empty(tensor)]
    small = [tensor for tensor in model.graph.initializer if not _is_empty(tensor)]
    if left_out:
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        del copied.graph.initializer[:]
        copied.graph.initializer.extend(small)
        model = copied
    yield model.SerializeToString()
    for name in left_out:
        tensor = constants[name].SerializeToString()
        head = _INITIALIZER + _varint(len(tensor))
        yield _GRAPH + _varint(len(head) + len(tensor)) + head
        yield tensor


def _put(message: object, name: str, value: object) -> None:
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _is_empty(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor has elements and no numbers."""
    if not math.prod(tensor.dims) or tensor.HasField("raw_data"):
        return False
    is_elsewhere = tensor.data_location == onnx.TensorProto.EXTERNAL
    return not is_elsewhere and not any(field.name.endswith("_data") for field, _ in tensor.ListFields())


def _varint(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
