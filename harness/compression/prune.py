"""The prune pass: weights of small magnitude become zero, the shapes stay.

Zeros make a zipped file smaller, and a model faster only on a runtime that supports the pattern.
:mod:`harness.compression.channels` removes whole channels instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from harness.compression.canonical import Array, attribute, initializers
from harness.compression.options import node_names, read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.refit import LAYERS, mask_weights
from harness.core.errors import ModelError
from harness.core.settings import Problems, choice, flag, option, share

_PATTERN = re.compile(r"([1-9]\d*):([1-9]\d*)")


def _pattern(value: object) -> str:
    """Accept ``unstructured``, or ``n:m`` with n < m."""
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if value == "unstructured" or (match and int(match[1]) < int(match[2])):
        return ""
    return '"unstructured", or "n:m" with n < m, such as "2:4"'


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """Options of ``prune``.

    Parameters
    ----------
    sparsity : float, optional
        Share of the weights that is zero afterwards, in [0, 1). Default: 0.5, or 1 - n/m with
        ``pattern = "n:m"``.
    scope : str
        ``"layer"``: this share of each layer. ``"global"``: of all layers together.
    pattern : str
        ``"unstructured"``, or ``"n:m"`` such as ``"2:4"``: n of m neighbours along the input channels stay.
    exclude : tuple of str
        Nodes that are not pruned.
    refit : bool
        Adjust the remaining weights by least squares on the calibration data.
    """

    sparsity: float | None = option(None, share)
    scope: str = option("layer", choice("global", "layer"))
    pattern: str = option("unstructured", _pattern)
    exclude: tuple[str, ...] = option((), node_names)
    refit: bool = option(True, flag)


def prune(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Set the smallest weights of a canonical float model to zero: W' = W ⊙ mask.

    Weights of Conv, ConvTranspose, Gemm and MatMul are pruned; biases are not. Exactly
    ``round(sparsity * weights)`` of them are zero, unless more were zero before; of equal magnitudes the one
    with the lower index is pruned first.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical (see :func:`harness.compression.canonical.canonicalise`); it is not changed.
    calibration : iterable of mapping
        Input name to array; read once, and only with ``refit``.
    options : mapping
        See :class:`PruneOptions`.

    Returns
    -------
    PassResult
        The report has ``options``, ``mask_rule``, ``weights``, ``zeros_before`` and ``zeros_after`` (of the
        layers that can be pruned), ``sparsity`` (overall), ``sparsity_by_layer``, ``left`` (node to reason),
        ``refit``, ``bytes_before``, ``bytes_after`` and ``promise``.

    Raises
    ------
    ConfigurationError
        An option is unknown or invalid.
    ModelError
        The model is already quantized, has weights that are not finite, or has nothing to prune.
    """
    settings = read_options("prune", model, options, PruneOptions, _implied_sparsity)
    constants = initializers(model)
    layers = {n.name: n for n in model.graph.node if n.op_type in LAYERS and n.input[1] in constants}
    refuse_unknown_layers("prune", settings.exclude, layers)
    left = dict.fromkeys(settings.exclude, "excluded")
    users: dict[str, list[onnx.NodeProto]] = {}  # weights may be shared
    for node in layers.values():
        users.setdefault(node.input[1], []).append(node)
    chosen = {name: nodes for name, nodes in users.items() if not any(n.name in left for n in nodes)}
    if match := _PATTERN.fullmatch(settings.pattern):
        n, m = map(int, match.groups())
        rule = f"the {n} largest |w| of {m} neighbours along the input channels are kept"
        masks = {}
        for name, nodes in chosen.items():
            weights, axis = constants[name], _input_axis(nodes[0])
            if weights.shape[axis] % m:
                reason = f"{weights.shape[axis]} inputs are not a multiple of {m}"
                left |= {node.name: reason for node in nodes}
            else:
                masks[name] = _n_of_m(weights, n, m, axis)
    else:
        sparsity = 0.5 if settings.sparsity is None else settings.sparsity
        scope = "of all layers together" if settings.scope == "global" else "of each layer"
        rule = f"the {sparsity:g} smallest |w| {scope} are zero"
        masks = _smallest({name: constants[name] for name in chosen}, sparsity, settings.scope)
    if not masks:
        raise ModelError(
            "the model has no layer to prune",
            where=f"graph {model.graph.name!r}",
            cause="; ".join(f"{node}: {reason}" for node, reason in left.items())
            or "no Conv, Gemm or MatMul has constant weights",
            next_step="remove the variant, or change exclude and pattern",
        )
    result, refitted = mask_weights(model, masks, calibration if settings.refit else None)
    after = initializers(result)
    zeros = {name: int(after[name].size - np.count_nonzero(after[name])) for name in users}
    weights_count = sum(constants[name].size for name in users)
    report = {
        "options": asdict(settings),
        "mask_rule": rule,
        "weights": weights_count,
        "zeros_before": sum(int((constants[name] == 0).sum()) for name in users),
        "zeros_after": sum(zeros.values()),
        "sparsity": sum(zeros.values()) / weights_count,
        "sparsity_by_layer": {
            node.name: zeros[name] / constants[name].size for name, nodes in users.items() for node in nodes
        },
        "left": left,
        "refit": refitted,
        "bytes_before": model.ByteSize(),
        "bytes_after": result.ByteSize(),
        "promise": {
            "bytes": "same",
            "parameters": "same",
            "zeros": sum(int((~mask).sum()) for mask in masks.values()),
        },
    }
    return PassResult(result, report)


def refuse_unknown_layers(pass_name: str, exclude: Iterable[str], layers: Iterable[str]) -> None:
    """Raise UsageError with the nearest name if an excluded layer does not exist."""
    import difflib

    from harness.core.errors import UsageError

    names = list(layers)
    for name in exclude:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"there is no layer {name!r} with weights",
                where=f"{pass_name}.exclude",
                next_step=f"did you mean {near[0]!r}?" if near else f"use some of {', '.join(names)}",
            )


def _implied_sparsity(table: Mapping[str, Any]) -> Problems:
    """Refuse a sparsity that contradicts the pattern."""
    match = _PATTERN.fullmatch(table.get("pattern", ""))
    if match is None or "sparsity" not in table:
        return []
    implied = 1 - int(match[1]) / int(match[2])
    if table["sparsity"] == implied:
        return []
    return [("sparsity", f"the pattern {match[0]} implies {implied:g}; leave sparsity out")]


def _input_axis(node: onnx.NodeProto) -> int:
    """Return the axis of the weights along which the products are summed."""
    if node.op_type == "Conv":
        return 1
    if node.op_type == "ConvTranspose":
        return 0
    rank_from_end = -1 if attribute(node, "transB", 0) else -2
    return rank_from_end


def _smallest(weights: Mapping[str, Array], sparsity: float, scope: str) -> dict[str, Array]:
    """Return masks without the smallest magnitudes, of each array or of all together."""
    if scope == "layer":
        return {name: _all_but_smallest(value.reshape(-1), sparsity).reshape(value.shape)
                for name, value in weights.items()}  # fmt: skip
    if not weights:
        return {}
    mask = _all_but_smallest(np.concatenate([value.reshape(-1) for value in weights.values()]), sparsity)
    ends = np.cumsum([value.size for value in weights.values()])[:-1]
    parts = np.split(mask, ends)
    return {name: part.reshape(weights[name].shape) for name, part in zip(weights, parts, strict=True)}


def _all_but_smallest(values: Array, sparsity: float) -> Array:
    count = round(sparsity * values.size)
    mask = np.ones(values.size, bool)
    if count:
        magnitudes = np.abs(values)
        bound = np.partition(magnitudes, count - 1)[count - 1]
        mask = magnitudes >= bound
        ties = np.flatnonzero(magnitudes == bound)
        mask[ties[: count - int((~mask).sum())]] = False
    return mask


def _n_of_m(weights: Array, n: int, m: int, axis: int) -> Array:
    """Return a mask of the n largest of every m neighbours along an axis; of equal magnitudes the later."""
    rows = np.moveaxis(np.abs(weights), axis, -1)
    blocks = rows.reshape(*rows.shape[:-1], -1, m)
    order = np.argsort(blocks, axis=-1, kind="stable")
    mask = np.ones(blocks.shape, bool)
    np.put_along_axis(mask, order[..., : m - n], values=False, axis=-1)
    return np.moveaxis(mask.reshape(rows.shape), -1, axis)
