"""The card of a variant: its weights, the loss of each layer, and its speed. Facts only."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from harness.compression.canonical import Array, attribute, initializers, open_session
from harness.compression.passes import Feeds
from harness.compression.speed import measure_speed_up
from harness.compression.storage import expand
from harness.compression.weights import sqnr_db
from harness.core.errors import ModelError

#: Version of the card's format.
SCHEMA = 1
#: Operators whose second input is a weight.
WEIGHTED = frozenset({
    "Conv", "ConvInteger", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "MatMulInteger", "RNN",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of one layer.

    Parameters
    ----------
    values : ndarray
        The weights that the layer multiplies, unpacked and dequantized.
    stored : ndarray
        The stored integers; if there are none, ``values``.
    """

    values: Array
    stored: Array


def describe(
    variant: onnx.ModelProto, reference: onnx.ModelProto, calibration: Iterable[Feeds]
) -> dict[str, Any]:
    """Describe the result of a recipe.

    Parameters
    ----------
    variant, reference : onnx.ModelProto
        The result of the recipe, and the canonical float model.
    calibration : iterable of mapping
        Input name to array; read once, one feed at a time.

    Returns
    -------
    dict
        ``parameters`` (number of weights and biases, without scales and zero points), ``sparsity`` (share of
        zeros among the weights), ``bits_per_weight`` (bits of all constants in the file per weight),
        ``layers`` (see ``_layers``), ``operators`` (operator to count), ``speed`` (paired ratio to the float
        model on this machine, with its interval).
    """
    before, after = weights_of(reference), weights_of(variant)
    zeros = sum(int(layer.values.size - np.count_nonzero(layer.values)) for layer in after.values())
    count = sum(layer.values.size for layer in after.values())
    names = {node.name: node.output[0] for node in reference.graph.node}
    stored = sum(_byte(tensor) for tensor in variant.graph.initializer)
    feeds = iter(calibration)
    first = next(feeds, None)
    outputs: Mapping[str, float | None]
    if variant is reference:  # quantized already, its integers must not be compared with its real numbers
        outputs = {name: None for node in reference.graph.node for name in node.output}
    else:
        outputs = output_sqnr_db(reference, variant, [first, *feeds] if first is not None else [])
    return {
        "parameters": count_parameters(variant),
        "weights": count,
        "sparsity": zeros / count if count else 0.0,
        "bits_per_weight": 8 * stored / count if count else 0.0,
        "layers": _layers(variant, before, after, outputs, names),
        "operators": dict(sorted(Counter(node.op_type for node in variant.graph.node).items())),
        "speed": measure_speed_up(reference, variant, first) if first is not None else {},
    }


def _layers(
    variant: onnx.ModelProto,
    before: Mapping[str, Weights],
    after: Mapping[str, Weights],
    outputs: Mapping[str, float | None],
    names: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return one entry per layer with weights, in the order of the graph.

    ``weights`` and ``sparsity`` count the unpacked weights, ``unique_weights`` the stored integers if there
    are any. ``weight_sqnr_db`` compares the weights with the float model's (absent if the shape changed),
    ``output_sqnr_db`` the layer's output on calibration data (null without noise).
    """
    entries = []
    for node in variant.graph.node:
        if node.op_type not in WEIGHTED or node.name not in after:
            continue
        values = after[node.name].values
        entry: dict[str, Any] = {
            "layer": node.name,
            "operator": node.op_type,
            "shape": list(values.shape),
            "weights": int(values.size),
            "sparsity": float(1 - np.count_nonzero(values) / values.size),
            "unique_weights": int(np.unique(after[node.name].stored).size),
        }
        exact = before[node.name].values if node.name in before else None
        if exact is not None and exact.ndim == 2 and exact.shape != values.shape:
            exact = exact.T  # a Gemm that became a MatMul
        if exact is not None and exact.shape == values.shape:
            entry["weight_sqnr_db"] = sqnr_db(exact, values)
        # The node's own output if a Relu is part of its rounding, else the output of the float layer.
        compared = [name for name in (node.output[0], names.get(node.name, "")) if name in outputs]
        if compared:
            entry["output_sqnr_db"] = outputs[compared[0]]
        entries.append(entry)
    return entries


def weights_of(model: onnx.ModelProto) -> dict[str, Weights]:
    """Return the weights of each layer by its name."""
    dense = expand(model)
    constants = initializers(dense)
    producers = {name: node for node in dense.graph.node for name in node.output}
    layers: dict[str, Weights] = {}
    for node in dense.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        name = node.input[1]
        producer = producers.get(name)
        if name in constants and node.op_type.endswith("Integer"):
            zero = constants[node.input[3]] if len(node.input) > 3 else np.zeros((), np.uint8)
            steps = constants[name].astype(np.int32) - zero.astype(np.int32)
            # The pass ``dynamic`` multiplies by the scale after the sum.
            layers[node.name] = Weights(steps * constants[_dynamic_scale(name)], constants[name])
        elif name in constants:
            layers[node.name] = Weights(constants[name], constants[name])
        elif (
            producer is not None and producer.op_type == "DequantizeLinear" and producer.input[0] in constants
        ):
            layers[node.name] = Weights(_dequantized(producer, constants), constants[producer.input[0]])
    return layers


def count_parameters(model: onnx.ModelProto) -> int:
    """Count weights and biases, unpacked, without scales, zero points and shapes."""
    dense = expand(model)
    steps: set[str] = set()
    for node in dense.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            steps.update(node.input[1:])
        elif node.op_type.endswith("Integer"):
            steps.update([*node.input[2:], _dynamic_scale(node.input[1])])
    return sum(
        int(value.size)
        for name, value in initializers(dense).items()
        if name not in steps and value.dtype != np.int64
    )


def _dynamic_scale(weight: str) -> str:
    """Return the name that ONNX Runtime's quantizer gives to the scale of an integer weight."""
    return weight.removesuffix("_quantized") + "_scale"


def _dequantized(node: onnx.NodeProto, constants: Mapping[str, Array]) -> Array:
    integers, scale = constants[node.input[0]], constants[node.input[1]].astype(np.float64)
    zero = constants[node.input[2]] if len(node.input) > 2 else np.zeros((), np.int8)
    shape = [1] * integers.ndim
    if scale.ndim:
        shape[attribute(node, "axis", 1)] = -1
    real = (integers.astype(np.int32) - zero.astype(np.int32).reshape(shape)) * scale.reshape(shape)
    return real.astype(np.float32)


def output_sqnr_db(
    reference: onnx.ModelProto, variant: onnx.ModelProto, feeds: Sequence[Feeds]
) -> dict[str, float | None]:
    """Return the signal-to-noise ratio over all feeds of every float tensor that both models compute.

    Returns
    -------
    dict
        Tensor name to 10 log10(Σx² / Σ(x - y)²) in dB; None without noise.
    """
    signal: defaultdict[str, float] = defaultdict(float)
    noise: defaultdict[str, float] = defaultdict(float)
    computed = {name for node in variant.graph.node for name in node.output}
    names = [name for node in reference.graph.node for name in node.output if name in computed]
    rounded = _rounded(variant)
    runs = [_probing(reference, names), _probing(variant, [rounded.get(name, name) for name in names])]
    for feed in feeds:
        exact, actual = (run(None, dict(feed)) for run in runs)
        for name, x, y in zip(names, exact, actual, strict=True):
            if x.dtype.kind == "f" and np.shape(x) == np.shape(y):
                finite = np.isfinite(x) & np.isfinite(y)  # masks have infinite values
                exact, actual_values = x[finite].astype(np.float64), y[finite]
                signal[name] += float(np.square(exact).sum())
                noise[name] += float(np.square(exact - actual_values).sum())
    return {
        name: round(10 * math.log10(signal[name] / noise[name]), 2) if noise[name] and signal[name] else None
        for name in names
        if name in signal
    }


def _rounded(model: onnx.ModelProto) -> dict[str, str]:
    """Return for each quantized tensor the name of its dequantized form, which may include a Relu."""
    integers = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    return {
        integers[node.input[0]]: node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in integers
    }


def _probing(model: onnx.ModelProto, names: Sequence[str]) -> Any:  # noqa: ANN401 - a session's method
    """Open a model with the given tensors as its outputs; return its run method."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return open_session(copy, "the model with its inner tensors as outputs").run


def _byte(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) or tensor.ByteSize()


def notes(card: Mapping[str, Any]) -> list[str]:
    """Return warnings for the reader of a card."""
    warnings = []
    speed = card.get("speed", {})
    if speed and speed["ci_high"] < 1:
        warnings.append(
            f"slower than float32 on ONNX Runtime: {speed['speed_up']:.2f} times its speed "
            f"[{speed['ci_low']:.2f}, {speed['ci_high']:.2f}]"
        )
    if layers := card["tflite"].get("float_layers"):
        warnings.append(f"computed in float in the TFLite file: {', '.join(layers)}")
    if reason := card.get("not_analysed"):
        warnings.append(f"not analysed, and measured as it is: {reason}")
    for step in card["steps"]:
        by_reason: defaultdict[str, list[str]] = defaultdict(list)
        for name, reason in step.get("kept_float", {}).items():
            by_reason[reason].append(name)
        warnings += [f"kept in float: {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    warnings += saturation_notes(card.get("saturating", ()))
    overflow = [layer for step in card["steps"] for layer in step.get("overflow", ())]
    if overflow and not card.get("saturating"):
        warnings.append(f"can overflow 16 bits on CPUs without VNNI or dotprod: {', '.join(overflow)}")
    refused = card["refused"].items()
    return warnings + [f"no {fmt} file: {reason.splitlines()[0]}" for fmt, reason in refused]


def saturation_notes(operators: Sequence[str]) -> list[str]:
    """Return what the card says of operators that ONNX Runtime computes wrongly on some CPUs."""
    if not operators:
        return []
    shown = ", ".join(operators[:6]) + (", …" if len(operators) > 6 else "")
    return [
        f"{len(operators)} operators ({shown}) multiply 8-bit activations with int8 weights of more than 7 "
        "bits: ONNX Runtime saturates in 16 bits on x86 without VNNI"
    ]


def check_rebuilt(card: Mapping[str, Any], rebuilt: Mapping[str, str], lineage: Mapping[str, Any]) -> None:
    """Check that rebuilt files have the hashes of the card.

    Parameters
    ----------
    card : mapping
    rebuilt : mapping of format to sha256
    lineage : mapping
        Lineage of the rebuilt files.

    Raises
    ------
    ModelError
        A file differs.
    """
    for fmt, file in card["files"].items():
        if fmt in rebuilt and rebuilt[fmt] != file["sha256"]:
            raise ModelError(
                f"the {fmt} file has the hash {rebuilt[fmt][:12]}…, the card has {file['sha256'][:12]}…",
                where=card["variant"],
                cause=_difference(card["lineage"], lineage) or "the lineage has no difference",
                next_step="install those versions, or rebuild on the same kind of processor",
            )


def _difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the differences of two lineages that can change the bytes."""
    old, new = (
        {**lineage.get("tools", {}), "processor": lineage.get("processor")} for lineage in (then, now)
    )
    return "; ".join(
        f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )
