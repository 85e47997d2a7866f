"""The int8 pass: static quantization into Quantize/Dequantize pairs (QDQ) from calibration data.

Activations are unsigned, weights signed, symmetric and per channel, biases int32: the form that ONNX Runtime
runs fastest on x86 and that LiteRT holds with the same integers.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from harness.compression.agreement import agreed_steps
from harness.compression.calibration import METHODS, Range, activation_ranges
from harness.compression.canonical import Array, attribute, check, initializers, sort_fields
from harness.compression.passes import Feeds, PassResult
from harness.core.errors import ModelError, UnsupportedOperator, UsageError

if TYPE_CHECKING:
    from onnxruntime.quantization import TensorsData

# Operators that ONNX Runtime and LiteRT both compute in integers; every other stays in float.
QUANTIZED_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "DepthToSpace", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Softmax", "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
)  # fmt: skip
_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_DEFAULTS: Mapping[str, Any] = {"calibration": "minmax", "reduce_range": True}
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_QUANTIZED_ALREADY = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger")


def quantize(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Quantize a canonical float model to int8 (U8S8, per channel, QDQ).

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`harness.compression.canonical.canonicalise` returns it; it is not changed.
    calibration : iterable of mapping
        Input name to array; read once, one feed at a time.
    options : mapping
        ``calibration``: ``"minmax"`` (default), ``"entropy"`` or ``"percentile"``. ``reduce_range`` (default
        true): weights of 7 bits, within [-64, 64], because u8×s8 kernels add two products in 16 saturating
        bits on AVX2 without VNNI; false allows [-127, 127], which such a CPU computes wrongly.

    Returns
    -------
    PassResult
        The report holds ``bytes_before``, ``bytes_after``, ``calibration_feeds``, the nodes by operator that
        are ``quantized`` and those left in ``float``, and ``output_quantization``: scale, zero point and
        dtype of each output (one LSB of the output is its scale).
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    settings = _settings(options)
    _refuse(model)
    ranges, count = activation_ranges(model, calibration, settings["calibration"], QUANTIZED_OPERATORS)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _unshare(copy)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=settings["reduce_range"],
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=_tensors_data(ranges),
        nodes_to_quantize=[],
        # In integers it would be rounded down by one runtime and to the nearest by another.
        nodes_to_exclude=[
            n.name
            for n in copy.graph.node
            if n.op_type == "Resize" and attribute(n, "mode", b"") == b"linear"
        ],
        op_types_to_quantize=list(QUANTIZED_OPERATORS),
        extra_options={"ForceQuantizeNoInputCheck": True, "TensorQuantOverrides": _overrides(copy, ranges)},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result = _tidy(quantizer.model.model)
    quantized, in_float = _count(result)
    report = {
        "bytes_before": model.ByteSize(),
        "bytes_after": result.ByteSize(),
        "calibration_feeds": count,
        "options": dict(settings),
        "quantized": quantized,
        "float": in_float,
        "output_quantization": output_quantization(result),
    }
    return PassResult(result, report)


def output_quantization(model: onnx.ModelProto) -> dict[str, dict[str, Any]]:
    """Read scale, zero point and dtype of each output from the DequantizeLinear that makes it."""
    constants = initializers(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, dict[str, Any]] = {}
    for value in model.graph.output:
        node = makers.get(value.name)
        if node is not None and node.op_type == "DequantizeLinear":
            scale, zero_point = constants[node.input[1]], constants[node.input[2]]
            found[value.name] = {
                "scale": float(scale),
                "zero_point": int(zero_point),
                "dtype": str(zero_point.dtype),
            }
    return found


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {sorted(_DEFAULTS)}"
            raise UsageError(f"quantize has no option {name!r}", where=f"quantize.{name}", next_step=hint)
    settings = {**_DEFAULTS, **options}
    if settings["calibration"] not in METHODS:
        raise UsageError(
            f"{settings['calibration']!r} is not a calibration method",
            where="quantize.calibration",
            next_step=f"use one of {sorted(METHODS)}",
        )
    if not isinstance(settings["reduce_range"], bool):
        raise UsageError("reduce_range is true or false", where="quantize.reduce_range")
    return settings


def _refuse(model: onnx.ModelProto) -> None:
    """Raise for a model that static quantization would spoil."""
    constants = initializers(model)
    for node in model.graph.node:
        where = f"node {node.name!r}"
        if node.op_type.startswith(_QUANTIZED_ALREADY):
            raise ModelError(
                f"the model is quantized already: it has {node.op_type}",
                where=where,
                next_step="give the float model",
            )
        if node.op_type in _CONTROL_FLOW or node.domain not in ("", "ai.onnx"):
            raise UnsupportedOperator(
                f"{node.op_type} cannot be quantized",
                where=where,
                cause="control flow and custom operators hide their values from calibration",
                next_step="export the model without it, or leave the int8 variant out",
            )
        if node.op_type == "Clip":
            bounds = [constants.get(name) for name in node.input[1:] if name]
            low, high = (
                ([*bounds, None, None])[:2] if len(node.input) < 2 or node.input[1] else (None, bounds[0])
            )
            if (low is not None and low > 0) or (high is not None and high < 0):
                raise UnsupportedOperator(
                    f"Clip to [{low}, {high}] cannot be quantized",
                    where=where,
                    cause="the range of a quantized tensor always holds zero, so the bound would be lost",
                    next_step="write the bound as Add after a Clip that starts at zero",
                )
    for name, value in constants.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ModelError(
                f"weight {name!r} holds NaN or infinity",
                where=f"initializer {name!r}",
                cause="training diverged, or a step before this one divided by zero",
                next_step="train or export the model again",
            )


def _axis(node: onnx.NodeProto, weights: Array) -> int:
    """Return the axis of the outputs in the weights of a Conv, Gemm or MatMul."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else weights.ndim - 1


def _unshare(model: onnx.ModelProto) -> None:
    """Give a constant a copy for each way in which it is to be quantized: equal ones were merged before."""
    constants = initializers(model)
    copies: dict[tuple[str, object], str] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name not in constants:
                continue
            role: object = None
            if node.op_type in _WEIGHTED and position:
                role = node.name if position == 2 else _axis(node, constants[name])
            if (name, role) not in copies:
                first = not any(known == name for known, _ in copies)
                copies[name, role] = name if first else f"{node.name}/{position}/{name}"
                if not first:
                    tensor = numpy_helper.from_array(constants[name], copies[name, role])
                    model.graph.initializer.append(tensor)
            node.input[position] = copies[name, role]


def _overrides(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    """Return what the quantizer would otherwise choose badly, by tensor name."""
    constants = initializers(model)
    overrides: dict[str, list[dict[str, Any]]] = {}
    for node in model.graph.node:
        if node.op_type in ("Add", "Mul", "Sub"):
            # Seven bits are for weights that are multiplied and summed in pairs; these are not.
            overrides |= {name: [{"reduce_range": False}] for name in node.input if name in constants}
        elif node.op_type in _WEIGHTED and node.input[1] in constants:
            weights = constants[node.input[1]]
            axis = _axis(node, weights)
            largest = np.abs(weights).max(axis=tuple(a for a in range(weights.ndim) if a != axis))
            # A channel of zeros would get the scale 1, and its bias a step of the whole input scale.
            largest[largest == 0] = largest.max() or 1.0
            overrides[node.input[1]] = [{"axis": axis, "rmin": -bound, "rmax": bound} for bound in largest]
    return overrides | {name: step.override for name, step in agreed_steps(model, ranges).items()}


def _tensors_data(ranges: Mapping[str, Range]) -> TensorsData:
    from onnxruntime.quantization import CalibrationMethod, TensorsData

    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.metadata_props[:]
    standard = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    model.producer_name, model.producer_version = "harness", ""
    del model.graph.value_info[:]
    sort_fields(model)
    result = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    check(result, "the quantized model")
    return result


def _count(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    """Count the nodes by operator between a DequantizeLinear and a QuantizeLinear, and those that are not."""
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    users = {name: node.op_type for node in model.graph.node for name in node.input}
    quantized: Counter[str] = Counter()
    in_float: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        inside = (
            makers.get(node.input[0]) == "DequantizeLinear" and users.get(node.output[0]) == "QuantizeLinear"
        )
        (quantized if inside else in_float)[node.op_type] += 1
    return dict(sorted(quantized.items())), dict(sorted(in_float.items()))
