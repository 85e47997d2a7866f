"""Dynamic int8: integer weights, activations quantized at each inference; no calibration data.

For models that mostly consist of MatMul. A CNN gets smaller but slower: digits takes 1,073 µs instead of
213 µs in float32 on ONNX Runtime (2,695 µs with signed weights).
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

# Integer operator to the operator it replaces; a Gemm becomes MatMul and Add first.
_REPLACED = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}


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
        ``per_channel`` (default false): one scale per output of a MatMul; a Conv always has one scale.

    Returns
    -------
    PassResult
        The report has the sizes and the numbers of nodes by operator, ``quantized`` and ``float``.

    Raises
    ------
    ModelError
        The model has no operator that can be quantized this way.
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
        op_types_to_quantize=list(_REPLACED.values()),
        extra_options={"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    result = tidy(quantizer.model.model)
    _keep_names(model, result)
    kinds = Counter(node.op_type for node in result.graph.node)
    quantized = {_REPLACED[kind]: kinds[kind] for kind in sorted(_REPLACED) if kinds[kind]}
    if not quantized:
        raise ModelError(
            "the model has no layer that dynamic quantization supports",
            where=f"graph {model.graph.name!r}",
            cause="it supports Conv, MatMul and Gemm with constant weights",
            next_step="use the pass weight_only",
        )
    in_float = {kind: kinds[kind] for kind in (*_REPLACED.values(), "Gemm", "LSTM", "GRU") if kinds[kind]}
    report = {**sizes(model, result), "options": asdict(settings), "quantized": quantized, "float": in_float}
    return PassResult(result, report)


def _keep_names(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Give each integer layer the name of its float layer, also if that was a Gemm."""
    gemms = {node.name for node in before.graph.node if node.op_type == "Gemm"}
    for node in after.graph.node:
        if node.op_type in _REPLACED:
            name = node.name.removesuffix("_quant")
            gemm = name.removesuffix("_MatMul")
            node.name = gemm if gemm in gemms else name
