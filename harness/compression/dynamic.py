"""Dynamic int8: integer weights, and activations quantized anew at each inference; no calibration.

For models that are mostly MatMul and for which no calibration data exist. A CNN gets smaller but slower:
digits 1,073 µs against 213 µs in float32 on ONNX Runtime (2,695 µs with signed weights).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from harness.compression.options import read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.storage import expand, sizes
from harness.compression.weights import tidy
from harness.core.errors import ModelError
from harness.core.settings import flag, option

# What becomes of which operator; a Gemm is written as MatMul and Add first.
_MADE = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}


@dataclass(frozen=True, slots=True)
class DynamicOptions:
    """Options of ``dynamic``."""

    per_channel: bool = option(False, flag)


def dynamic(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Quantize weights to uint8, and activations to uint8 when the model runs.

    Weights are unsigned because kernels add u8×u8 products without saturation on every CPU, and because
    ONNX Runtime is much slower with signed ones.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Not read.
    options : mapping
        ``per_channel`` (default false): a scale for each output of a MatMul; a Conv always has one scale.

    Returns
    -------
    PassResult
        The report holds the sizes, the nodes by operator that are ``quantized``, and those left in ``float``.

    Raises
    ------
    ModelError
        No operator of the model can be quantized so.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode

    settings = read_options("dynamic", model, options, DynamicOptions)
    copy = onnx.ModelProto()
    copy.CopyFrom(expand(model))
    quantizer = ONNXQuantizer(
        copy,
        per_channel=settings.per_channel,
        reduce_range=False,
        mode=QuantizationMode.IntegerOps,
        static=False,
        weight_qType=QuantType.QUInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=list(_MADE.values()),
        extra_options={"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    result = tidy(quantizer.model.model)
    _keep_names(model, result)
    kinds = Counter(node.op_type for node in result.graph.node)
    quantized = {_MADE[kind]: kinds[kind] for kind in sorted(_MADE) if kinds[kind]}
    if not quantized:
        raise ModelError(
            "the model has no layer that dynamic quantization knows",
            where=f"graph {model.graph.name!r}",
            cause="it knows Conv, MatMul and Gemm with constant weights",
            next_step="use the pass weight_only",
        )
    left = {kind: kinds[kind] for kind in (*_MADE.values(), "Gemm", "LSTM", "GRU") if kinds[kind]}
    report = {**sizes(model, result), "options": asdict(settings), "quantized": quantized, "float": left}
    return PassResult(result, report)


def _keep_names(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Call each integer layer as the float layer that it was, which a Gemm is not by then."""
    gemms = {node.name for node in before.graph.node if node.op_type == "Gemm"}
    for node in after.graph.node:
        if node.op_type in _MADE:
            name = node.name.removesuffix("_quant")
            gemm = name.removesuffix("_MatMul")
            node.name = gemm if gemm in gemms else name
