"""The parts of a model that the writer reads: nodes, values and their quantization."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from harness.core.errors import UnsupportedOperator

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale × (integer − zero_point); several scales run along ``axis``."""

    scale: Array
    zero_point: Array
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether each channel has its own scale."""
        return self.scale.size > 1

    def same_as(self, other: Quantization | None) -> bool:
        """Whether equal integers mean equal real values."""
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def quantize(self, real: Array) -> Array:
        """Quantize real values to int8 with one scale."""
        integers: Array = np.clip(np.rint(real / self.scale) + self.zero_point, -128, 127).astype(np.int8)
        return integers

    def real(self, integers: Array) -> Array:
        """Dequantize integers to float32."""
        shape = [1] * integers.ndim
        if self.per_channel:
            shape[self.axis] = -1
        scale, zero_point = (
            part.reshape(shape if integers.ndim else ()) for part in (self.scale, self.zero_point)
        )
        real: Array = ((integers.astype(np.int64) - zero_point) * scale).astype(np.float32)
        return real


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph with its ONNX shape (None: dynamic), and its data if it is constant."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    data: Array | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """An operator; ``activation`` is the fused activation by its TFLite name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "NONE"

    def attribute(self, name: str, default: T) -> T:
        """Return an attribute, or `default` if it is absent."""
        return cast("T", self.attributes.get(name, default))

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error for an operator that cannot be written."""
        raise UnsupportedOperator(
            f"the TFLite writer does not support {self.op}: {reason}",
            where=f"node {self.name!r}",
            cause="the writer has no exact form of this operator or of its attributes",
            next_step="run this variant on another backend (onnxruntime, openvino), "
            "or name a prebuilt .tflite in validation.toml",
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: nodes in the order of execution, every value by name."""

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def users_of(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """Return the nodes that read each value."""
    users: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            users[name].append(node)
    return users
