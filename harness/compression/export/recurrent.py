"""LSTM and GRU, unrolled.

TFLite's recurrent operators keep their state between calls, so a second call would not start from zero as in
ONNX. So a short sequence of fixed length is unrolled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.compression.export.emitter import Emitter
from harness.compression.export.layout import plain
from harness.compression.export.parts import Array, Node, Shape

LONGEST = 64  # steps; each adds a dozen operators to the file
_DIRECTIONS = {"forward": (1,), "reverse": (-1,), "bidirectional": (1, -1)}
# Takes the gates' input of a step and the state (None before the first step); returns the next state.
Step = Callable[[int, tuple[int | None, ...]], tuple[int, ...]]


class _Cell:
    """Builds the steps of one direction; tensors have the shape (batch, hidden) unless noted."""

    def __init__(self, node: Node, emitter: Emitter, direction: int, gates: int) -> None:
        self.emitter, self.node = emitter, node
        self.hidden = int(node.attribute("hidden_size", 0))
        constants = [emitter.data(name) if name else None for name in (*node.inputs[:4], "")[1:4]]
        weights, recurrent, bias = constants
        if weights is None or recurrent is None or (len(node.inputs) > 3 and node.inputs[3] and bias is None):
            node.refuse("only constant weights are supported")
        if bias is None:
            bias = np.zeros((len(weights), 2 * gates * self.hidden), np.float32)
        self.weights, self.recurrent = weights[direction], recurrent[direction]
        self.input_bias, self.recurrent_bias = np.split(bias[direction], 2)
        self.shape: Shape = (emitter.value(node.inputs[0]).shape[1], self.hidden)

    def apply(self, kind: str, *tensors: int) -> int:
        return self.emitter.apply(kind, list(tensors), self.shape)

    def product(self, tensor: int, weights: Array, bias: Array, shape: Shape) -> int:
        constants = [
            self.emitter.constant(f"{self.node.name}/{n}", v) for n, v in (("w", weights), ("b", bias))
        ]
        settings = {"keepNumDims": len(shape) > 2}
        return self.emitter.apply("FULLY_CONNECTED", [tensor, *constants], shape, settings)

    def state_product(self, state: int, rows: slice, bias: bool) -> int:
        """Multiply the state by some rows of the recurrent weights."""
        weights = self.recurrent[rows]
        numbers = self.recurrent_bias[rows] if bias else np.zeros(len(weights), np.float32)
        return self.product(state, weights, numbers, (self.shape[0], len(weights)))

    def parts(self, tensor: int, count: int) -> list[int]:
        """Split (batch, count · hidden) into its gates."""
        sizes = self.emitter.constant(f"{self.node.name}/sizes", np.full(count, self.hidden, np.int32))
        axis = self.emitter.constant(f"{self.node.name}/axis", np.array(1, np.int32))
        return self.emitter.apply_many(
            "SPLIT_V", [tensor, sizes, axis], [self.shape] * count, {"numSplits": count}
        )

    def lstm(self, gates: int, state: tuple[int | None, ...]) -> tuple[int, ...]:
        """One step of an LSTM: gates (batch, 4 · hidden) in ONNX's order input, output, forget, cell."""
        hidden, cell = state
        if hidden is not None:
            shape = (self.shape[0], 4 * self.hidden)
            gates = self.emitter.apply("ADD", [gates, self.state_product(hidden, slice(None), False)], shape)
        into, out, forget, new = self.parts(gates, 4)
        added = self.apply("MUL", self.apply("LOGISTIC", into), self.apply("TANH", new))
        if cell is not None:
            added = self.apply("ADD", self.apply("MUL", self.apply("LOGISTIC", forget), cell), added)
        return self.apply("MUL", self.apply("LOGISTIC", out), self.apply("TANH", added)), added

    def gru(self, gates: int, state: tuple[int | None, ...]) -> tuple[int, ...]:
        """One step of a GRU: gates (batch, 3 · hidden) in ONNX's order update, reset, hidden."""
        (hidden,), h = state, self.hidden
        update, reset, new = self.parts(gates, 3)
        linear_first = self.node.attribute("linear_before_reset", 0)
        if hidden is not None:
            added = self.parts(self.state_product(hidden, slice(0, 2 * h), False), 2)
            update, reset = self.apply("ADD", update, added[0]), self.apply("ADD", reset, added[1])
        update, reset = self.apply("LOGISTIC", update), self.apply("LOGISTIC", reset)
        last = slice(2 * h, None)
        if linear_first:
            bias = self.emitter.constant(f"{self.node.name}/b", self.recurrent_bias[last])
            product = bias if hidden is None else self.state_product(hidden, last, True)
            new = self.apply("ADD", new, self.apply("MUL", reset, product))
        elif hidden is not None:
            new = self.apply("ADD", new, self.state_product(self.apply("MUL", reset, hidden), last, False))
        new = self.apply("TANH", new)
        if hidden is None:
            return (self.apply("SUB", new, self.apply("MUL", update, new)),)
        return (self.apply("ADD", new, self.apply("MUL", update, self.apply("SUB", hidden, new))),)


def lstm(node: Node, emitter: Emitter) -> None:
    """LSTM with the default activations and no peepholes."""
    if len(node.inputs) > 7 and node.inputs[7]:
        node.refuse("peepholes are not supported")
    _unroll(node, emitter, gates=4, states=2, defaults=["Sigmoid", "Tanh", "Tanh"])


def gru(node: Node, emitter: Emitter) -> None:
    """GRU with the default activations."""
    _unroll(node, emitter, gates=3, states=1, defaults=["Sigmoid", "Tanh"])


def _unroll(node: Node, emitter: Emitter, gates: int, states: int, defaults: list[str]) -> None:
    steps, batch, _ = emitter.value(node.inputs[0]).shape
    directions = _DIRECTIONS[node.attribute("direction", "forward")]
    given = node.attribute("activations", list[str | bytes]())
    named = [name.decode() if isinstance(name, bytes) else name for name in given]
    if steps is None or steps > LONGEST:
        node.refuse(f"{steps or 'a dynamic number of'} steps; up to {LONGEST} are supported")
    if (
        named not in ([], defaults * len(directions))
        or node.attribute("clip", 0.0)
        or int(node.attribute("layout", 0))
    ):
        node.refuse("only the default activations, no clip and layout 0 are supported")
    has_lengths = len(node.inputs) > 4 and bool(node.inputs[4])
    if has_lengths or node.attribute("input_forget", 0):
        node.refuse("sequence_lens and input_forget are not supported")
    hidden = int(node.attribute("hidden_size", 0))
    source = emitter.get(node.inputs[0], plain(3))
    initial = [_rows(node, emitter, 5 + index, len(directions), (batch, hidden)) for index in range(states)]
    sequences: list[int] = []
    finals: list[list[int]] = [[] for _ in range(states)]
    for index, direction in enumerate(directions):
        cell = _Cell(node, emitter, index, gates)
        bias = cell.input_bias.copy()
        summed = (
            slice(None, 2 * hidden)
            if gates == 3 and node.attribute("linear_before_reset", 0)
            else slice(None)
        )
        bias[summed] += cell.recurrent_bias[summed]
        projected = cell.product(source, cell.weights, bias, (steps, batch, gates * hidden))
        inputs = emitter.apply_many(
            "UNPACK", [projected], [(batch, gates * hidden)] * steps, {"num": steps, "axis": 0}
        )
        state: tuple[int | None, ...] = tuple(states[index] for states in initial)
        step: Step = cell.lstm if gates == 4 else cell.gru
        hidden_states = []
        for gate in inputs[::direction]:
            state = step(gate, state)
            hidden_states.append(state[0])
        tensors = [tensor for tensor in hidden_states[::direction] if tensor is not None]
        packed = emitter.apply("PACK", tensors, (steps, batch, hidden), {"valuesCount": steps, "axis": 0})
        sequences.append(_with_axis(node, emitter, packed, (steps, 1, batch, hidden)))
        for final, tensor in zip(finals, state, strict=True):
            if tensor is not None:
                final.append(_with_axis(node, emitter, tensor, (1, batch, hidden)))
    for name, tensors, axis in zip(node.outputs, [sequences, *finals], [1, 0, 0], strict=False):
        if name:
            result = emitter.value(name)
            emitter.emit(
                "CONCATENATION", tensors, emitter.add(result, plain(len(result.shape))), {"axis": axis}
            )


def _with_axis(node: Node, emitter: Emitter, tensor: int, shape: Shape) -> int:
    return emitter.reshape(tensor, shape, emitter.value(node.inputs[0]))


def _rows(node: Node, emitter: Emitter, position: int, count: int, shape: Shape) -> list[int | None]:
    """Return the initial state of each direction, None if it is zero."""
    if len(node.inputs) <= position or not node.inputs[position]:
        return [None] * count
    tensor = emitter.get(node.inputs[position], plain(3))
    return list(emitter.apply_many("UNPACK", [tensor], [shape] * count, {"num": count, "axis": 0}))
