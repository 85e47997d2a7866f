"""One layer as a file, and copies of it that are changed: all are computed by one run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harness.explain.files.graph import Graph, node_name

#: Larger constants are not changed: the file would hold each of them again.
MOST_BYTE = 2**22
#: Names of what a variant adds begin with its number and this.
MARK = "~"


@dataclass
class Variant:
    """A layer with a mistake.

    Parameters
    ----------
    text : str
        The mistake, after "is computed wrongly: ".
    nodes : list of NodeProto
        Copies, which may be changed.
    constants : dict of name to ndarray
        What is added.
    """

    text: str
    nodes: list[onnx.NodeProto]
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add one; its name."""
        self.constants[MARK + name] = array
        return MARK + name

    def set(self, node: onnx.NodeProto, name: str, value: object) -> None:
        """Set an attribute."""
        for place, one in enumerate(node.attribute):
            if one.name == name:
                del node.attribute[place]
                break
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))

    def replace(self, node: onnx.NodeProto, *nodes: onnx.NodeProto) -> None:
        """Put nodes in the place of one."""
        place = self.nodes.index(node)
        self.nodes[place : place + 1] = nodes

    def skip(self, node: onnx.NodeProto, place: int = 0) -> None:
        """Leave a node out: what reads its result reads one of its inputs."""
        self.replace(node, helper.make_node("Identity", [node.input[place]], [node.output[0]]))


class Part:
    """The file of one layer, and where its numbers come from.

    Parameters
    ----------
    model : ModelProto
        One output; what it is fed are inputs.
    layer : str
        Name of its node.
    shapes : mapping of name to shape
        Of its inputs.
    """

    def __init__(self, model: onnx.ModelProto, layer: str, shapes: Mapping[str, Sequence[int]]) -> None:
        self.model, self.graph, self.shapes = model, Graph(model), shapes
        names = [node_name(node) for node in model.graph.node]
        self.main = names.index(layer) if layer in names else -1

    def array(self, name: str) -> NDArray[Any] | None:
        """Numbers of a constant, or its codes; None where it is none, or large."""
        maker = self.graph.maker.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear":
            name = maker.input[0]
        constant = self.graph.constant(name)
        return constant if constant is not None and constant.nbytes <= MOST_BYTE else None

    def real_of_zero(self, name: str) -> float | None:
        """The real number of the code 0 of a quantized value, where that is not 0."""
        maker = self.graph.maker.get(name)
        step = None if maker is None or maker.op_type != "DequantizeLinear" else self.graph.step(maker)
        return None if step is None or not step.zero_point else -step.zero_point * step.scale

    def shape(self, name: str) -> Sequence[int] | None:
        """Shape of an input of the layer, also behind a DequantizeLinear."""
        maker = self.graph.maker.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear":
            name = maker.input[0]
        return self.shapes.get(name)

    def variant(self, text: str) -> tuple[Variant, onnx.NodeProto]:
        """A copy of the layer, and its main node."""
        nodes = [copy.deepcopy(node) for node in self.model.graph.node]
        return Variant(text, nodes), nodes[self.main]

    def with_array(self, variant: Variant, node: onnx.NodeProto, place: int, array: NDArray[Any]) -> None:
        """Other numbers of a constant input of a node; codes where it is quantized."""
        name = node.input[place]
        maker = next((one for one in variant.nodes if name in one.output), None)
        if maker is not None and maker.op_type == "DequantizeLinear":
            maker.input[0] = variant.constant(f"{maker.input[0]}", array)
        else:
            node.input[place] = variant.constant(name, array)


def joined(part: Part, listed: Sequence[Variant]) -> onnx.ModelProto:
    """One file with an output for each variant, named by its place."""
    output = part.model.graph.output[0].name
    given = set(part.graph.initializers) | set(part.graph.inputs)
    nodes, constants, outputs = [], list(part.model.graph.initializer), []
    for place, variant in enumerate(listed):
        names = {name: f"{place}{MARK}{name}" for name in variant.constants}
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(array), names[name])
            for name, array in variant.constants.items()
        ]
        for node in variant.nodes:
            new = copy.deepcopy(node)
            new.name = f"{place}{MARK}{node.name}"
            for names_of in (new.input, new.output):
                names_of[:] = [
                    names.get(name) or (name if not name or name in given else f"{place}{MARK}{name}")
                    for name in names_of
                ]
            nodes.append(new)
        outputs.append(helper.make_empty_tensor_value_info(f"{place}{MARK}{output}"))
    graph = helper.make_graph(nodes, "variants", list(part.model.graph.input), outputs, constants)
    for value in graph.output:
        value.type.CopyFrom(part.model.graph.output[0].type)
        value.type.tensor_type.ClearField("shape")
    return helper.make_model(
        graph, opset_imports=list(part.model.opset_import), functions=list(part.model.functions),
        ir_version=part.model.ir_version,
    )  # fmt: skip


def output_name(part: Part, place: int) -> str:
    """Name of the output of one variant in the joined file."""
    return f"{place}{MARK}{part.model.graph.output[0].name}"
