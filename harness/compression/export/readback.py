"""The operators of a TFLite file, read from its bytes to check the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the file: kind, the dtype it computes in, and the ONNX node it comes from."""

    kind: str
    dtype: str
    layer: str


def read_operators(schema: ModuleType, data: bytes, layers: Sequence[str] = ()) -> tuple[Operator, ...]:
    """Read the operators of a file.

    ``layers`` has the ONNX node of each operator, which the file does not contain; without it, a layer has
    the name of its output.
    """
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    operators = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        dtypes = [types[graph.Tensors(i).Type()].lower() for i in inputs if i >= 0]
        # One float operand makes it a float operator; int32 shapes, axes and biases do not matter.
        dtype = next((name for name in ("float32", "int8") if name in dtypes), dtypes[0])
        kind = kinds[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        output = graph.Tensors(operator.Outputs(0)).Name().decode()
        operators.append(Operator(kind, dtype, layers[index] if layers else output))
    return tuple(operators)
