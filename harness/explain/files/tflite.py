"""The same for TFLite files: more outputs, and layers that are fed one by one."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compression.export.schema import AlignedBuffer, load_schema, serialise
from harness.core.artifact import Quantization
from harness.core.errors import ModelError
from harness.explain.files.edits import FED

LARGEST_ITEM_BYTE = 8


def read(content: bytes) -> Any:  # noqa: ANN401 - the schema's ModelT
    """Read a file as objects of the schema.

    Raises
    ------
    ModelError
        It has several subgraphs: operators of inner ones cannot be returned.
    """
    schema = load_schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content)))
    if len(model.subgraphs) != 1:
        raise ModelError(
            f"the TFLite file has {len(model.subgraphs)} subgraphs",
            cause="results inside of a loop or a branch cannot be read",
            next_step="explain the ONNX file on another target",
        )
    model.buffers = [
        AlignedBuffer(schema, b"" if buffer.data is None else bytes(buffer.data)) for buffer in model.buffers
    ]
    names = set[str]()
    for place, tensor in enumerate(model.subgraphs[0].tensors):
        if not tensor.name or name_of(tensor) in names:  # other tools leave names empty, or give them twice
            tensor.name = f"{name_of(tensor) if tensor.name else ''}#{place}".encode()
        names.add(name_of(tensor))
    return model


def computed(model: Any) -> list[str]:  # noqa: ANN401 - the schema's ModelT
    """Names of the tensors that operators compute, in order."""
    graph = model.subgraphs[0]
    return [name_of(graph.tensors[place]) for operator in graph.operators for place in operator.outputs]


def operators(model: Any) -> dict[str, str]:  # noqa: ANN401 - the schema's ModelT
    """Kind of the operator that computes each tensor."""
    graph = model.subgraphs[0]
    return {
        name_of(graph.tensors[place]): kind
        for operator, kind in zip(graph.operators, kinds(model), strict=True)
        for place in operator.outputs
    }


def kinds(model: Any) -> list[str]:  # noqa: ANN401 - the schema's ModelT
    """Kind of each operator."""
    numbers = vars(load_schema().BuiltinOperator).items()
    names = {number: name for name, number in numbers if isinstance(number, int)}
    return [
        names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in model.subgraphs[0].operators
    ]


def inputs_read(model: Any) -> set[str]:  # noqa: ANN401 - the schema's ModelT
    """Names of the tensors that operators read."""
    graph = model.subgraphs[0]
    return {
        name_of(graph.tensors[place])
        for operator in graph.operators
        for place in operator.inputs
        if place >= 0
    }


def outputs(model: Any) -> set[str]:  # noqa: ANN401 - the schema's ModelT
    """Names of the outputs of the file."""
    return set(outputs_in_order(model))


def outputs_in_order(model: Any) -> list[str]:  # noqa: ANN401 - the schema's ModelT
    """The same, as the file lists them."""
    graph = model.subgraphs[0]
    return [name_of(graph.tensors[place]) for place in graph.outputs]


def sizes_byte(model: Any) -> dict[str, int]:  # noqa: ANN401 - the schema's ModelT
    """At most so many bytes has each tensor."""
    return {
        name_of(tensor): LARGEST_ITEM_BYTE * math.prod(map(int, () if tensor.shape is None else tensor.shape))
        for tensor in model.subgraphs[0].tensors
    }


def dtypes(model: Any) -> set[str]:  # noqa: ANN401 - the schema's ModelT
    """Types of all tensors, by numpy's names."""
    return {dtype_of(tensor) for tensor in model.subgraphs[0].tensors}


def dtype_of(tensor: Any) -> str:  # noqa: ANN401 - the schema's TensorT
    """Type of a tensor, by numpy's name."""
    numbers = vars(load_schema().TensorType).items()
    return next(str(name).lower() for name, number in numbers if number == tensor.type)


def steps(model: Any) -> dict[str, Quantization]:  # noqa: ANN401 - the schema's ModelT
    """Steps of the tensors that have one scale."""
    read_steps = {}
    for tensor in model.subgraphs[0].tensors:
        quantization = tensor.quantization
        if quantization is not None and quantization.scale is not None and len(quantization.scale) == 1:
            zero = quantization.zeroPoint
            read_steps[name_of(tensor)] = Quantization(
                float(quantization.scale[0]), 0 if zero is None or not len(zero) else int(zero[0])
            )
    return read_steps


def tapped(content: bytes, names: Sequence[str]) -> bytes:
    """Return the file with more outputs; without signatures, which list them."""
    changed = read(content)
    _add_outputs(changed, names)
    return serialise(changed)


def echoing(content: bytes, names: Sequence[str]) -> bytes:
    """Return a file without layers, which returns what it is fed (see ``edits.echoing``).

    Its operator keeps the shape: a runtime refuses a file without any.
    """
    changed = read(content)
    schema = load_schema()
    graph = changed.subgraphs[0]
    places = {name_of(tensor): place for place, tensor in enumerate(graph.tensors)}
    tensors, operators = list[Any](), list[Any]()
    for name in names:
        fed = copy.deepcopy(graph.tensors[places[name]])
        fed.name, fed.buffer = (name + FED).encode(), 0
        back = copy.deepcopy(fed)
        back.name = name.encode()
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = (np.array([len(tensors) + place], np.int32) for place in (0, 1))
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = schema.ReshapeOptionsT()
        operator.builtinOptions.newShape = np.asarray(fed.shape, np.int32)
        tensors += [fed, back]
        operators.append(operator)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    code.version = 1
    changed.operatorCodes, graph.tensors, graph.operators = [code], tensors, operators
    graph.inputs, graph.outputs = (np.arange(start, len(tensors), 2, dtype=np.int32) for start in (0, 1))
    changed.buffers, changed.signatureDefs = [AlignedBuffer(schema, b"")], None
    changed.metadata = None
    return serialise(changed)


def exploded(content: bytes, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> bytes:
    """Return the file in which each layer is fed by itself (see ``edits.exploded``)."""
    changed = read(content)
    graph = changed.subgraphs[0]
    places = {name_of(tensor): place for place, tensor in enumerate(graph.tensors)}
    fed_places = {}
    for name, array in fed.items():
        tensor = copy.deepcopy(graph.tensors[places[name]])
        tensor.name, tensor.buffer = (name + FED).encode(), 0
        tensor.shape, tensor.shapeSignature = np.asarray(array.shape, np.int32), None
        fed_places[places[name]] = len(graph.tensors)
        graph.tensors.append(tensor)
    for operator in graph.operators:
        operator.inputs = np.array(
            [fed_places.get(int(place), int(place)) for place in operator.inputs], np.int32
        )
    graph.inputs = np.array([*graph.inputs, *fed_places.values()], np.int32)
    _add_outputs(changed, names)
    return serialise(changed)


def _add_outputs(model: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - the schema's ModelT
    graph = model.subgraphs[0]
    places = {name_of(tensor): place for place, tensor in enumerate(graph.tensors)}
    more = [places[name] for name in names if places[name] not in set(map(int, graph.outputs))]
    graph.outputs = np.array([*graph.outputs, *more], np.int32)
    model.signatureDefs = None


def name_of(tensor: Any) -> str:  # noqa: ANN401 - the schema's TensorT
    """Name of a tensor."""
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def part(content: bytes, *outputs: str) -> tuple[bytes, list[str]]:
    """Cut out the operators that compute some outputs; numbers that they do not need are left out.

    Returns
    -------
    tuple of bytes and list of str
        The file, and the names of its inputs.
    """
    changed = read(content)
    graph = changed.subgraphs[0]
    places = {name_of(tensor): place for place, tensor in enumerate(graph.tensors)}
    makers = {int(place): operator for operator in graph.operators for place in operator.outputs}
    needed, waiting = set[int](), [places[output] for output in outputs]
    while waiting:
        place = waiting.pop()
        if place >= 0 and place not in needed:
            needed.add(place)
            waiting += [int(one) for one in makers[place].inputs] if place in makers else []
    graph.operators = [one for one in graph.operators if needed & {int(place) for place in one.outputs}]
    graph.inputs = np.array([place for place in map(int, graph.inputs) if place in needed], np.int32)
    graph.outputs = np.array([places[output] for output in outputs], np.int32)
    used = {graph.tensors[place].buffer for place in needed}
    schema = load_schema()
    changed.buffers = [
        buffer if number in used else AlignedBuffer(schema, b"")
        for number, buffer in enumerate(changed.buffers)
    ]
    changed.signatureDefs = None
    return serialise(changed), [name_of(graph.tensors[place]) for place in graph.inputs]
