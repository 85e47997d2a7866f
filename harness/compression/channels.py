"""The prune_channels pass: remove whole channels with all weights that compute or read them.

Tensors become smaller, so every runtime computes less. :mod:`harness.compression.channel_groups` determines
which channels can only be removed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from harness.compression.canonical import Array, check, initializers, random_feeds, sort_fields
from harness.compression.channel_groups import Coupling, Group, Slot, couple
from harness.compression.options import node_names, read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.prune import refuse_unknown_layers
from harness.compression.refit import mask_weights
from harness.compression.speed import measure_speed_up
from harness.compression.steps import count_weights
from harness.core.errors import ModelError
from harness.core.settings import choice, flag, option, share, whole

_NORMS: Mapping[str, int] = {"l1": 1, "l2": 2}


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Options of ``prune_channels``.

    Parameters
    ----------
    fraction : float
        Share of the channels of each group to remove, in [0, 1), as closely as ``round_to`` allows.
    importance : str
        ``"l2"`` or ``"l1"``: norm of a channel's filter by its layer's mean, summed over tied layers.
    min_channels : int
        At least so many stay in each group.
    round_to : int
        The remaining number is a multiple of it: kernels process 8 or 16 channels at once.
    exclude : tuple of str
        Nodes that keep their output channels, together with all nodes tied to them.
    refit : bool
        Adjust the weights that read the remaining channels by least squares on the calibration data.
    """

    fraction: float = option(0.3, share)
    importance: str = option("l2", choice(*_NORMS))
    min_channels: int = option(1, whole(1))
    round_to: int = option(8, whole(1))
    exclude: tuple[str, ...] = option((), node_names)
    refit: bool = option(True, flag)


def prune_channels(
    model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]
) -> PassResult:
    """Remove the least important channels of a canonical float model.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical (see :func:`harness.compression.canonical.canonicalise`); it is not changed.
    calibration : iterable of mapping
        Input name to array; read once. Without ``refit`` only the first is used, to time the models.
    options : mapping
        See :class:`ChannelOptions`.

    Returns
    -------
    PassResult
        The report has ``options``, ``groups`` (layers, channels before and after), ``left`` (other layers and
        the reason), ``refit``, ``parameters_before``, ``parameters_after``, ``bytes_before``,
        ``bytes_after``, the measured ``speed`` and ``promise``.

    Raises
    ------
    ConfigurationError
        An option is unknown or invalid.
    ModelError
        The model is already quantized, has weights that are not finite, or no channel can be removed.
    """
    settings = read_options("prune_channels", model, options, ChannelOptions)
    coupling = couple(model)
    refuse_unknown_layers(
        "prune_channels", settings.exclude, dict.fromkeys(n for g in coupling.groups for n in g.layers)
    )
    scores = _importance(model, coupling, _NORMS[settings.importance])
    removed: set[int] = set()
    shrunk: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for group in coupling.groups:
        reason, chosen = _choose(group, scores, settings)
        if reason:
            left.append({"layers": list(group.layers), "channels": len(group.labels), "reason": reason})
            continue
        removed |= chosen
        counts = {"before": len(group.labels), "after": len(group.labels) - len(chosen)}
        shrunk.append({"layers": list(group.layers), **counts})
    if not removed and settings.fraction > 0:
        raise ModelError(
            "no channel can be removed",
            where=f"graph {model.graph.name!r}",
            cause="; ".join(f"{entry['layers'][0]}: {entry['reason']}" for entry in left)
            or "the model has no layers with channels",
            next_step="raise fraction, lower round_to and min_channels, or remove the variant",
        )
    feeds = iter(calibration)
    first = next(feeds, None)
    head = [first] if first is not None else []
    masks = _input_masks(model, coupling, removed)
    masked, refitted = mask_weights(model, masks, chain(head, feeds) if settings.refit and masks else None)
    result = remove(masked, coupling, removed)
    report = {
        "options": asdict(settings),
        "groups": shrunk,
        "left": left,
        "refit": refitted,
        "parameters_before": count_weights(model)[0],
        "parameters_after": count_weights(result)[0],
        "bytes_before": model.ByteSize(),
        "bytes_after": result.ByteSize(),
        "speed": measure_speed_up(model, result, head[0] if head else random_feeds(model, 1)),
        "promise": {"bytes": "smaller", "parameters": "fewer"} if removed else {"max_relative": 1e-5},
    }
    return PassResult(result, report)


def remove(model: onnx.ModelProto, coupling: Coupling, removed: set[int]) -> onnx.ModelProto:
    """Remove channels from every constant that has them along an axis.

    Parameters
    ----------
    model : onnx.ModelProto
        The model of `coupling`; it is not changed.
    coupling : Coupling
    removed : set of int
        Labels of the channels.

    Raises
    ------
    ModelError
        The remaining channels do not fit together.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = initializers(model)
    copies: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    used: dict[str, Array] = {}
    for node in result.graph.node:
        for position, name in enumerate(node.input):
            if name not in constants:
                continue
            value = _cut(constants[name], (node.output[0], position), coupling, removed)
            key = name, value.shape, value.tobytes() if value is not constants[name] else b""
            if key not in copies:
                # A constant that is used several times may lose other channels in each place.
                copies[key] = name if name not in used else f"{node.name}/{position}/{name}"
                used[copies[key]] = value
            node.input[position] = copies[key]
        if node.output[0] in coupling.depthwise:
            count = int(_stays(coupling.depthwise[node.output[0]], removed).sum())
            others = [other for other in node.attribute if other.name != "group"]
            del node.attribute[:]
            node.attribute.extend([*others, helper.make_attribute("group", count)])
    outputs = {value.name for value in model.graph.output}
    used |= {name: constants[name] for name in outputs if name in constants}
    del result.graph.initializer[:], result.graph.value_info[:]
    result.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in used.items()
    )
    sort_fields(result)
    try:
        result = shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"the remaining channels do not fit together: {str(error).strip().splitlines()[0]}",
            where=f"graph {model.graph.name!r}",
            cause="an operator that computes shapes from channels",
            next_step="exclude the layers before it",
        ) from error
    check(result, "the model without the pruned channels")
    return result


def _importance(model: onnx.ModelProto, coupling: Coupling, order: int) -> dict[int, float]:
    """Score each label by the sum of the norms of its filters, relative to the mean of their layer."""
    constants = initializers(model)
    scores: dict[int, float] = {}
    for node in model.graph.node:
        axis = coupling.filters.get(node.output[0])
        if axis is None:
            continue
        weights = np.moveaxis(constants[node.input[1]], axis, 0).astype(np.float64)
        norms = np.linalg.norm(weights.reshape(len(weights), -1), ord=order, axis=1)
        norms /= norms.mean() or 1.0
        for label, norm in zip(coupling.axes[node.output[0], 1][axis], norms, strict=True):
            scores[int(label)] = scores.get(int(label), 0.0) + float(norm)
    return scores


def _choose(group: Group, scores: Mapping[int, float], settings: ChannelOptions) -> tuple[str, set[int]]:
    """Return why a group is not pruned, or the labels to remove: of equal scores the first."""
    count, multiple = len(group.labels), settings.round_to
    if group.fixed_because:
        return group.fixed_because, set()
    if excluded := [name for name in group.layers if name in settings.exclude]:
        return f"{excluded[0]} is excluded", set()
    least = -(-settings.min_channels // multiple) * multiple
    after = max(int((1 - settings.fraction) * count / multiple + 0.5) * multiple, least)
    if after >= count:
        return (
            f"{count} channels cannot lose {settings.fraction:g} and remain a multiple of {multiple}",
            set(),
        )
    order = np.argsort([scores[int(label)] for label in group.labels], kind="stable")
    return "", {int(label) for label in group.labels[order[: count - after]]}


def _stays(labels: Array, removed: set[int]) -> Array:
    return ~np.isin(labels, list(removed))


def _input_masks(model: onnx.ModelProto, coupling: Coupling, removed: set[int]) -> dict[str, Array]:
    """Return masks of the weights that read removed channels, false where they do."""
    constants = initializers(model)
    masks: dict[str, Array] = {}
    for node in model.graph.node:
        for axis, labels in coupling.axes.get((node.output[0], 1), {}).items():
            stays = _stays(labels, removed)
            if (
                node.output[0] in coupling.filters
                and axis != coupling.filters[node.output[0]]
                and not stays.all()
            ):
                weights = constants[node.input[1]]
                masks[node.input[1]] = np.broadcast_to(
                    stays.reshape([-1 if a == axis else 1 for a in range(weights.ndim)]), weights.shape
                )
    return masks


def _cut(value: Array, slot: Slot, coupling: Coupling, removed: set[int]) -> Array:
    for axis, labels in coupling.axes.get(slot, {}).items():
        stays = _stays(labels, removed)
        if not stays.all():
            value = np.compress(stays, value, axis=axis)
    if slot in coupling.shapes:
        index, labels = coupling.shapes[slot]
        value = value.copy()
        value[index] = int(_stays(labels, removed).sum())
    return value
