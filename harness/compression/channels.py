"""The prune_channels pass: whole channels go, with every weight that makes or reads them.

Tensors really shrink, so every runtime computes less. Which channels stand or fall together is found by
:mod:`harness.compression.channel_groups`.
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
    """What the pass can be asked for.

    Parameters
    ----------
    fraction : float
        Share of the channels of each group that goes, in [0, 1), as near as ``round_to`` allows.
    importance : str
        ``"l2"`` or ``"l1"``: norm of a channel's filter by its layer's mean, summed over tied layers.
    min_channels : int
        So many stay in each group.
    round_to : int
        The number that stays is a multiple of it: kernels work on 8 or 16 channels at once.
    exclude : tuple of str
        Nodes that keep their output channels, and so all that are tied to them.
    refit : bool
        Let the weights that read the other channels make up, by least squares on the calibration data.
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
        As :func:`harness.compression.canonical.canonicalise` returns it; it is not changed.
    calibration : iterable of mapping
        Input name to array; read once. Without ``refit`` only the first is used, to time the models.
    options : mapping
        As :class:`ChannelOptions` says.

    Returns
    -------
    PassResult
        The report holds ``options``, ``groups`` (layers, channels before and after), ``left`` (layers and why
        they keep their channels), ``refit``, ``parameters_before``, ``parameters_after``, ``bytes_before``,
        ``bytes_after``, the measured ``speed`` and ``promise``.

    Raises
    ------
    ConfigurationError
        An option is unknown or has no meaning.
    ModelError
        The model is quantized already, has weights that are not finite, or no channel that can go.
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
        reason, going = _choose(group, scores, settings)
        if reason:
            left.append({"layers": list(group.layers), "channels": len(group.labels), "reason": reason})
            continue
        removed |= going
        counts = {"before": len(group.labels), "after": len(group.labels) - len(going)}
        shrunk.append({"layers": list(group.layers), **counts})
    if not removed and settings.fraction > 0:
        raise ModelError(
            "no channel can be removed",
            where=f"graph {model.graph.name!r}",
            cause="; ".join(f"{entry['layers'][0]}: {entry['reason']}" for entry in left)
            or "the model has no layers with channels of their own",
            next_step="raise fraction, or lower round_to and min_channels; else leave the variant out",
        )
    feeds = iter(calibration)
    first = next(feeds, None)
    given = [first] if first is not None else []
    kept = _kept_inputs(model, coupling, removed)
    masked, refitted = mask_weights(model, kept, chain(given, feeds) if settings.refit and kept else None)
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
        "speed": measure_speed_up(model, result, given[0] if given else random_feeds(model, 1)),
        "promise": {"bytes": "smaller", "parameters": "fewer"} if removed else {"max_relative": 1e-5},
    }
    return PassResult(result, report)


def remove(model: onnx.ModelProto, coupling: Coupling, removed: set[int]) -> onnx.ModelProto:
    """Cut the labels out of every constant along whose axes they lie.

    Parameters
    ----------
    model : onnx.ModelProto
        That ``coupling`` was made of; it is not changed.
    coupling : Coupling
    removed : set of int
        Labels.

    Raises
    ------
    ModelError
        An output would have another shape.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = initializers(model)
    made: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    taken: dict[str, Array] = {}
    for node in result.graph.node:
        for position, name in enumerate(node.input):
            if name not in constants:
                continue
            value = _cut(constants[name], (node.output[0], position), coupling, removed)
            key = name, value.shape, value.tobytes() if value is not constants[name] else b""
            if key not in made:
                # A constant in several places may lose other channels in each.
                made[key] = name if name not in taken else f"{node.name}/{position}/{name}"
                taken[made[key]] = value
            node.input[position] = made[key]
        if node.output[0] in coupling.depthwise:
            count = int(_stays(coupling.depthwise[node.output[0]], removed).sum())
            others = [each for each in node.attribute if each.name != "group"]
            del node.attribute[:]
            node.attribute.extend([*others, helper.make_attribute("group", count)])
    outputs = {value.name for value in model.graph.output}
    taken |= {name: constants[name] for name in outputs if name in constants}
    del result.graph.initializer[:], result.graph.value_info[:]
    result.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in taken.items()
    )
    sort_fields(result)
    try:
        result = shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"the pruned channels do not fit together: {str(error).strip().splitlines()[0]}",
            where=f"graph {model.graph.name!r}",
            cause="an operator that computes shapes from channels",
            next_step="exclude the layers before it",
        ) from error
    check(result, "the model without the pruned channels")
    return result


def _importance(model: onnx.ModelProto, coupling: Coupling, order: int) -> dict[int, float]:
    """Score each label: norms of its filters, each by the mean of its layer, summed."""
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
    """Return why a group is left, or the labels that go: of equal scores the first."""
    count, multiple = len(group.labels), settings.round_to
    if group.held:
        return group.held, set()
    if excluded := [name for name in group.layers if name in settings.exclude]:
        return f"{excluded[0]} is excluded", set()
    least = -(-settings.min_channels // multiple) * multiple
    after = max(int((1 - settings.fraction) * count / multiple + 0.5) * multiple, least)
    if after >= count:
        return f"{count} channels cannot lose {settings.fraction:g} and stay a multiple of {multiple}", set()
    order = np.argsort([scores[int(label)] for label in group.labels], kind="stable")
    return "", {int(label) for label in group.labels[order[: count - after]]}


def _stays(labels: Array, removed: set[int]) -> Array:
    return ~np.isin(labels, list(removed))


def _kept_inputs(model: onnx.ModelProto, coupling: Coupling, removed: set[int]) -> dict[str, Array]:
    """Masks of the weights that read removed channels, false where they do."""
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
