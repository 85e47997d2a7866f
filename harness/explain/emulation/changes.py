"""What arithmetic that errs does to numbers: as nodes of an ONNX file, and on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Real = NDArray[np.float64]
Nodes = Iterator[onnx.NodeProto]
SMALLEST_NORMAL, LARGEST = 2.0**-126, float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Change:
    """What is done to each number.

    Parameters
    ----------
    name, text : str
        As in ``computes in f16``.
    nodes : callable
        Makes the nodes from the name of a value to another name, with names that begin with the third.
    values : callable
        The same on an array.
    """

    name: str
    text: str
    nodes: Callable[[str, str, str], Nodes]
    values: Callable[[Real], Real]


def _constant(value: float, name: str) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.array(value, np.float32), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def _cast(to: int) -> Callable[[str, str, str], Nodes]:
    def nodes(name: str, into: str, prefix: str) -> Nodes:
        yield helper.make_node("Cast", [name], [f"{prefix}:short"], to=to)
        yield helper.make_node("Cast", [f"{prefix}:short"], [f"{prefix}:long"], to=TensorProto.FLOAT)
        # A result of Cast alone is no point of the file: it only moves numbers.
        yield _constant(1.0, f"{prefix}:one")
        yield helper.make_node("Mul", [f"{prefix}:long", f"{prefix}:one"], [into])

    return nodes


def _split(bits: int) -> Callable[[str, str, str], Nodes]:
    """Round to so many significant bits by G. W. Veltkamp's split; large numbers and infinities stay."""

    def nodes(name: str, into: str, prefix: str) -> Nodes:
        large, factor, rounded = f"{prefix}:large", f"{prefix}:factor", f"{prefix}:rounded"
        yield _constant(2.0 ** (24 - bits) + 1, factor)
        yield _constant(2.0**100, large)
        yield helper.make_node("Mul", [name, factor], [f"{prefix}:product"])
        yield helper.make_node("Sub", [f"{prefix}:product", name], [f"{prefix}:rest"])
        yield helper.make_node("Sub", [f"{prefix}:product", f"{prefix}:rest"], [rounded])
        yield helper.make_node("Abs", [name], [f"{prefix}:size"])
        yield helper.make_node("Less", [f"{prefix}:size", large], [f"{prefix}:is-small"])
        yield helper.make_node("Where", [f"{prefix}:is-small", rounded, name], [into])

    return nodes


def _cut(bits: int) -> Callable[[str, str, str], Nodes]:
    """Leave the other bits out; what is rounded to one bit tells the exponent."""

    def nodes(name: str, into: str, prefix: str) -> Nodes:
        power, step, size = f"{prefix}:power", f"{prefix}:step", f"{prefix}:size"
        yield helper.make_node("Abs", [name], [size])
        yield from _split(1)(size, f"{prefix}:near", f"{prefix}:near")
        yield _constant(0.5, f"{prefix}:half")
        yield _constant(0.0, f"{prefix}:zero")
        yield _constant(2.0 ** (1 - bits), f"{prefix}:bits")
        yield helper.make_node("Mul", [f"{prefix}:near", f"{prefix}:half"], [f"{prefix}:below"])
        yield helper.make_node("Greater", [f"{prefix}:near", size], [f"{prefix}:is-above"])
        yield helper.make_node("Where", [f"{prefix}:is-above", f"{prefix}:below", f"{prefix}:near"], [power])
        yield helper.make_node("Mul", [power, f"{prefix}:bits"], [step])
        yield helper.make_node("Div", [name, step], [f"{prefix}:steps"])
        yield helper.make_node("Abs", [f"{prefix}:steps"], [f"{prefix}:many"])
        yield helper.make_node("Floor", [f"{prefix}:many"], [f"{prefix}:whole"])
        yield helper.make_node("Mul", [f"{prefix}:whole", step], [f"{prefix}:cut"])
        yield helper.make_node("Sign", [name], [f"{prefix}:sign"])
        yield helper.make_node("Mul", [f"{prefix}:cut", f"{prefix}:sign"], [f"{prefix}:signed"])
        # Neither zero nor NaN nor infinity has an exponent.
        yield _constant(2.0**100, f"{prefix}:large")
        yield helper.make_node("Greater", [size, f"{prefix}:zero"], [f"{prefix}:is-some"])
        yield helper.make_node("Less", [size, f"{prefix}:large"], [f"{prefix}:is-small"])
        yield helper.make_node("And", [f"{prefix}:is-some", f"{prefix}:is-small"], [f"{prefix}:is-number"])
        yield helper.make_node("Where", [f"{prefix}:is-number", f"{prefix}:signed", name], [into])

    return nodes


def _without_bits(bits: int) -> Callable[[Real], Real]:
    def values(real: Real) -> Real:
        mantissa, exponent = np.frexp(real)
        return np.asarray(np.ldexp(np.trunc(mantissa * 2.0**bits), exponent - bits))

    return values


def _rounded(bits: int) -> Callable[[Real], Real]:
    def values(real: Real) -> Real:
        mantissa, exponent = np.frexp(real)
        return np.asarray(np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits))

    return values


def _to_float16(real: Real) -> Real:
    with np.errstate(over="ignore"):
        return real.astype(np.float32).astype(np.float16).astype(np.float64)


def _flush(name: str, into: str, prefix: str) -> Nodes:
    yield _constant(SMALLEST_NORMAL, f"{prefix}:normal")
    yield _constant(0.0, f"{prefix}:zero")
    yield helper.make_node("Abs", [name], [f"{prefix}:size"])
    yield helper.make_node("Less", [f"{prefix}:size", f"{prefix}:normal"], [f"{prefix}:is-small"])
    yield helper.make_node("Where", [f"{prefix}:is-small", f"{prefix}:zero", name], [into])


def _without_nan(value: float) -> Callable[[str, str, str], Nodes]:
    def nodes(name: str, into: str, prefix: str) -> Nodes:
        yield _constant(value, f"{prefix}:value")
        yield helper.make_node("IsNaN", [name], [f"{prefix}:is-nan"])
        yield helper.make_node("Where", [f"{prefix}:is-nan", f"{prefix}:value", name], [into])

    return nodes


def _limited(name: str, into: str, prefix: str) -> Nodes:
    """Put the largest number for infinities; NaN stays, as Clip does not promise."""
    low, high, middle = f"{prefix}:low", f"{prefix}:high", f"{prefix}:middle"
    yield _constant(LARGEST, high)
    yield _constant(-LARGEST, low)
    yield helper.make_node("Greater", [name, high], [f"{prefix}:is-high"])
    yield helper.make_node("Where", [f"{prefix}:is-high", high, name], [middle])
    yield helper.make_node("Less", [name, low], [f"{prefix}:is-low"])
    yield helper.make_node("Where", [f"{prefix}:is-low", low, middle], [into])


def _numbers(name: str, into: str, prefix: str) -> Nodes:
    yield from _without_nan(0.0)(name, f"{prefix}:number", prefix)
    yield from _limited(f"{prefix}:number", into, prefix)


F16 = Change("f16", "f16", _cast(TensorProto.FLOAT16), _to_float16)
BF16 = Change("bf16", "bf16", _split(8), _rounded(8))
TF32 = Change("tf32", "tf32", _split(11), _rounded(11))
BF16_CUT = Change("bf16 cut", "bf16, which is cut off and not rounded", _cut(8), _without_bits(8))
TF32_CUT = Change("tf32 cut", "tf32, which is cut off and not rounded", _cut(11), _without_bits(11))
NUMBERS = Change(
    "numbers", "0 for NaN and the largest number for infinity", _numbers,
    lambda real: np.nan_to_num(real, posinf=LARGEST, neginf=-LARGEST),
)  # fmt: skip
FLUSHED = Change(
    "flushed", "0 for numbers below 2^-126", _flush,
    lambda real: np.where(np.abs(real) < SMALLEST_NORMAL, 0.0, real),
)  # fmt: skip
NAN_TO_ZERO = Change("zero", "0 for NaN", _without_nan(0.0), lambda real: np.where(np.isnan(real), 0.0, real))
NAN_TO_LOWEST = Change(
    "lowest", "the lowest number for NaN", _without_nan(-LARGEST),
    lambda real: np.where(np.isnan(real), -LARGEST, real),
)  # fmt: skip
NAN_TO_LARGEST = Change(
    "largest", "the largest number for NaN", _without_nan(LARGEST),
    lambda real: np.where(np.isnan(real), LARGEST, real),
)  # fmt: skip
LIMITED = Change(
    "limited", "the largest number for infinity", _limited,
    lambda real: np.where(np.isinf(real), np.sign(real) * LARGEST, real),
)  # fmt: skip
