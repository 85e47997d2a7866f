"""The values of an ONNX model at which two runs are compared.

A point is a value that a runtime really computes: not one inside of a fused operator (a convolution before
its activation, a float result before it is quantized): a file that returned it would be fused otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, shape_inference

from harness.core.artifact import Quantization

#: Computed together with the operator before them.
FUSED = frozenset(
    {"Relu", "Clip", "LeakyRelu", "BatchNormalization", "HardSwish", "Sigmoid", "Tanh", "PRelu"}
)
#: Operators that such a one is computed together with.
FUSING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "BatchNormalization"})
#: They move numbers or rename them.
MOVING = frozenset({"Reshape", "Flatten", "Identity", "Dropout", "Squeeze", "Unsqueeze", "Cast"})
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(frozen=True, slots=True)
class Point:
    """One value of the model.

    Parameters
    ----------
    name : str
        In the file.
    value : str
        Of the real number that it stands for: a quantized model has points of other names for the same.
    layer, operator : str
        The node that computes it, and its kind.
    step : Quantization, optional
        Of an integer point.
    after : tuple of str
        Names of the points and inputs of the model that it is computed from.
    """

    name: str
    value: str
    layer: str
    operator: str
    step: Quantization | None = None
    after: tuple[str, ...] = ()


class Graph:
    """An ONNX model, its constants, and who makes and reads each value.

    Parameters
    ----------
    model : ModelProto
    kinds : mapping of value to the number of its type, optional
        See `types`; derived where they are not given.
    """

    def __init__(self, model: onnx.ModelProto, kinds: Mapping[str, int] | None = None) -> None:
        self.model = model
        graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self.initializers)
        self.outputs = tuple(value.name for value in graph.output)
        self.maker = {name: node for node in graph.node for name in node.output if name}
        self.readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(read_by(node)):
                self.readers[name].append(node)
        self.constants = set(self.initializers)
        for node in graph.node:
            if all(name in self.constants for name in read_by(node)):
                self.constants |= set(node.output)
        self._types = types(model) if kinds is None else kinds

    def constant(self, name: str) -> NDArray[Any] | None:
        """The numbers of an initializer or a Constant node."""
        if name in self.initializers:
            return np.asarray(numpy_helper.to_array(self.initializers[name]))
        node = self.maker.get(name)
        if node is not None and node.op_type == "Constant":
            return next(
                (np.asarray(numpy_helper.to_array(a.t)) for a in node.attribute if a.name == "value"), None
            )  # fmt: skip
        return None

    def points(self) -> tuple[Point, ...]:
        """All points, in the order in which they are computed."""
        names = [
            name
            for node in self.model.graph.node
            for name in node.output
            if name and name not in self.constants and self._is_point(node, name)
        ]
        chosen = set(names)
        return tuple(self._point(name, chosen) for name in names)

    def _is_point(self, node: onnx.NodeProto, name: str) -> bool:
        if name in self.outputs or node.op_type == "QuantizeLinear":
            return True
        if node.op_type in (*MOVING, "DequantizeLinear"):
            return False
        if self._types.get(name, TensorProto.FLOAT) not in _FLOATS:
            return False
        readers = self.readers[name]
        if readers and all(reader.op_type == "QuantizeLinear" for reader in readers):
            return False
        return not (len(readers) == 1 and readers[0].op_type in FUSED and node.op_type in FUSING)

    def _point(self, name: str, chosen: Collection[str]) -> Point:
        node = self.maker[name]
        value, step = name, None
        if node.op_type == "QuantizeLinear":
            value, step = node.input[0], self.step(node)
        operator = self._layer(node).op_type
        after = tuple(self._sources(node, chosen))
        return Point(name, value, self.layer_of(node), operator, step, after)

    def layer_of(self, node: onnx.NodeProto) -> str:
        """Name of the layer that a node belongs to."""
        return node_name(self._layer(node))

    def is_float(self, name: str) -> bool:
        """Whether a value or constant is float32; False where its type cannot be derived."""
        if name in self.initializers:
            return bool(self.initializers[name].data_type == TensorProto.FLOAT)
        return bool(self._types.get(name) == TensorProto.FLOAT)

    def step(self, node: onnx.NodeProto) -> Quantization | None:
        """Step of a QuantizeLinear or DequantizeLinear; None where it varies by channel or is computed."""
        scale, zero = self.constant(node.input[1]), self.zero_point(node)
        if scale is None or zero is None or scale.size != 1:
            return None
        return Quantization(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]))

    def zero_point(self, node: onnx.NodeProto) -> NDArray[Any] | None:
        """Zero point of a (De)QuantizeLinear, by default 0 as uint8; None where it is computed."""
        if len(node.input) > 2 and node.input[2]:
            return self.constant(node.input[2])
        return np.zeros(1, np.uint8)

    def _layer(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The node that computes: an activation, a quantizer or a reshape belongs to the one before it."""
        while node.op_type in (*MOVING, *FUSED, "QuantizeLinear", "DequantizeLinear"):
            before = self.maker.get(node.input[0])
            if before is None or node.input[0] in self.constants:
                return node
            if node.op_type in FUSED and before.op_type not in (*FUSING, *MOVING):
                return node
            if node.op_type in (*MOVING, "QuantizeLinear") and before.op_type == "DequantizeLinear":
                return node  # it is a layer of its own: a Flatten, or another scale
            node = before
        return node

    def _sources(self, node: onnx.NodeProto, chosen: Collection[str]) -> Iterator[str]:
        waiting, seen = list(read_by(node)), set()
        while waiting:
            name = waiting.pop(0)
            if name in seen or name in self.constants:
                continue
            seen.add(name)
            if name in chosen or name in self.inputs:
                yield name
            elif name in self.maker:
                waiting += read_by(self.maker[name])


def node_name(node: onnx.NodeProto) -> str:
    """Name of a node; of its first result where it has none."""
    return str(node.name or node.output[0])


def read_by(node: onnx.NodeProto) -> list[str]:
    """What a node reads, with what its inner graphs take from outside."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = {name for each in graph.node for name in each.output}
            inner |= {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            names += [name for each in graph.node for name in read_by(each) if name not in inner]
            names += [value.name for value in graph.output if value.name not in inner]
    return names


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Number of the type of each value that can be derived."""
    infos = {value.name: value for value in model.graph.input} | value_infos(model)
    return {name: info.type.tensor_type.elem_type for name, info in infos.items()}


def value_infos(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Type and shape of each value that can be derived."""
    try:
        inferred = shape_inference.infer_shapes(model)
    except Exception:  # noqa: BLE001 - any of onnx's errors means that the file says all that there is
        inferred = model
    return {info.name: info for info in (*inferred.graph.value_info, *inferred.graph.output)}


#: Operators that multiply and add.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
