"""ONNX models that are made of a model: they return or replace its points, or are a part of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from harness.explain.files.graph import read_by, value_infos

#: What replaces a point in a file whose layers are fed one by one has its name and this.
FED = ":fed"
#: An output that returns an input has its name and this.
RECEIVED = ":received"
_NUMBERS = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING}


def tapped(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return the model with more outputs."""
    changed = copy.deepcopy(model)
    present = {value.name for value in model.graph.output}
    types = value_infos(model)
    for name in names:
        if name not in present:
            changed.graph.output.append(types.get(name) or helper.make_empty_tensor_value_info(name))
    return changed


def returning(model: onnx.ModelProto, inputs: Sequence[str]) -> onnx.ModelProto:
    """Return the model that returns its inputs, too."""
    changed = copy.deepcopy(model)
    for value in model.graph.input:
        if value.name in inputs:
            name = value.name + RECEIVED
            changed.graph.node.append(helper.make_node("Identity", [value.name], [name], name=name))
            changed.graph.output.append(value)
            changed.graph.output[-1].name = name
    return changed


def echoing(model: onnx.ModelProto, fed: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """Return a model without layers, which returns what it is fed.

    Parameters
    ----------
    fed : mapping of output name to ndarray, shape (calls, …)
        Its input has this name and `FED`.
    """
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in fed.items()}
    infos = [
        [
            helper.make_tensor_value_info(name + end, kinds[name], array.shape[1:])
            for name, array in fed.items()
        ]
        for end in (FED, "")
    ]
    nodes = [helper.make_node("Identity", [name + FED], [name], name=name) for name in fed]
    graph = helper.make_graph(nodes, "echo", *infos)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def exploded(
    model: onnx.ModelProto, fed: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> onnx.ModelProto:
    """Return the model in which each layer is fed by itself, and returns its result.

    Parameters
    ----------
    fed : mapping of name to ndarray
        Points whose readers take an input of that name and `FED` instead; one call's tensor of each.
    names : sequence of str
        Points that it returns.
    """
    changed = tapped(model, names)
    for node in changed.graph.node:
        rename(node, {name: name + FED for name in fed})
    for name, array in fed.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        changed.graph.input.append(helper.make_tensor_value_info(name + FED, kind, array.shape))
    # What is fed has a size where the file has a free batch: some runtimes refuse a file that says both.
    del changed.graph.value_info[:]
    for value in changed.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return changed


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Give what a node reads other names, in its inner graphs, too."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                rename(inner, names)


def sizes_byte(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Bytes of each value; values whose shape cannot be derived are left out.

    Parameters
    ----------
    shapes : mapping of input name to shape
        For extents that the file leaves open.
    """
    sized = copy.deepcopy(model)
    for value in sized.graph.input:
        extents = value.type.tensor_type.shape.dim
        for extent, size in zip(extents, shapes.get(value.name, ()), strict=False):
            extent.dim_value = extent.dim_value or size
    del sized.graph.value_info[:]
    for value in sized.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    sizes = {}
    for name, info in value_infos(sized).items():
        tensor = info.type.tensor_type
        extents = [extent.dim_value for extent in tensor.shape.dim]
        if tensor.HasField("shape") and all(extents) and tensor.elem_type in _NUMBERS:
            sizes[name] = math.prod(extents) * helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return sizes


def part(model: onnx.ModelProto, *outputs: str) -> onnx.ModelProto:
    """Cut out what computes some outputs of a file whose layers are fed one by one."""
    nodes = list(model.graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output}
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    waiting, places, names = [*outputs], set[int](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in names:
            continue
        names.add(name)
        if name in makers and makers[name] not in places:
            places.add(makers[name])
            waiting += read_by(nodes[makers[name]])
    graph = onnx.helper.make_graph(
        [nodes[place] for place in sorted(places)],
        "part",
        [value for value in model.graph.input if value.name in names],
        [value for value in model.graph.output if value.name in outputs],
        [tensor for name, tensor in initializers.items() if name in names],
    )
    return onnx.helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
        ir_version=model.ir_version,
    )
