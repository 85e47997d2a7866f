"""The weights of a model, and passes that store them in fewer bits but compute in float.

``symbols`` rounds weights to n equally spaced levels, ``weight_only`` to int4 or int8 with a scale for each
block of a filter. Neither reads calibration data.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference

from harness.compression.canonical import Array, attribute, check, initializers, sort_fields
from harness.compression.options import node_names, read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.storage import Packed, from_blocks, from_codebook, sizes, store
from harness.core.errors import ModelError, UsageError
from harness.core.settings import choice, flag, option, whole

# Positions of the weights among the inputs. Biases are few and matter much: they stay in float.
_WEIGHT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (0, 1), "Gather": (0,),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """A constant weight and the first operator that reads it."""

    weight: str
    values: Array
    node: onnx.NodeProto

    @property
    def kind(self) -> str:
        """Operator and kernel, such as ``Conv 3x3`` or ``Conv 3x3 depthwise``."""
        if not self.node.op_type.startswith("Conv"):
            return str(self.node.op_type)
        depthwise = self.values.shape[1] == 1 < attribute(self.node, "group", 1)
        kind = f"{self.node.op_type} {'x'.join(map(str, self.values.shape[2:]))}"
        return f"{kind} depthwise" if depthwise else kind


def output_axis(node: onnx.NodeProto, weights: Array) -> int:
    """Return the axis of an operator's weights that runs over its outputs."""
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
        return weights.ndim - 1
    return 1 if node.op_type in ("ConvTranspose", "LSTM", "GRU", "RNN") else 0


def weight_layers(model: onnx.ModelProto, names: Iterable[str] = (), *, where: str) -> list[Layer]:
    """Return the dense float weights with at least two axes, in the order of the graph.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical; packed weights are skipped.
    names : iterable of str
        Nodes to choose; empty: all.
    where : str
        The option that has the names.

    Raises
    ------
    UsageError
        There is no such weight at a node of that name.
    ModelError
        The model has no such weight.
    """
    constants = initializers(model)
    layers: dict[str, Layer] = {}
    by_node: dict[str, list[str]] = {}
    for node in model.graph.node:
        for position in _WEIGHT_INPUTS.get(node.op_type, ()):
            name = node.input[position] if position < len(node.input) else ""
            values = constants.get(name)
            if values is None or values.dtype != np.float32 or values.ndim < 2:
                continue
            layers.setdefault(name, Layer(name, values, node))
            by_node.setdefault(node.name, []).append(name)
    if not layers:
        raise ModelError(
            "the model has no dense float32 weights",
            where=f"graph {model.graph.name!r}",
            cause="an earlier step packed them, or the model has no layer with weights",
            next_step="remove one of the steps from the recipe",
        )
    chosen: set[str] = set()
    for node_name in names:
        if node_name not in by_node:
            near = difflib.get_close_matches(node_name, by_node, n=1)
            raise UsageError(
                f"the model has no layer {node_name!r} with dense weights",
                where=where,
                next_step=f"did you mean {near[0]!r}?" if near else f"layers: {', '.join(by_node)}",
            )
        chosen.update(by_node[node_name])
    return [layer for name, layer in layers.items() if not chosen or name in chosen]


def sqnr_db(exact: Array, approximate: Array) -> float | None:
    """Signal-to-quantization-noise ratio in dB, 10 log10(Σx² / Σ(x - y)²); None without noise."""
    noise = float(np.square(exact.astype(np.float64) - approximate).sum())
    signal = float(np.square(exact.astype(np.float64)).sum())
    return round(10 * math.log10(signal / noise), 2) if noise and signal else None


def finish(
    model: onnx.ModelProto,
    weights: Mapping[str, Packed | Array],
    options: Mapping[str, Any],
    report: Mapping[str, Mapping[str, Any]],
) -> PassResult:
    """Return a copy of the model with other weights, checked, and the report with its sizes."""
    result = store(model, weights)
    check(result, "the compressed model")
    packed = any(isinstance(weight, Packed) for weight in weights.values())
    return PassResult(
        result,
        {
            **sizes(model, result),
            "options": dict(options),
            "weights": dict(report),
            "promise": {"bytes": "smaller" if packed else "same"},
        },
    )


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the metadata that ONNX Runtime's quantizers add, infer the shapes again, and check the model."""
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


def smaller(packed: Packed, dense: Array) -> Packed | Array:
    """Return the packed form, or the dense one if that is not larger."""
    return packed if packed.byte_size < dense.nbytes else dense


@dataclass(frozen=True, slots=True)
class SymbolsOptions:
    """Options of ``symbols``."""

    n: int = option(16, whole(2))
    symmetric: bool = option(False, flag)
    expand: bool = option(False, flag)
    layers: tuple[str, ...] = option((), node_names)


def symbols(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Round the weights of each layer to n equally spaced levels over their range.

    ``step = (max - min) / (n - 1)`` and ``w' = min + step * round((w - min) / step)``.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Not read.
    options : mapping
        ``n`` (default 16): levels, at least 2. ``symmetric`` (default false): the range is
        [-max |w|, max |w|]; zero is a level if n is odd. ``expand`` (default false): store dense float32.
        ``layers``: names of nodes (default: all).

    Returns
    -------
    PassResult
        The report has the sizes and per weight ``step``, ``levels`` (those in use), ``sqnr_db``, ``bytes``
        and ``stored`` (``codebook``, or ``dense`` if a codebook would not be smaller).
    """
    settings = read_options("symbols", model, options, SymbolsOptions)
    weights: dict[str, Packed | Array] = {}
    report: dict[str, dict[str, Any]] = {}
    for layer in weight_layers(model, settings.layers, where="symbols.layers"):
        low, high = float(layer.values.min()), float(layer.values.max())
        if settings.symmetric:
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        step = (high - low) / (settings.n - 1)
        positions = np.rint((layer.values.astype(np.float64) - low) / (step or 1.0)).astype(np.int64)
        used, indices = np.unique(positions, return_inverse=True)
        codebook = (low + step * used).astype(np.float32)
        indices = indices.reshape(layer.values.shape)
        weights[layer.weight] = coded(layer, codebook, indices, expand=settings.expand)
        report[layer.weight] = {
            "layer": layer.node.name,
            "step": step,
            "levels": len(used),
            **stored(layer, codebook[indices], weights[layer.weight], "codebook"),
        }
    return finish(model, weights, asdict(settings), report)


def coded(
    layer: Layer, codebook: Array, indices: Array, *, expand: bool, shared_as: str = ""
) -> Packed | Array:
    """Return ``codebook[indices]`` as a codebook, or dense if that is not larger."""
    dense = codebook[indices]
    if expand:
        return dense
    return smaller(from_codebook(layer.weight, codebook, indices, shared_as), dense)


def stored(layer: Layer, values: Array, form: Packed | Array, name: str) -> dict[str, Any]:
    """Return the report of a weight: loss, size and form; ``name`` is that of the packed form."""
    packed = isinstance(form, Packed)
    return {
        "sqnr_db": sqnr_db(layer.values, values),
        "bytes": form.byte_size if isinstance(form, Packed) else form.nbytes,
        "stored": name if packed else "dense",
    }


@dataclass(frozen=True, slots=True)
class WeightOnlyOptions:
    """Options of ``weight_only``."""

    bits: int = option(4, choice(4, 8))
    block: int = option(32, whole(0))
    layers: tuple[str, ...] = option((), node_names)


def weight_only(
    model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]
) -> PassResult:
    """Store weights as int4 or int8 with one scale per block; activations and arithmetic stay float.

    The integers are symmetric, within ±7 or ±127. They are unpacked by Cast and Mul, which runtimes fold when
    they load the model, and not by DequantizeLinear, which they do not fold.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Not read.
    options : mapping
        ``bits``: 4 (default) or 8. ``block`` (default 32): number of weights of a filter that share a scale;
        0: all of them. ``layers``: names of nodes (default: all).

    Returns
    -------
    PassResult
        The report has the sizes and per weight ``sqnr_db``, ``bytes``, ``bits_per_weight`` including
        scales, and ``stored`` (``blocks``, or ``dense`` if that is not larger).
    """
    settings = read_options("weight_only", model, options, WeightOnlyOptions)
    largest = 2 ** (settings.bits - 1) - 1
    weights: dict[str, Packed | Array] = {}
    report: dict[str, dict[str, Any]] = {}
    for layer in weight_layers(model, settings.layers, where="weight_only.layers"):
        shape, axis = layer.values.shape, output_axis(layer.node, layer.values)
        filters = np.moveaxis(layer.values, axis, 0).reshape(shape[axis], -1)
        length = filters.shape[1]
        block = min(settings.block or length, length)
        blocks = np.pad(filters, ((0, 0), (0, -length % block))).reshape(shape[axis], -1, block)
        scales = (np.abs(blocks).max(axis=2, keepdims=True) / largest).astype(np.float32)
        scales[scales < np.finfo(np.float32).tiny] = 1.0
        integers = np.clip(np.rint(blocks / scales), -largest, largest).astype(np.int8)
        packed = from_blocks(layer.weight, integers, scales, shape, axis, settings.bits)
        dequantized = (integers * scales).reshape(shape[axis], -1)[:, :length]
        moved = (shape[axis], *(extent for position, extent in enumerate(shape) if position != axis))
        values = np.ascontiguousarray(np.moveaxis(dequantized.reshape(moved), 0, axis))
        form = weights[layer.weight] = smaller(packed, values)
        facts = stored(layer, values, form, "blocks")
        bits = round(8 * facts["bytes"] / layer.values.size, 2)
        report[layer.weight] = {"layer": layer.node.name, **facts, "bits_per_weight": bits}
    return finish(model, weights, asdict(settings), report)
