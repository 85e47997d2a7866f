"""The int8 pass: static quantization into Quantize/Dequantize pairs (QDQ) from calibration data.

By default activations are unsigned, weights signed, symmetric and per channel, biases int32: the fastest form
in ONNX Runtime on x86, and one that LiteRT represents with the same integers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from harness.compression.calibration import METHODS, Range, activation_ranges
from harness.compression.canonical import Array, attribute, initializers
from harness.compression.float_nodes import (  # fmt: skip
    WEIGHTED,
    activations_between,
    around,
    clips_away_from_zero,
    unchosen,
)
from harness.compression.joined_outputs import joined_by, joined_outputs
from harness.compression.options import node_names, read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.portable_pools import explicit_padding
from harness.compression.resolution import FEEDS, Grid, unrepresentable, unresolved
from harness.compression.saturation import LARGEST, overflowing, portable_bounds, sums_in_16_bits
from harness.compression.shared_scales import Step, clipping_activations, shared_steps
from harness.compression.storage import expand, lift, sizes
from harness.compression.weights import output_axis, sqnr_db, tidy
from harness.core.settings import Problems, choice, flag, option

if TYPE_CHECKING:
    from onnxruntime.quantization import QDQQuantizer, TensorsData

# Operators that both ONNX Runtime and LiteRT compute in integers; all others stay in float.
QUANTIZED_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "DepthToSpace", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Softmax", "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
)  # fmt: skip
_ACTIVATIONS = {"uint8": "QUInt8", "int8": "QInt8", "uint16": "QUInt16", "int16": "QInt16"}


def _methods_by_tensor(value: object) -> str:
    """Accept a table of tensor name to calibration method."""
    is_table = isinstance(value, Mapping) and set(value.values()) <= set(METHODS)
    return "" if is_table else f"a table of tensor to one of {', '.join(METHODS)}"


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """Options of ``quantize``."""

    activations: str = option("uint8", choice(*_ACTIVATIONS))
    calibration: str = option("minmax", choice(*METHODS))
    calibration_by_tensor: Mapping[str, str] = option({}, _methods_by_tensor)
    float_layers: tuple[str, ...] = option((), node_names)
    layers: tuple[str, ...] = option((), node_names)
    per_channel: bool = option(True, flag)
    portable: bool = option(True, flag)


def quantize(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Quantize a canonical float model to int8 weights and integer activations (QDQ).

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical (see :func:`harness.compression.canonical.canonicalise`); it is not changed.
    calibration : iterable of mapping
        Input name to array; read once, one feed at a time.
    options : mapping
        ``activations``: ``"uint8"`` (default), ``"int8"``, ``"uint16"``, or ``"int16"`` (symmetric).
        ``calibration``: ``"minmax"`` (default), ``"entropy"``, ``"percentile"`` or ``"mse"``;
        ``calibration_by_tensor``: the method of single activations, by name. ``layers``: names of the nodes
        with weights to quantize (default: all), or ``float_layers``: those not to quantize; nodes between two
        layers are treated like the layer before.
        ``per_channel`` (default true): one scale per output; false: one per layer. ``portable`` (default
        true): the scale of a filter is widened if two of its weights could overflow 16 bits on some CPU
        (:mod:`~harness.compression.saturation`); with false, such a CPU computes wrong numbers.

    Returns
    -------
    PassResult
        The report has the sizes, ``calibration_feeds``, the numbers of nodes by operator that are
        ``quantized`` and ``float``; ``kept_float``: tensors and nodes that integers cannot represent, to the
        reason (:mod:`~harness.compression.resolution`); ``weights``: per layer ``sqnr_db``, and if scales
        were widened ``widened_filters`` and ``sqnr_db_before``; ``overflow``: the layers that can still
        overflow; and ``output_quantization``: scale, zero point and dtype of each output (one LSB is its
        scale).
    """
    from onnxruntime.quantization import QuantType

    settings = read_options("quantize", model, options, QuantizeOptions, _conflicts)
    dense = expand(model)
    feeds = iter(calibration)
    sample = list(islice(feeds, FEEDS))
    calibrated = activation_ranges(
        dense,
        chain(sample, feeds),
        settings.calibration,
        QUANTIZED_OPERATORS,
        settings.calibration_by_tensor,
    )
    copy = onnx.ModelProto()
    copy.CopyFrom(lift(dense) if "16" in settings.activations else dense)
    _unshare(copy)
    kept_float = clips_away_from_zero(copy)
    joined = joined_outputs(copy, calibrated.ranges)
    kept_float |= joined.reasons
    float_nodes = unchosen(dense, settings.layers, settings.float_layers) | set(kept_float) | joined.nodes
    destroyed = unrepresentable(calibrated, activations_between(copy, QUANTIZED_OPERATORS, float_nodes))
    float_nodes |= around(copy, destroyed)
    grids = _grids(copy, calibrated.ranges, destroyed, float_nodes, settings.activations)
    shared = joined_by(copy, calibrated.ranges)
    for name, reason in unresolved(dense, calibrated, grids, sample).items():
        destroyed[name] = f"{reason}; {shared[name]}" if name in shared else reason
    float_nodes |= around(copy, destroyed)
    ranges = {name: limits for name, limits in calibrated.ranges.items() if name not in destroyed}
    pools = explicit_padding(copy, ranges, float_nodes, settings.activations)
    float_nodes |= set(pools)
    overrides, weights, overflow = _weight_ranges(copy, settings, float_nodes)
    clipping: dict[str, str] = {}
    if "16" not in settings.activations:
        steps = shared_steps(copy, ranges)
        clipping = clipping_activations(copy, steps)
        steps |= {before: steps[after] for after, before in clipping.items()}
        overrides |= {name: step.override(settings.activations) for name, step in steps.items()}
    quantizer = _quantizer(
        clipping,
        copy,
        per_channel=settings.per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=getattr(QuantType, _ACTIVATIONS[settings.activations]),
        tensors_range=_tensors_data(calibrated.ranges),
        nodes_to_quantize=[],
        # Runtimes differ in rounding: one rounds down, another to the nearest integer.
        nodes_to_exclude=[
            n.name
            for n in copy.graph.node
            if n.name in float_nodes or (n.op_type == "Resize" and attribute(n, "mode", b"") == b"linear")
        ],
        op_types_to_quantize=list(QUANTIZED_OPERATORS),
        extra_options={
            "ForceQuantizeNoInputCheck": True,
            "TensorQuantOverrides": overrides,
            "ActivationSymmetric": settings.activations == "int16",  # TFLite supports no other
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result = tidy(quantizer.model.model)
    quantized, in_float = count_operators(result)
    report = {
        **sizes(model, result),
        "calibration_feeds": calibrated.feeds,
        "options": asdict(settings),
        "quantized": quantized,
        "float": in_float,
        "kept_float": kept_float | destroyed | pools,
        "weights": weights,
        "overflow": overflow,
        "output_quantization": output_quantization(result),
    }
    return PassResult(result, report)


def _quantizer(clipping: Collection[str], *arguments: Any, **options: Any) -> QDQQuantizer:  # noqa: ANN401
    """ONNX Runtime's quantizer, which leaves some activations in.

    Parameters
    ----------
    clipping : collection of str
        Their results (:func:`~harness.compression.shared_scales.clipping_activations`).
    arguments, options
        Of the quantizer.
    """
    from onnxruntime.quantization import QDQQuantizer

    class Quantizer(QDQQuantizer):  # type: ignore[misc] # it has no types
        def try_replacing_upstream_output(self, upstream_output_name: str, output_name: str) -> bool:
            return output_name not in clipping and bool(
                super().try_replacing_upstream_output(upstream_output_name, output_name)
            )

    return Quantizer(*arguments, **options)


def output_quantization(model: onnx.ModelProto) -> dict[str, dict[str, Any]]:
    """Return scale, zero point and dtype of each output from its DequantizeLinear."""
    constants = initializers(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    quantization: dict[str, dict[str, Any]] = {}
    for value in model.graph.output:
        node = producers.get(value.name)
        if node is not None and node.op_type == "DequantizeLinear":
            scale, zero_point = constants[node.input[1]], constants[node.input[2]]
            quantization[value.name] = {
                "scale": float(scale),
                "zero_point": int(zero_point),
                "dtype": str(zero_point.dtype),
            }
    return quantization


def _conflicts(table: Mapping[str, Any]) -> Problems:
    """Refuse both lists of layers, and methods that count 256 levels together with 16-bit activations."""
    problems: Problems = []
    if table.get("layers") and table.get("float_layers"):
        problems.append(("float_layers", "give layers or float_layers, not both"))
    if "16" in table.get("activations", ""):
        why = "count 256 levels; use minmax or percentile with 16-bit activations"
        if table.get("calibration") in ("entropy", "mse"):
            problems.append(("calibration", f"entropy and mse {why}"))
        if {"entropy", "mse"} & set(table.get("calibration_by_tensor", {}).values()):
            problems.append(("calibration_by_tensor", f"entropy and mse {why}"))
    return problems


def _unshare(model: onnx.ModelProto) -> None:
    """Copy a constant for every way it is quantized in; canonicalisation merged equal constants."""
    constants = initializers(model)
    copies: dict[tuple[str, object], str] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name not in constants:
                continue
            role: object = None
            if node.op_type in WEIGHTED and position:
                role = node.name if position == 2 else output_axis(node, constants[name])
            if (name, role) not in copies:
                first = not any(copied == name for copied, _ in copies)
                copies[name, role] = name if first else f"{node.name}/{position}/{name}"
                if not first:
                    tensor = numpy_helper.from_array(constants[name], copies[name, role])
                    model.graph.initializer.append(tensor)
            node.input[position] = copies[name, role]


def _grids(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    destroyed: Collection[str],
    float_nodes: Collection[str],
    activations: str,
) -> dict[str, Grid]:
    """Return the grid of each activation that would be quantized."""
    names = activations_between(model, QUANTIZED_OPERATORS, float_nodes)
    usable = {name: limits for name, limits in ranges.items() if name not in destroyed}
    levels = 65535 if "16" in activations else 255
    steps = {} if "16" in activations else shared_steps(model, usable)
    grids: dict[str, Grid] = {}
    for name in names & set(usable):
        low, high = usable[name]
        bound = max(-low, high)
        limits = (-bound, bound) if activations == "int16" else (low, high)  # the former is symmetric
        step = steps.get(name) or Step.of_range(*limits, levels)
        grids[name] = Grid(step.scale, step.zero_point, levels)
    return dict(sorted(grids.items()))


def _weight_ranges(
    model: onnx.ModelProto, settings: QuantizeOptions, float_nodes: set[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]], list[str]]:
    """Choose the ranges of the weights.

    Returns
    -------
    dict
        Weight to its ``TensorQuantOverrides``.
    dict
        Weight to its entry in the report.
    list
        Nodes whose weights can overflow 16 bits.
    """
    constants = initializers(model)
    overrides: dict[str, list[dict[str, Any]]] = {}
    report: dict[str, dict[str, Any]] = {}
    overflow: list[str] = []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or node.input[1] not in constants or node.name in float_nodes:
            continue
        name, weights = node.input[1], constants[node.input[1]]
        axis = output_axis(node, weights)
        largest = np.abs(weights).max(axis=tuple(a for a in range(weights.ndim) if a != axis))
        # A channel of zeros would get the scale 1, and its bias could not be represented.
        largest[largest == 0] = largest.max() or 1.0
        plain = bounds = largest if settings.per_channel else np.full_like(largest, largest.max())
        paired = sums_in_16_bits(node, weights)
        if settings.portable and paired:
            bounds = portable_bounds(weights, axis, plain)
            bounds = bounds if settings.per_channel else np.full_like(bounds, bounds.max())
        if settings.per_channel:
            overrides[name] = [{"axis": axis, "rmin": -bound, "rmax": bound} for bound in bounds]
        else:
            overrides[name] = [{"rmin": -bounds[0], "rmax": bounds[0]}]
        integers, rounded = _rounded(weights, bounds, axis)
        report[name] = {"layer": node.name, "sqnr_db": sqnr_db(weights, rounded)}
        if widened := int(np.count_nonzero(bounds > plain)):
            before = sqnr_db(weights, _rounded(weights, plain, axis)[1])
            report[name] |= {"widened_filters": widened, "filters": len(bounds), "sqnr_db_before": before}
        if paired and overflowing(integers, axis).any():
            overflow.append(node.name)
    return overrides, report, overflow


def _rounded(weights: Array, bounds: Array, axis: int) -> tuple[Array, Array]:
    """Quantize weights to integers, 127 for the bound of their filter, and dequantize them.

    Parameters
    ----------
    weights : ndarray, float32
    bounds : ndarray, shape (filters,)
    axis : int
        Axis of the filters.

    Returns
    -------
    integers, rounded : ndarray, float64
        Both of the shape of `weights`.
    """
    scale = (bounds.astype(np.float64) / LARGEST).reshape(
        [-1 if a == axis else 1 for a in range(weights.ndim)]
    )
    integers = np.clip(np.rint(weights / scale), -LARGEST, LARGEST)
    return integers, integers * scale


def _tensors_data(ranges: Mapping[str, Range]) -> TensorsData:
    from onnxruntime.quantization import CalibrationMethod, TensorsData

    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)


def count_operators(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    """Count the nodes by operator, those between DequantizeLinear and QuantizeLinear and all others."""
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    users = {name: node.op_type for node in model.graph.node for name in node.input}
    quantized: Counter[str] = Counter()
    in_float: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        inside = (
            producers.get(node.input[0]) == "DequantizeLinear"
            and users.get(node.output[0]) == "QuantizeLinear"
        )
        (quantized if inside else in_float)[node.op_type] += 1
    return dict(sorted(quantized.items())), dict(sorted(in_float.items()))
