"""The table of operators.

To add an operator, write a handler, a row in ``HANDLERS``, and a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.compression.export.convolution import average_pool, conv, conv_transpose, max_pool
from harness.compression.export.elementwise import (  # fmt: skip
    Handler,
    binary,
    cast,
    clip,
    copy,
    dequantize,
    elu,
    erf,
    extreme,
    gelu,
    hard_sigmoid,
    leaky_relu,
    power,
    prelu,
    quantize,
    reciprocal,
    unary,
)
from harness.compression.export.products import gemm, matmul
from harness.compression.export.recurrent import gru, lstm
from harness.compression.export.reductions import arg, layer_normalization, reduce, softmax
from harness.compression.export.resizing import resize
from harness.compression.export.shaping import (  # fmt: skip
    concat,
    depth_to_space,
    gather,
    pad,
    reshape,
    slice_,
    space_to_depth,
    split,
    transpose,
)

HANDLERS: Mapping[str, Handler] = MappingProxyType({
    "Abs": unary("ABS"),
    "Add": binary("ADD"),
    "ArgMax": arg("ARG_MAX"),
    "ArgMin": arg("ARG_MIN"),
    "AveragePool": average_pool,
    "Cast": cast,
    "Ceil": unary("CEIL"),
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Cos": unary("COS"),
    "DepthToSpace": depth_to_space,
    "DequantizeLinear": dequantize,
    "Div": binary("DIV"),
    "Elu": elu,
    "Erf": erf,
    "Exp": unary("EXP"),
    "Flatten": reshape,
    "Floor": unary("FLOOR"),
    "GRU": gru,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": reduce("MEAN"),
    "GlobalMaxPool": reduce("REDUCE_MAX"),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": unary("HARD_SWISH"),
    "Identity": copy,
    "LSTM": lstm,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": leaky_relu,
    "Log": unary("LOG"),
    "LogSoftmax": softmax("LOG_SOFTMAX"),
    "MatMul": matmul,
    "Max": extreme("MAXIMUM"),
    "MaxPool": max_pool,
    "Min": extreme("MINIMUM"),
    "Mul": binary("MUL"),
    "Neg": unary("NEG"),
    "PRelu": prelu,
    "Pad": pad,
    "Pow": power,
    "QuantizeLinear": quantize,
    "Reciprocal": reciprocal,
    "ReduceMax": reduce("REDUCE_MAX"),
    "ReduceMean": reduce("MEAN"),
    "ReduceMin": reduce("REDUCE_MIN"),
    "ReduceSum": reduce("SUM"),
    "Relu": unary("RELU"),
    "Reshape": reshape,
    "Resize": resize,
    "Sigmoid": unary("LOGISTIC"),
    "Sin": unary("SIN"),
    "Slice": slice_,
    "Softmax": softmax("SOFTMAX", {"beta": 1.0}),
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Sqrt": unary("SQRT"),
    "Squeeze": reshape,
    "Sub": binary("SUB"),
    "Tanh": unary("TANH"),
    "Transpose": transpose,
    "Unsqueeze": reshape,
})  # fmt: skip
# Operators that accept any layout of their input; the next convolution decides.
FOLLOWS_LAYOUT = frozenset({
    "Abs", "Add", "Ceil", "Clip", "Concat", "Cos", "DequantizeLinear", "Div", "Elu", "Erf", "Exp", "Floor",
    "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg", "PRelu",
    "Pad", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Sigmoid", "Sin", "Slice", "Split", "Sqrt", "Sub",
    "Tanh",
})  # fmt: skip
WANTS_CHANNELS_LAST = frozenset({
    "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool", "MaxPool",
    "Resize", "SpaceToDepth",
})  # fmt: skip
