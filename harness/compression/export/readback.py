"""What a TFLite file holds, read from its bytes: the witness of what the writer says it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the file: kind, the dtype it reads and computes in, and the ONNX node it came from."""

    kind: str
    dtype: str
    layer: str


def read_operators(schema: ModuleType, data: bytes, layers: Sequence[str] = ()) -> tuple[Operator, ...]:
    """Read the operators of a file.

    ``layers`` names the ONNX node of each, which no file holds; without it a layer is called as its output.
    """
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    found = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        read = [types[graph.Tensors(i).Type()].lower() for i in inputs if i >= 0]
        # One float operand makes it a float operator; shapes, axes and biases (int32) do not decide.
        dtype = next((each for each in ("float32", "int8") if each in read), read[0])
        kind = kinds[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        output = graph.Tensors(operator.Outputs(0)).Name().decode()
        found.append(Operator(kind, dtype, layers[index] if layers else output))
    return tuple(found)
