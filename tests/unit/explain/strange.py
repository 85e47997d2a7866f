"""Backends with a cause in them: they change the file, or what a session takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from tests.unit.explain.scenes import Edit, Edited

Plant = Callable[[Backend], Backend]
Answer = Callable[[Session, Feeds], Outputs]


class Wrapped:
    """A backend or a session, as it is."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.real, name)


def rewriting(change: Edit) -> Plant:
    """A backend that opens another ONNX file than the given one."""
    return partial(Edited, edit=change)


class _Session(Wrapped):
    def __init__(self, real: Session, answer: Answer) -> None:
        super().__init__(real)
        self._answer = answer

    def run(self, feeds: Feeds) -> Outputs:
        return self._answer(self.real, feeds)

    def __enter__(self) -> Self:
        self.real.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.real.__exit__(*exc)


class _Answering(Wrapped):
    def __init__(self, real: Backend, answer: Callable[[Options], Answer]) -> None:
        super().__init__(real)
        self._make = answer

    def open(self, artifact: Artifact, options: Options) -> Session:
        return _Session(self.real.open(artifact, options), self._make(options))  # type: ignore[return-value]


def answering(answer: Callable[[Options], Answer]) -> Plant:
    """A backend whose sessions answer by a function, one for each session."""
    return lambda backend: _Answering(backend, answer)  # type: ignore[return-value]


def changing_outputs(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """A backend that changes each float that it returns."""

    def answer(session: Session, feeds: Feeds) -> Outputs:
        return {
            name: change(y).astype(y.dtype) if y.dtype.kind == "f" else y
            for name, y in session.run(feeds).items()
        }

    return answering(lambda options: answer)


# Changes of a file

Between = Callable[[str, str], list[onnx.NodeProto]]


def cast(to: int) -> Between:
    """Round to a type and back."""
    return lambda name, into: [
        helper.make_node("Cast", [name], [f"{into}:short"], to=to),
        helper.make_node("Cast", [f"{into}:short"], [into], to=TensorProto.FLOAT),
    ]


F16, BF16 = cast(TensorProto.FLOAT16), cast(TensorProto.BFLOAT16)


def tf32(name: str, into: str) -> list[onnx.NodeProto]:
    """Round to 11 bits by adding a large number and taking it away: exact for numbers of about 1."""
    size, exponent = f"{into}:size", f"{into}:power"
    two, ulp = f"{into}:two", f"{into}:bits"
    return [
        _number(ulp, 2.0**-10), _number(two, 2.0), _number(f"{into}:tiny", 2.0**-100),
        helper.make_node("Abs", [name], [size]),
        helper.make_node("Max", [size, f"{into}:tiny"], [f"{into}:positive"]),
        helper.make_node("Log", [f"{into}:positive"], [f"{into}:log"]),
        _number(f"{into}:log2", float(np.log(2.0))),
        helper.make_node("Div", [f"{into}:log", f"{into}:log2"], [f"{into}:exponent"]),
        helper.make_node("Floor", [f"{into}:exponent"], [f"{into}:floor"]),
        helper.make_node("Pow", [two, f"{into}:floor"], [exponent]),
        helper.make_node("Mul", [exponent, ulp], [f"{into}:step"]),
        helper.make_node("Div", [name, f"{into}:step"], [f"{into}:steps"]),
        helper.make_node("Round", [f"{into}:steps"], [f"{into}:whole"]),
        helper.make_node("Mul", [f"{into}:whole", f"{into}:step"], [into]),
    ]  # fmt: skip


def _number(name: str, value: float) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32(value)))


def flushed(name: str, into: str) -> list[onnx.NodeProto]:
    """Zero for what is not normal."""
    return [
        _number(f"{into}:limit", 2.0**-126),
        _number(f"{into}:zero", 0.0),
        helper.make_node("Abs", [name], [f"{into}:size"]),
        helper.make_node("GreaterOrEqual", [f"{into}:size", f"{into}:limit"], [f"{into}:normal"]),
        helper.make_node("Where", [f"{into}:normal", name, f"{into}:zero"], [into]),
    ]


def without_nan(name: str, into: str) -> list[onnx.NodeProto]:
    """Zero for NaN."""
    return [
        _number(f"{into}:zero", 0.0),
        helper.make_node("IsNaN", [name], [f"{into}:nan"]),
        helper.make_node("Where", [f"{into}:nan", f"{into}:zero", name], [into]),
    ]


def results(between: Between, names: Collection[str] = ()) -> Callable[[onnx.ModelProto], None]:
    """Put nodes behind the results of some operators, by their names; of all."""

    def change(model: onnx.ModelProto) -> None:
        nodes = []
        for node in model.graph.node:
            nodes.append(node)
            if node.op_type != "Constant" and (not names or node.name in names):
                name, node.output[0] = node.output[0], f"{node.output[0]}:exact"
                nodes += between(node.output[0], name)
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    return change


def operands(
    between: Between, places: Collection[int], names: Collection[str] = ()
) -> Callable[[onnx.ModelProto], None]:
    """Put nodes before some inputs of products, by the names of these."""

    def change(model: onnx.ModelProto) -> None:
        nodes: list[onnx.NodeProto] = []
        for node in model.graph.node:
            if node.op_type in ("Conv", "Gemm", "MatMul") and (not names or node.name in names):
                for place in places:
                    name, node.input[place] = node.input[place], f"{node.name}:{place}:changed"
                    nodes += between(name, node.input[place])
            nodes.append(node)
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    return change
