"""The parts of a model as the writer reads it: nodes, values and their quantization."""

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
    """real = scale × (integer − zero_point); along ``axis`` where there are several scales."""

    scale: Array
    zero_point: Array
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether there is a scale for each channel."""
        return self.scale.size > 1

    def same_as(self, other: Quantization | None) -> bool:
        """Whether the same integer stands for the same real value."""
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def quantize(self, real: Array) -> Array:
        """Return the int8 of real values, of one scale."""
        integers: Array = np.clip(np.rint(real / self.scale) + self.zero_point, -128, 127).astype(np.int8)
        return integers

    def real(self, integers: Array) -> Array:
        """Return the float32 values that integers stand for."""
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
    """A tensor of the graph: its ONNX shape (None: dynamic), and its data where it is constant."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    data: Array | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """An operator; ``activation`` is the clamp that was fused into it, in TFLite's word."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "NONE"

    def attribute(self, name: str, default: T) -> T:
        """Return an attribute, or the default of the standard where it is absent."""
        return cast("T", self.attributes.get(name, default))

    def refuse(self, why: str) -> NoReturn:
        """Raise the error that says which operator cannot be written, and the ways out."""
        raise UnsupportedOperator(
            f"the TFLite writer cannot hold {self.op}: {why}",
            where=f"node {self.name!r}",
            cause="an operator, or a form of it, that the exact writer has no rule for",
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
