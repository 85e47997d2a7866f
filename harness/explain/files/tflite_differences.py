"""In what two TFLite files differ, operator by operator; names of tensors do not matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.explain.files import tflite

#: Scales that differ by less, relative to each other, are the same number in another notation.
SAME_SCALE = 1e-5
#: Floats that differ by less, relative to the largest, are the same but for rounding.
MATERIAL = 1e-4
#: What the constant inputs of an operator are, by their place.
ROLES = {
    "CONV_2D": {1: "weights", 2: "bias"}, "DEPTHWISE_CONV_2D": {1: "weights", 2: "bias"},
    "FULLY_CONNECTED": {1: "weights", 2: "bias"}, "TRANSPOSE_CONV": {1: "weights", 3: "bias"},
    "BATCH_MATMUL": {1: "weights"},
}  # fmt: skip
#: Options that change how an operator is run, and not what it gives.
IDLE = frozenset({"quantizedBiasType", "asymmetricQuantizeInputs"})


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is otherwise in the second file.

    Parameters
    ----------
    tensor : str
        Name, in the first file, of the result of the operator.
    what : str
        ``weights``, ``bias``, ``constant``, ``scale``, ``zero point``, ``options`` or ``operator``.
    text : str
    is_material : bool
        It is more than the rounding of an export.
    """

    tensor: str
    what: str
    text: str
    is_material: bool = True


def differences(first: bytes, second: bytes) -> list[Difference]:
    """Compare two files in the order of their operators.

    Raises
    ------
    ModelError
        One has several subgraphs.
    """
    return list(_differences(tflite.read(first), tflite.read(second)))


def _differences(one: Any, two: Any) -> Iterator[Difference]:  # noqa: ANN401 - the schema's ModelT
    graphs = one.subgraphs[0], two.subgraphs[0]
    kinds = [tflite.kinds(model) for model in (one, two)]
    for place, first in enumerate(graphs[0].operators):
        name = tflite.name_of(graphs[0].tensors[first.outputs[0]])
        if place >= len(kinds[1]) or kinds[0][place] != kinds[1][place]:
            other = kinds[1][place] if place < len(kinds[1]) else "the end"
            text = f"{other} is in the place of {kinds[0][place]}"
            yield Difference(name, "operator", text, is_material=False)
            return
        second = graphs[1].operators[place]
        if options := _options(first, second):
            yield Difference(name, "options", f"its options differ: {options}")
        yield from _inputs((one, two), (first, second), kinds[0][place], name)
        for at, (a, b) in enumerate(zip(first.outputs, second.outputs, strict=False)):
            result = tflite.name_of(graphs[0].tensors[a])
            yield from _steps(graphs[0].tensors[a], graphs[1].tensors[b], result if at else name, "result")
    if len(kinds[1]) > len(kinds[0]):
        yield Difference("", "operator", f"{kinds[1][len(kinds[0])]} comes after the last operator")


def _inputs(
    models: tuple[Any, Any], operators: tuple[Any, Any], kind: str, name: str
) -> Iterator[Difference]:
    for at, places in enumerate(zip(*(operator.inputs for operator in operators), strict=False)):
        if min(places) < 0:
            if max(places) >= 0:
                yield Difference(name, "operator", f"one of its inputs ({at}) is missing")
            continue
        tensors = [model.subgraphs[0].tensors[place] for model, place in zip(models, places, strict=True)]
        one, two = (_constant(model, tensor) for model, tensor in zip(models, tensors, strict=True))
        if one is None and two is None:
            continue
        role = ROLES.get(kind, {}).get(at, "constant")
        if one is None or two is None or one.shape != two.shape or one.dtype != two.dtype:
            yield Difference(name, role, f"its {role} have another form")
            continue
        wrong = one != two
        if wrong.any():
            text = f"{int(wrong.sum())} of {wrong.size} numbers of its {role} differ"
            gap = np.abs(one.astype(np.float64) - two).max() if one.dtype.kind == "f" else np.inf
            yield Difference(name, role, text, bool(gap > MATERIAL * np.abs(one).max()))
        yield from _steps(tensors[0], tensors[1], name, role)


def _steps(one: Any, two: Any, name: str, of: str) -> Iterator[Difference]:  # noqa: ANN401 - TensorT
    """Scales and zero points that differ."""
    for what, attribute in (("scale", "scale"), ("zero point", "zeroPoint")):
        a, b = (
            np.zeros(0) if tensor.quantization is None else np.asarray(
                () if (values := getattr(tensor.quantization, attribute)) is None else values, np.float64
            )
            for tensor in (one, two)
        )  # fmt: skip
        if a.shape != b.shape:
            yield Difference(name, what, f"the {what} of its {of} has {b.size} numbers, and not {a.size}")
        elif (wrong := np.abs(a - b) > SAME_SCALE * np.abs(a)).any():
            place = int(np.argmax(wrong))
            where = f" (channel {place})" if a.size > 1 else ""
            text = f"the {what} of its {of} is {b[place]:.4g}, and not {a[place]:.4g}{where}"
            yield Difference(name, what, text)


def _constant(model: Any, tensor: Any) -> NDArray[Any] | None:  # noqa: ANN401 - ModelT and TensorT
    content = model.buffers[tensor.buffer].data
    if content is None or not len(content):
        return None
    kind = tflite.dtype_of(tensor)
    array = np.frombuffer(bytes(content), np.uint8)
    try:
        dtype = np.dtype(kind)
    except TypeError:  # a type that numpy lacks is compared byte by byte
        return array
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    return array.view(dtype).reshape(shape) if array.nbytes == dtype.itemsize * np.prod(shape) else array


def _options(one: Any, two: Any) -> str:  # noqa: ANN401 - the schema's OperatorT
    a, b = ({} if x.builtinOptions is None else vars(x.builtinOptions) for x in (one, two))
    texts = [
        f"{name} is {_plain(b.get(name))}, and not {_plain(a.get(name))}"
        for name in sorted(a.keys() | b.keys())
        if name not in IDLE and _plain(a.get(name)) != _plain(b.get(name))
    ]
    return "; ".join(texts)


def _plain(value: object) -> str:
    return str(list(value)) if isinstance(value, np.ndarray) else str(value)
