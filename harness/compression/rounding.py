"""A model that rounds at random: how far honest kernels may differ in its outputs.

Two correct kernels round differently, so their outputs differ. How much the layers after a rounding enlarge
it depends on the model and on the data. Here every result that is rounded is changed at random by as much as
its rounding may change it (Monte Carlo arithmetic: D. S. Parker, 1997, UCLA CSD-970002), and the spread at
the outputs is measured: `harness.run.rounding` runs the model.

- A float result is changed by a normal error of ``amplitude`` relative to its size; a sum of K products by
  sqrt(K) times that, relative to the root mean square of the tensor: the errors of K additions are
  independent (N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 2.8). Where only
  results are rounded, and sums are not (bfloat16 that is added in float32), there is no such factor.
- An integer result is changed before `QuantizeLinear` by up to a step either way, so that half of them fall
  on the next integer: kernels differ in how they round and in how often (LiteRT rounds twice where ONNX
  Runtime rounds once).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.core.errors import ModelError

#: The added input of one number: 0 leaves the model as it is.
AMPLITUDE = "harness_rounding_amplitude"
#: Another one, in float files: 1 where each of the products of a sum is rounded, 0 where only the sum is.
SUMS = "harness_rounding_sums"
#: Unit roundoff of the float types.
UNITS = {TensorProto.FLOAT: 2.0**-24, TensorProto.FLOAT16: 2.0**-11, TensorProto.DOUBLE: 2.0**-53}
#: Their results have the bits of an operand.
EXACT = frozenset(
    {
        "Abs", "ArgMax", "ArgMin", "Cast", "Ceil", "Clip", "Compress", "Concat", "Constant",
        "ConstantOfShape", "DepthToSpace", "DequantizeLinear", "Dropout", "Expand", "Flatten",
        "Floor", "Gather", "GatherElements", "GatherND", "GlobalMaxPool", "Identity", "LeakyRelu",
        "Max", "MaxPool", "Min", "Neg", "OneHot", "Pad", "QuantizeLinear", "ReduceMax", "ReduceMin",
        "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sign", "Size",
        "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze",
        "Where",
    }
)  # fmt: skip
#: Elementwise, with an error relative to each result.
ELEMENTWISE = frozenset(
    {
        "Add", "Cos", "Div", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Log", "Mul", "PRelu", "Pow",
        "Reciprocal", "Sigmoid", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
    }
)  # fmt: skip
#: Products of a sum whose length is not known.
MANY = 1024


class Unexplained(Exception):
    """Why nothing can be derived for a model."""


@dataclass(frozen=True, slots=True)
class RandomRounding:
    """The model with random rounding.

    Parameters
    ----------
    model : ModelProto
        With the input `AMPLITUDE`, and `SUMS` unless `integers`.
    integers : bool
        Integer results are changed, with amplitude 1; else float results.
    unit : float
        Unit roundoff of the coarsest float type; 1 with `integers`.
    """

    model: onnx.ModelProto
    integers: bool
    unit: float


def with_random_rounding(model: onnx.ModelProto) -> RandomRounding:
    """Return a copy of a model whose results are rounded at random.

    Raises
    ------
    Unexplained
        It computes in integers without `QuantizeLinear`, in a float type without a unit, or its weights do
        not lie in it.
    """
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise Unexplained("its weights lie in files of their own")
    kinds = {node.op_type for node in model.graph.node}
    integer_kinds = sorted(kind for kind in kinds if kind.startswith("QLinear") or kind.endswith("Integer"))
    if integer_kinds or "DynamicQuantizeLinear" in kinds:
        named = ", ".join(integer_kinds or ["DynamicQuantizeLinear"])
        raise Unexplained(f"it computes in integers by operators that round by themselves: {named}")
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = _Graph(changed)
    quantized = {
        node.output[0]: node
        for node in changed.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in graph.constant
    }
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        nodes += graph.before(node) if quantized and node.output[0] in quantized else []
        nodes.append(node)
        nodes += [] if quantized else list(graph.after(node))
    if not graph.count:
        raise Unexplained("none of its results is rounded")
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    added = (AMPLITUDE,) if quantized else (AMPLITUDE, SUMS)
    changed.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in added)
    return RandomRounding(changed, bool(quantized), 1.0 if quantized else max(graph.units))


@dataclass
class _Graph:
    """Adds random errors to a model."""

    model: onnx.ModelProto
    count: int = 0
    units: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self._shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self.constant = set(self._shapes)
        for node in graph.node:
            if node.op_type == "Constant" or (node.input and set(filter(None, node.input)) <= self.constant):
                self.constant.update(node.output)
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model).graph
        except Exception as error:  # the library raises several kinds
            raise ModelError(f"the shapes of the model cannot be inferred: {error}") from error
        self._types: dict[str, int] = {}
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            tensor = value.type.tensor_type
            self._types[value.name] = tensor.elem_type
            sizes = tuple(dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim)
            self._shapes.setdefault(value.name, sizes)

    def before(self, quantize: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Change the input of a `QuantizeLinear` by up to a step."""
        value, step = quantize.input[0], quantize.input[1]
        if len(self._shapes.get(step, ())) > 0 and math.prod(self._shapes[step]) != 1:
            raise Unexplained("its activations have a step for each channel")
        prefix = self._next()
        quantize.input[0] = f"{prefix}_sum"
        draw = helper.make_node(
            "RandomUniformLike", [value], [f"{prefix}_draw"], low=-1.0, high=1.0, seed=float(self.count)
        )
        return [
            draw,
            _multiply(f"{prefix}_draw", step, f"{prefix}_steps"),
            _multiply(f"{prefix}_steps", AMPLITUDE, f"{prefix}_error"),
            helper.make_node("Add", [value, f"{prefix}_error"], [f"{prefix}_sum"]),
        ]

    def after(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Change the results of a node by as much as rounding may change them."""
        if node.domain in ("", "ai.onnx") and node.op_type in EXACT:
            return
        for place, name in enumerate(node.output):
            kind = self._types.get(name, TensorProto.UNDEFINED)
            if name in self.constant or kind not in (*UNITS, TensorProto.BFLOAT16):
                continue
            if kind not in UNITS:
                raise Unexplained("it computes in bfloat16")
            self.units.append(UNITS[kind])
            prefix = self._next()
            node.output[place] = raw = f"{prefix}_raw"
            plain = raw
            if kind != TensorProto.FLOAT:
                plain = f"{prefix}_float"
                yield helper.make_node("Cast", [raw], [plain], to=TensorProto.FLOAT)
            yield from self._sized(node, plain, f"{prefix}_size", prefix)
            draw = f"{prefix}_draw"
            yield helper.make_node(
                "RandomNormalLike", [plain], [draw], dtype=TensorProto.FLOAT, seed=float(self.count)
            )
            yield _multiply(f"{prefix}_size", AMPLITUDE, f"{prefix}_amplitude")
            yield _multiply(f"{prefix}_amplitude", draw, f"{prefix}_error")
            added = name if kind == TensorProto.FLOAT else f"{prefix}_sum"
            yield helper.make_node("Add", [plain, f"{prefix}_error"], [added])
            if added != name:
                yield helper.make_node("Cast", [added], [name], to=kind)

    def _sized(self, node: onnx.NodeProto, name: str, size: str, prefix: str) -> Iterator[onnx.NodeProto]:
        """Compute what an error of amplitude 1 is: the result, or sqrt(K) times its root mean square."""
        if node.domain in ("", "ai.onnx") and node.op_type in ELEMENTWISE:
            yield helper.make_node("Identity", [name], [size])
            return
        factor = np.array(math.sqrt(_terms(node, self._shapes)), np.float32)
        yield helper.make_node("Constant", [], [f"{prefix}_root"], value=numpy_helper.from_array(factor))
        yield helper.make_node("Pow", [f"{prefix}_root", SUMS], [f"{prefix}_k"])
        yield _multiply(name, name, f"{prefix}_square")
        yield helper.make_node("ReduceMean", [f"{prefix}_square"], [f"{prefix}_mean"], keepdims=0)
        yield helper.make_node("Sqrt", [f"{prefix}_mean"], [f"{prefix}_rms"])
        yield _multiply(f"{prefix}_rms", f"{prefix}_k", size)

    def _next(self) -> str:
        self.count += 1
        return f"harness_rounding_{self.count}"


def _multiply(a: str, b: str, product: str) -> onnx.NodeProto:
    return helper.make_node("Mul", [a, b], [product])


def _terms(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> int:
    """Return how many products a result of a node adds; `MANY` where it is not known."""
    of = [shapes.get(name, ()) for name in node.input]
    terms = 0
    match node.op_type:
        case "Conv" if len(of) > 1:
            terms = math.prod(of[1][1:])
        case "ConvTranspose" if len(of) > 1:
            terms = math.prod(of[1][2:]) * (of[1][0] if of[1] else 0)
        case "Gemm" | "MatMul" if len(of) > 1:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if len(of[1]) > 1:
                terms = of[1][-1] if transposed else of[1][-2]
            elif of[0]:
                terms = of[0][-1]
        case "BatchNormalization" | "InstanceNormalization" | "LayerNormalization":
            terms = 4  # the mean, the variance, the scale and the offset
        case _ if of and of[0]:
            terms = math.prod(of[0][1:])
    return terms or MANY
