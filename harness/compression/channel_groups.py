"""Groups of channels that can only be removed together.

Every output channel of a weighted operator gets a label. Along the graph, operators pass labels on, repeat
them (Flatten), concatenate them (Concat), or tie two of them (Add, Mul, depthwise convolutions). If a
channel cannot be followed, its label is fixed, with the reason. The result is a partition: channels with the
same label are removed together or not at all. After G. Fang et al., "DepGraph", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from harness.compression.canonical import Array, attribute, initializers

_UNARY = frozenset(
    {
        "Abs", "AveragePool", "Cast", "Ceil", "Clip", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu",
        "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log",
        "MaxPool", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Softplus", "Softsign",
        "Sqrt", "Tanh",
    }
)  # fmt: skip
_BROADCAST = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"})
_REDUCE = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})

Slot = tuple[str, int]
"""The name of a node's first output, and the position of one of the node's inputs."""
Channels = tuple[int, "np.ndarray[tuple[int], np.dtype[np.int64]]"]
"""Axis of the channels in a tensor, and the label of each."""


@dataclass(frozen=True, slots=True)
class Group:
    """Labels that come from the same layers.

    Parameters
    ----------
    layers : tuple of str
        Nodes whose filters compute these channels, in the order of the graph.
    labels : ndarray, shape (channels,), int64
        In the order of the first layer's filters.
    fixed_because : str
        Why none of them may be removed; empty if they may.
    """

    layers: tuple[str, ...]
    labels: Array
    fixed_because: str


@dataclass(frozen=True, slots=True)
class Coupling:
    """How the channels of a model depend on each other.

    Parameters
    ----------
    groups : tuple of Group
    axes : mapping of Slot to mapping of axis to labels
        Constants that have channels along an axis.
    filters : mapping of str to int
        Node to the axis of its weights (input 1) that runs over its filters.
    depthwise : mapping of str to labels
        Node to the labels of its input channels; their number is the attribute ``group``.
    shapes : mapping of Slot to tuple of (index, labels)
        Entries of the constant shape of a Reshape that are numbers of channels.
    tensors : mapping of str to Channels
        Computed tensors.
    """

    groups: tuple[Group, ...]
    axes: Mapping[Slot, Mapping[int, Array]]
    filters: Mapping[str, int]
    depthwise: Mapping[str, Array]
    shapes: Mapping[Slot, tuple[int, Array]]
    tensors: Mapping[str, Channels]


def couple(model: onnx.ModelProto) -> Coupling:
    """Follow the channels of a canonical float model through its graph."""
    return _Follower(model).follow()


class _Follower:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.constants = initializers(model)
        self.parents: list[int] = []
        self.reasons: dict[int, str] = {}
        self.tensors: dict[str, Channels] = {}
        self.axes: dict[Slot, dict[int, Array]] = {}
        self.filters: dict[str, int] = {}
        self.depthwise: dict[str, Array] = {}
        self.reshapes: dict[Slot, tuple[int, Array]] = {}
        graph = model.graph
        self.dims = {
            v.name: [d.dim_value if d.HasField("dim_value") else None for d in v.type.tensor_type.shape.dim]
            for v in [*graph.value_info, *graph.input, *graph.output]
            if v.type.tensor_type.HasField("shape")
        } | {name: list(value.shape) for name, value in self.constants.items()}
        self.layer_names: dict[str, str] = {}
        self.users: dict[str, list[str]] = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node.output[0])

    def follow(self) -> Coupling:
        rules: dict[str, Callable[[onnx.NodeProto], None]] = {
            "BatchNormalization": self.per_channel, "Concat": self.concat, "Conv": self.conv,
            "ConvTranspose": self.conv, "Flatten": self.flatten, "Gemm": self.gemm,
            "InstanceNormalization": self.per_channel, "MatMul": self.gemm, "Pad": self.pad,
            "Reshape": self.reshape, "Resize": self.resize, "Squeeze": self.squeeze,
            "Transpose": self.transpose, "Unsqueeze": self.squeeze,
            **dict.fromkeys(_UNARY, self.pass_on), **dict.fromkeys(_BROADCAST, self.broadcast),
            **dict.fromkeys(_REDUCE, self.reduce),
        }  # fmt: skip
        for node in self.graph.node:
            rules.get(node.op_type, self.fix_inputs)(node)
        for value in self.graph.output:
            self.fix(value.name, "they are an output of the model")
        return self.coupling()

    # --- labels ---

    def root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = self.parents[self.parents[label]]
            label = self.parents[label]
        return label

    def fresh(self, count: int) -> Array:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, first: Array, second: Array) -> None:
        for left, right in zip(first, second, strict=True):
            a, b = sorted((self.root(int(left)), self.root(int(right))))
            if a != b:
                self.parents[b] = a
                reason = self.reasons.pop(b, "")
                if reason:
                    self.reasons.setdefault(a, reason)

    def fix(self, name: str, reason: str) -> None:
        if name in self.tensors:
            for label in self.tensors[name][1]:
                self.reasons.setdefault(self.root(int(label)), reason)

    def shared(self, constant: str) -> bool:
        return len(self.users[constant]) > 1

    def fix_inputs(self, node: onnx.NodeProto, reason: str = "") -> None:
        for name in node.input:
            self.fix(name, reason or f"{node.op_type} {node.name!r} mixes channels")

    # --- operators that compute channels ---

    def add_filters(self, node: onnx.NodeProto, axis: int, output_axis: int) -> None:
        """Give the filters along an axis of a node's weights, and its output channels, new labels."""
        name = node.input[1]
        labels = self.fresh(self.constants[name].shape[axis])
        self.axes.setdefault((node.output[0], 1), {})[axis] = labels
        self.filters[node.output[0]] = axis
        self.tensors[node.output[0]] = output_axis, labels
        self.layer_names[node.output[0]] = node.name
        if self.shared(name):
            self.fix(node.output[0], f"weights {name!r} are used by several nodes")
        if len(node.input) == 3 and node.input[2]:
            bias = self.constants.get(node.input[2])
            if bias is not None and bias.shape == labels.shape:
                self.axes[node.output[0], 2] = {0: labels}
            elif bias is None or bias.size > 1:
                self.fix(node.output[0], f"the bias of {node.name!r} is not a constant vector")

    def read_channels(self, node: onnx.NodeProto, axis: int, weights_axis: int) -> None:
        """Label an axis of the weights with the input channels."""
        if node.input[0] not in self.tensors:
            return
        channel_axis, labels = self.tensors[node.input[0]]
        name = node.input[1]
        if channel_axis != axis or self.shared(name):
            self.fix_inputs(
                node, f"{node.op_type} {node.name!r} shares its weights, or sums over another axis"
            )
        else:
            self.axes.setdefault((node.output[0], 1), {})[weights_axis] = labels

    def conv(self, node: onnx.NodeProto) -> None:
        weights = self.constants.get(node.input[1])
        if weights is None:
            return self.fix_inputs(node, f"the weights of {node.name!r} are computed")
        groups = attribute(node, "group", 1)
        out_axis = 0 if node.op_type == "Conv" else 1
        if groups == 1:
            self.add_filters(node, out_axis, 1)
            return self.read_channels(node, 1, 1 - out_axis)
        if node.op_type != "Conv" or weights.shape[1] != 1:
            self.fix_inputs(node, f"{node.op_type} {node.name!r} has {groups} groups of several channels")
            return None
        if node.input[0] in self.tensors:  # depthwise: an input channel has its own output channels
            labels = self.tensors[node.input[0]][1]
            self.add_filters(node, 0, 1)
            self.tie(self.tensors[node.output[0]][1], np.repeat(labels, len(weights) // groups))
            self.depthwise[node.output[0]] = labels
        return None

    def gemm(self, node: onnx.NodeProto) -> None:
        weights = self.constants.get(node.input[1])
        dims = self.dims.get(node.input[0])
        if weights is None or weights.ndim != 2 or not dims or attribute(node, "transA", 0):
            return self.fix_inputs(
                node, f"{node.op_type} {node.name!r} does not multiply by a constant matrix"
            )
        rows = attribute(node, "transB", 0)  # whether the first axis runs over the outputs
        self.add_filters(node, 1 - rows if rows else 1, len(dims) - 1)
        return self.read_channels(node, len(dims) - 1, rows)

    # --- operators that pass channels on ---

    def pass_on(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self.tensors:
            self.tensors[node.output[0]] = self.tensors[node.input[0]]

    def per_channel(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self.tensors:
            return
        axis, labels = self.tensors[node.input[0]]
        if axis != 1 or not all(name in self.constants for name in node.input[1:]):
            return self.fix_inputs(node)
        for position in range(1, len(node.input)):
            self.axes[node.output[0], position] = {0: labels}
        return self.pass_on(node)

    def broadcast(self, node: onnx.NodeProto) -> None:
        with_channels = [name for name in node.input if name in self.tensors]
        if not with_channels:
            return
        dims = {name: self.dims.get(name) for name in node.input}
        rank = max((len(d) for d in dims.values() if d is not None), default=0)
        # Axes are counted from the right, as in broadcasting.
        axes = {name: self.tensors[name][0] - len(dims[name] or ()) for name in with_channels}
        widest = max(with_channels, key=lambda name: len(self.tensors[name][1]))
        axis, labels = axes[widest], self.tensors[widest][1]
        for position, name in enumerate(node.input):
            extents = dims[name]
            if extents is None or (name in with_channels and axes[name] != axis):
                return self.fix_inputs(node)
            if len(extents) < -axis or extents[axis] == 1:
                continue
            if name in self.constants:
                self.axes[node.output[0], position] = {len(extents) + axis: labels}
            elif name in with_channels and len(self.tensors[name][1]) == len(labels):
                self.tie(labels, self.tensors[name][1])
            else:
                return self.fix_inputs(
                    node, f"{node.op_type} {node.name!r} combines them with a tensor without channels"
                )
        self.tensors[node.output[0]] = rank + axis, labels
        return None

    def concat(self, node: onnx.NodeProto) -> None:
        inputs = [self.tensors[name] for name in node.input if name in self.tensors]
        dims = self.dims.get(node.input[0]) or []
        axis = attribute(node, "axis", 0) % max(len(dims), 1)
        if not inputs:
            return
        if len(inputs) < len(node.input) or {a for a, _ in inputs} != {inputs[0][0]} or not dims:
            return self.fix_inputs(node)
        channel_axis, labels = inputs[0]
        if axis == channel_axis:
            labels = np.concatenate([others for _, others in inputs])
        else:
            for _, others in inputs[1:]:
                self.tie(labels, others)
        self.tensors[node.output[0]] = channel_axis, labels

    def flatten(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self.tensors:
            return
        axis, labels = self.tensors[node.input[0]]
        dims = self.dims.get(node.input[0]) or [None]
        inner = dims[axis + 1 :]
        if attribute(node, "axis", 1) != 1 or axis != 1 or None in inner:
            return self.fix_inputs(node)
        self.tensors[node.output[0]] = 1, np.repeat(labels, int(np.prod(inner, dtype=int)))

    def reshape(self, node: onnx.NodeProto) -> None:
        """Follow a Reshape that keeps the first axis and the channels, or flattens all other axes."""
        if node.input[0] not in self.tensors:
            return
        axis, labels = self.tensors[node.input[0]]
        shape, dims = self.constants.get(node.input[1]), self.dims.get(node.input[0])
        after = self.dims.get(node.output[0])
        if axis != 1 or shape is None or not dims or not after or len(after) < 2 or len(shape) != len(after):
            return self.fix_inputs(node)
        same_first = shape[0] == 0 or after[0] == dims[0] or (shape[0] == -1 and after[1:] != [None])
        if not same_first or after[1] is None or None in dims[2:]:
            return self.fix_inputs(node)
        inner = int(np.prod(dims[2:], dtype=int))
        if len(after) == 2 and after[1] == len(labels) * inner:
            labels = np.repeat(labels, inner)
        elif after[1] != len(labels):
            return self.fix_inputs(node)
        if shape[1] > 0:
            self.reshapes[node.output[0], 1] = 1, labels
        self.tensors[node.output[0]] = 1, labels

    def transpose(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self.tensors:
            axis, labels = self.tensors[node.input[0]]
            rank = len(self.dims.get(node.output[0]) or ())
            order = list(attribute(node, "perm", list(range(rank))[::-1]))
            self.tensors[node.output[0]] = order.index(axis), labels

    def squeeze(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self.tensors:
            return
        axis, labels = self.tensors[node.input[0]]
        axes = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        before, after = (self.dims.get(name) for name in (node.input[0], node.output[0]))
        if axes is None or before is None or after is None:
            return self.fix_inputs(node)
        inserts = node.op_type == "Unsqueeze"
        moved = sorted(int(a) % len(after if inserts else before) for a in axes)
        if inserts:
            for inserted in moved:
                axis += inserted <= axis
        elif axis in moved:
            return self.fix_inputs(node)
        else:
            axis -= sum(removed < axis for removed in moved)
        self.tensors[node.output[0]] = axis, labels

    def reduce(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self.tensors:
            return
        axis, labels = self.tensors[node.input[0]]
        axes = attribute(node, "axes", None)
        if len(node.input) > 1:
            axes = self.constants.get(node.input[1])
        dims = self.dims.get(node.input[0])
        if axes is None or dims is None or axis in (reduced := [int(a) % len(dims) for a in axes]):
            return self.fix_inputs(node)
        keeps_axes = attribute(node, "keepdims", 1)
        self.tensors[node.output[0]] = axis if keeps_axes else axis - sum(a < axis for a in reduced), labels

    def pad(self, node: onnx.NodeProto) -> None:
        pads = self.constants.get(node.input[1])
        axis = self.tensors.get(node.input[0], (0, None))[0]
        if pads is None or len(node.input) > 3 or pads.reshape(2, -1)[:, axis].any():
            return self.fix_inputs(node)
        return self.pass_on(node)

    def resize(self, node: onnx.NodeProto) -> None:
        scales = self.constants.get(node.input[2]) if len(node.input) == 3 else None
        axis = self.tensors.get(node.input[0], (0, None))[0]
        if scales is None or scales.size <= axis or scales[axis] != 1:
            return self.fix_inputs(node)
        return self.pass_on(node)

    # --- the partition ---

    def coupling(self) -> Coupling:
        roots = np.array([self.root(label) for label in range(len(self.parents))], np.int64)
        makers: dict[int, dict[str, None]] = {}
        for output, name in self.layer_names.items():
            for label in self.axes[output, 1][self.filters[output]]:
                makers.setdefault(int(roots[label]), {})[name] = None
        members: dict[tuple[str, ...], list[int]] = {}
        for root, names in makers.items():
            members.setdefault(tuple(names), []).append(root)
        groups = []
        for layers, labels in members.items():
            reasons = [self.reasons[label] for label in labels if label in self.reasons]
            groups.append(Group(layers, np.array(labels), reasons[0] if reasons else ""))
        return Coupling(
            tuple(groups),
            {
                slot: {axis: roots[labels] for axis, labels in axes.items()}
                for slot, axes in self.axes.items()
            },
            self.filters,
            {node: roots[labels] for node, labels in self.depthwise.items()},
            {slot: (index, roots[labels]) for slot, (index, labels) in self.reshapes.items()},
            {name: (axis, roots[labels]) for name, (axis, labels) in self.tensors.items()},
        )
