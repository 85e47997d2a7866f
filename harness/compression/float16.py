"""Store weights in float16; they are converted when the model is loaded, and all arithmetic stays float32.

Converting the arithmetic too (``onnxruntime.transformers.float16``) makes the file no smaller, and nothing
faster on CPUs without float16 convolutions: ONNX Runtime puts Casts around every operator and computes in
float32. The measured time was the same (374 and 379 µs on digits), with every activation rounded as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from harness.compression.canonical import Array
from harness.compression.options import node_names, read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.storage import Packed, from_half
from harness.compression.weights import finish, smaller, stored, weight_layers
from harness.core.errors import ModelError
from harness.core.settings import option


@dataclass(frozen=True, slots=True)
class Float16Options:
    """Options of ``float16``."""

    layers: tuple[str, ...] = option((), node_names)


def float16(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Store weights in float16.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Not read.
    options : mapping
        ``layers``: names of nodes (default: all).

    Returns
    -------
    PassResult
        The report has the sizes and per weight ``sqnr_db``, ``bytes`` and ``stored`` (``half``, or ``dense``
        if that is not larger).

    Raises
    ------
    ModelError
        A weight is too large for float16.
    """
    settings = read_options("float16", model, options, Float16Options)
    weights: dict[str, Packed | Array] = {}
    report: dict[str, dict[str, Any]] = {}
    for layer in weight_layers(model, settings.layers, where="float16.layers"):
        largest = np.abs(layer.values).max(initial=0.0)
        if largest > np.finfo(np.float16).max:
            raise ModelError(
                f"weight {layer.weight!r} has the value {largest:g}, beyond float16's"
                f" {np.finfo(np.float16).max:g}",
                where=f"node {layer.node.name!r}",
                next_step="list only the other layers in float16.layers",
            )
        half = layer.values.astype(np.float16).astype(np.float32)
        form = weights[layer.weight] = smaller(from_half(layer.weight, layer.values), half)
        report[layer.weight] = {"layer": layer.node.name, **stored(layer, half, form, "half")}
    return finish(model, weights, asdict(settings), report)
