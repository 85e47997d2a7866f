"""Remove nodes that are not needed, by ONNX Runtime's graph optimizer at its basic level.

Constants and BatchNormalization are folded; unused nodes, identities, dropouts and transposes that cancel are
removed. Every recipe begins with this (:mod:`~harness.compression.canonical`); as a pass it cleans up after
other passes, and its report lists the removed nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from harness.compression.canonical import canonicalise
from harness.compression.options import read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.storage import sizes

#: Difference relative to the largest value of an output: folding a scale into weights rounds them again.
MAX_RELATIVE = 2e-5


@dataclass(frozen=True, slots=True)
class OptimizeOptions:
    """``optimize`` has no options."""


def optimize(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Optimize a float model's graph.

    Parameters
    ----------
    model : onnx.ModelProto
        It is not changed.
    calibration : iterable of mapping
        Not read.
    options : mapping
        Empty.

    Returns
    -------
    PassResult
        The report has the sizes and the removed nodes (see ``removed``). If the optimized file would be
        larger, because packed weights would be unpacked, the model is unchanged and ``left`` is the reason.
    """
    read_options("optimize", model, options, OptimizeOptions)
    result = canonicalise(model)
    report: dict[str, Any] = {"promise": {"max_relative": MAX_RELATIVE}}
    if result.ByteSize() > model.ByteSize():
        report["left"] = f"it would grow from {model.ByteSize()} to {result.ByteSize()} bytes"
        result = onnx.ModelProto()
        result.CopyFrom(model)
    return PassResult(result, {**sizes(model, result), **removed(model, result), **report})


def removed(before: onnx.ModelProto, after: onnx.ModelProto) -> dict[str, Any]:
    """Count nodes before and after, and the removed ones by operator (negative: added)."""
    old, new = (Counter(node.op_type for node in model.graph.node) for model in (before, after))
    fewer = {kind: old[kind] - new[kind] for kind in sorted({*old, *new}) if old[kind] != new[kind]}
    return {"nodes_before": old.total(), "nodes_after": new.total(), "removed": fewer}
