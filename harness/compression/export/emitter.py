"""Collect tensors and operators of the TFLite file, and convert values to the layout an operator needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.compression.export.kinds import OPTIONS, Runtime, supports
from harness.compression.export.kinds import version as default_version
from harness.compression.export.layout import Layout, as_vector, moves_only_ones, plain, signature, static
from harness.compression.export.parts import Array, Graph, Node, Quantization, Shape, Value
from harness.compression.export.schema import AlignedBuffer, serialise, tensor_type

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# Fields of the options tables that are enumerated, and their enumeration in the schema.
_ENUMERATED = {
    "fusedActivationFunction": "ActivationFunctionType", "mode": "MirrorPadMode", "padding": "Padding",
    "inDataType": "TensorType", "outDataType": "TensorType", "outputType": "TensorType",
    "outType": "TensorType",
}  # fmt: skip


class Emitter:
    """Builds a TFLite file."""

    def __init__(self, graph: Graph, schema: ModuleType, runtime: Runtime = "litert") -> None:
        self.graph = graph
        self.runtime = runtime
        self.layers: list[str] = []  # the ONNX node of each operator
        self.node: Node | None = None
        self._schema = schema
        self._buffers = [AlignedBuffer(schema)]  # the format requires the first one to be empty
        self._tensors: list[Any] = []
        self._names: set[str] = set()
        self._codes: dict[tuple[str, int], int] = {}
        self._operators: list[Any] = []
        self._stored: dict[str, dict[Layout, int]] = {}

    # Values

    def value(self, name: str) -> Value:
        """Return a value of the graph."""
        return self.graph.values[name]

    def data(self, name: str) -> Array | None:
        """Return the data of a constant, None if the value is computed."""
        return self.graph.values[name].data

    def layout(self, name: str) -> Layout:
        """Return the layout of a value as it was added; that of a constant is plain."""
        if self.data(name) is not None:
            return plain(len(self.value(name).shape))
        return next(iter(self._stored[name]))

    def add(self, value: Value, layout: Layout) -> int:
        """Add the tensor of a computed value."""
        tensor = self._tensor(value.name, layout.shape(value.shape), value.dtype, value.quantization)
        self._stored.setdefault(value.name, {})[layout] = tensor
        return tensor

    def output(self, name: str) -> Layout:
        """Return the layout of an output of the model, after converting a flattened channels-last tensor."""
        if not self.layout(name).features:
            self.get(name)
            return self.layout(name)
        before = self._tensors[self.get(name)]
        layout = plain(len(self.value(name).shape))
        after = self._tensors[self.get(name, layout)]
        before.name, after.name = after.name, before.name
        self._stored[name] = {layout: self._stored[name][layout]}
        return layout

    def alias(self, name: str, layout: Layout, tensor: int) -> None:
        """Use the tensor of another value for this one."""
        self._stored[name] = {layout: tensor}

    def get(self, name: str, layout: Layout | None = None) -> int:
        """Return the tensor of a value in a layout, transposed if needed."""
        stored = self._stored.setdefault(name, {})
        value = self.value(name)
        if value.data is not None:
            layout = layout or plain(value.data.ndim)
            if layout not in stored:
                stored[layout] = self.constant(name, layout.arrange(value.data), value.quantization)
            return stored[layout]
        layout = layout or self.layout(name)
        if layout not in stored:
            stored[layout] = self._convert(value, next(iter(stored)), layout)
        return stored[layout]

    def whole(self, name: str) -> tuple[int, Layout]:
        """Return the tensor of a value and its layout, after converting a flattened channels-last tensor."""
        layout = self.layout(name)
        if layout.features:
            layout = plain(len(layout.axes))
        return self.get(name, layout), layout

    def integers(self, node: Node, position: int) -> list[int] | None:
        """Return a constant operand of integers (axes, bounds, widths), None if it is absent."""
        if len(node.inputs) <= position or not node.inputs[position]:
            return None
        data = self.data(node.inputs[position])
        if data is None:
            node.refuse(f"its input {node.inputs[position]!r} is computed by the model")
        return [int(number) for number in data.reshape(-1)]

    def number(self, node: Node, position: int) -> float:
        """Return a constant operand of one real number, 0 if it is absent."""
        if len(node.inputs) <= position or not node.inputs[position]:
            return 0.0
        value = self.value(node.inputs[position])
        if value.data is None:
            node.refuse(f"its input {value.name!r} is computed by the model")
        real = value.data if value.quantization is None else value.quantization.real(value.data)
        return float(real.reshape(-1)[0])

    def _convert(self, value: Value, source: Layout, target: Layout) -> int:
        tensor = self._stored[value.name][source]
        shape = source.shape(value.shape)
        if source.features:  # undo the flattening, transpose, flatten again
            channels, *space = source.features
            lead = value.shape[:-1]
            tensor = self.reshape(tensor, (*lead, *space, channels), value)
            order = (*range(len(lead)), len(lead) + len(space), *range(len(lead), len(lead) + len(space)))
            tensor = self._transpose(tensor, order, (*lead, channels, *space), value)
            tensor = self.reshape(tensor, value.shape, value)
            shape, source = value.shape, plain(len(value.shape))
        if source == target:
            return tensor
        order = tuple(source.axes.index(axis) for axis in target.axes)
        result_shape = target.shape(value.shape)
        # RESHAPE cannot name two dynamic extents; TRANSPOSE need not name any.
        if moves_only_ones(shape, order) and result_shape.count(None) < 2:
            return self.reshape(tensor, result_shape, value)
        return self._transpose(tensor, order, result_shape, value)

    def _transpose(self, tensor: int, order: tuple[int, ...], shape: Shape, value: Value) -> int:
        result = self.temporary(f"{value.name}/transposed", shape, value)
        order_tensor = self.constant(f"{value.name}/order", as_vector(list(order)))
        self.emit("TRANSPOSE", [tensor, order_tensor], result)
        return result

    def reshape(self, tensor: int, shape: Shape, value: Value, result: int | None = None) -> int:
        """Add a RESHAPE of a tensor with the dtype and scale of ``value``."""
        if shape.count(None) > 1 and self.node is not None:
            self.node.refuse(f"its result {shape} has more than one dynamic axis")
        if result is None:
            result = self.temporary(f"{value.name}/reshaped", shape, value)
        new_shape = signature(shape)
        shape_tensor = self.constant(f"{value.name}/shape", as_vector(new_shape))
        self.emit("RESHAPE", [tensor, shape_tensor], result, {"newShape": as_vector(new_shape)})
        return result

    # Tensors

    def temporary(self, name: str, shape: Shape, like: Value) -> int:
        """Add a tensor between two operators, with the dtype and the scale of a value."""
        return self._tensor(name, shape, like.dtype, like.quantization)

    def constant(self, name: str, data: Array, quantization: Quantization | None = None) -> int:
        """Add a constant tensor."""
        self._buffers.append(AlignedBuffer(self._schema, np.ascontiguousarray(data).tobytes()))
        return self._tensor(name, data.shape, data.dtype, quantization, len(self._buffers) - 1)

    def _tensor(
        self,
        name: str,
        shape: Shape,
        dtype: np.dtype[Any],
        quantization: Quantization | None,
        buffer: int = 0,
    ) -> int:
        unique, count = name, 1
        while unique in self._names:
            unique, count = f"{name}:{count}", count + 1
        self._names.add(unique)
        tensor = self._schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = unique, tensor_type(self._schema, dtype), buffer
        tensor.shape, tensor.hasRank = as_vector(static(shape)), True
        if None in shape:
            tensor.shapeSignature = as_vector(signature(shape))
        if quantization is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = quantization.scale.astype(np.float32)
            tensor.quantization.zeroPoint = quantization.zero_point.astype(np.int64)
            tensor.quantization.quantizedDimension = quantization.axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    # Operators

    def emit(
        self,
        kind: str,
        inputs: list[int],
        outputs: int | list[int],
        settings: Mapping[str, object] | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Add an operator.

        Parameters
        ----------
        kind : str
            Name in the schema's ``BuiltinOperator``.
        inputs : list of int
            Tensor indices.
        outputs : int or list of int
            Tensor indices.
        settings : mapping, optional
            Fields of its options table; enumerated ones by name.
        version : int, optional
            Operator version if it is not the default for the dtype.
        """
        schema = self._schema
        if version is None:
            tensors = [self._tensors[index] for index in inputs]
            integer = any(tensor.type == schema.TensorType.INT8 for tensor in tensors)
            rank = max(len(tensor.shape) for tensor in tensors)
            version = default_version(kind, integer=integer, rank=rank)
        if self.node is not None and not supports(self.runtime, kind, version):
            self.node.refuse(f"{self.runtime} does not support version {version} of {kind}")
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((kind, version), len(self._codes))
        operator.inputs = as_vector(inputs)
        operator.outputs = as_vector([outputs] if isinstance(outputs, int) else outputs)
        if kind in OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, OPTIONS[kind])
            operator.builtinOptions = getattr(schema, f"{OPTIONS[kind]}T")()
            for name, setting in (settings or {}).items():
                number = setting
                if isinstance(setting, str):
                    number = getattr(getattr(schema, _ENUMERATED[name]), setting)
                setattr(operator.builtinOptions, name, number)
        self._operators.append(operator)
        self.layers.append(self.node.name if self.node else "")

    def apply(
        self,
        kind: str,
        inputs: list[int],
        shape: Shape,
        settings: Mapping[str, object] | None = None,
        *,
        like: Value | None = None,
        dtype: DTypeLike = np.float32,
    ) -> int:
        """Add one of several operators of a node; the result has a dtype, or is ``like`` a value."""
        return self.apply_many(kind, inputs, [shape], settings, like=like, dtype=dtype)[0]

    def apply_many(
        self,
        kind: str,
        inputs: list[int],
        shapes: list[Shape],
        settings: Mapping[str, object] | None = None,
        *,
        like: Value | None = None,
        dtype: DTypeLike = np.float32,
    ) -> list[int]:
        """Add an operator with several results, see :meth:`apply`."""
        like = like or Value("", (), np.dtype(dtype))
        name = f"{self.node.name if self.node else ''}/{kind.lower()}"
        results = [self.temporary(name, shape, like) for shape in shapes]
        self.emit(kind, inputs, results, settings)
        return results

    def rescale(self, tensor: int, value: Value, layout: Layout, target: Quantization | None) -> int:
        """Return the tensor of a quantized value with another scale."""
        if value.quantization is None or value.quantization.same_as(target):
            return tensor
        return self.apply(
            "QUANTIZE", [tensor], layout.shape(value.shape), like=replace(value, quantization=target)
        )

    def emit_keeping_scale(
        self,
        kind: str,
        inputs: list[int],
        node: Node,
        layout: Layout,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Add an operator that does not change the integers, and rescale its results if needed."""
        source, results, after = self.value(node.inputs[0]), [], []
        for target in map(self.value, node.outputs):
            if source.quantization is None or source.quantization.same_as(target.quantization):
                results.append(self.add(target, layout))
                continue
            shape = layout.shape(target.shape)
            results.append(self.temporary(f"{target.name}/unscaled", shape, source))
            after.append((results[-1], target))
        self.emit(kind, inputs, results, settings)
        for middle, target in after:
            self.emit("QUANTIZE", [middle], self.add(target, layout))

    # The file

    def finish(self, name: str) -> bytes:
        """Return the bytes of the file."""
        schema = self._schema
        inputs = [next(iter(self._stored[i].values())) for i in self.graph.inputs]
        outputs = [next(iter(self._stored[o].values())) for o in self.graph.outputs]
        subgraph = schema.SubGraphT()
        subgraph.name, subgraph.tensors, subgraph.operators = name, self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = as_vector(inputs), as_vector(outputs)
        codes = []
        for kind, version in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version = getattr(schema.BuiltinOperator, kind), version
            code.deprecatedBuiltinCode = min(
                code.builtinCode, 127
            )  # one byte; readers before 2.4 use this field
            codes.append(code)
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = "serving_default", 0
        entry.inputs = [self._named(*pair) for pair in zip(self.graph.inputs, inputs, strict=True)]
        entry.outputs = [self._named(*pair) for pair in zip(self.graph.outputs, outputs, strict=True)]
        model = schema.ModelT()
        model.version, model.description = 3, name
        model.operatorCodes, model.subgraphs, model.buffers = codes, [subgraph], self._buffers
        model.signatureDefs = [entry]
        return serialise(model)

    def _named(self, name: str, tensor: int) -> object:
        entry = self._schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor
        return entry
