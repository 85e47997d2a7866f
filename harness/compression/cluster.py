"""Weight sharing: the weights of a layer take k values, chosen by k-means.

S. Han, H. Mao, W. Dally, "Deep Compression", ICLR 2016, without retraining.
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
from harness.compression.storage import Packed
from harness.compression.weights import Layer, coded, finish, stored, weight_layers
from harness.core.commands import install
from harness.core.errors import HarnessError, UsageError
from harness.core.settings import choice, flag, option, whole

_BINS = 1 << 12  # k-means on a histogram: the time does not depend on the number of weights
_STARTS = 8


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Options of ``cluster``."""

    k: int = option(16, whole(1))
    codebooks: str = option("layer", choice("layer", "kind"))
    keep_zeros: bool = option(True, flag)
    expand: bool = option(False, flag)
    seed: int = option(0, whole(0))
    layers: tuple[str, ...] = option((), node_names)


def cluster(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Replace the weights of each layer by k shared values: ``w' = codebook[index]``.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Not read.
    options : mapping
        ``k`` (default 16): values in a codebook; up to 16 an index takes 4 bits, up to 256 it takes 8.
        ``codebooks``: ``"layer"`` (default), or ``"kind"``: one codebook for all layers with the same
        operator and kernel. ``keep_zeros`` (default true): zero weights stay zero, which takes one of the k
        values. ``expand`` (default false): store dense float32. ``seed`` (default 0): for the starting
        points. ``layers``: names of nodes (default: all).

    Returns
    -------
    PassResult
        The report has the sizes and per weight ``k`` (values in use), ``sqnr_db``, ``bytes`` and ``stored``
        (``codebook``, or ``dense`` if a codebook would not be smaller).
    """
    settings = read_options("cluster", model, options, ClusterOptions)
    groups: dict[str, list[Layer]] = {}
    for layer in weight_layers(model, settings.layers, where="cluster.layers"):
        groups.setdefault(layer.weight if settings.codebooks == "layer" else layer.kind, []).append(layer)
    weights: dict[str, Packed | Array] = {}
    report: dict[str, dict[str, Any]] = {}
    for group, layers in groups.items():
        values = np.concatenate([layer.values.reshape(-1) for layer in layers])
        codebook = codebook_of(values, settings.k, keep_zeros=settings.keep_zeros, seed=settings.seed)
        shared_as = f"{group}/codebook" if len(layers) > 1 else ""
        for layer in layers:
            indices = nearest(codebook, layer.values)
            form = coded(layer, codebook, indices, expand=settings.expand, shared_as=shared_as)
            weights[layer.weight] = form
            report[layer.weight] = {
                "layer": layer.node.name,
                "k": len(np.unique(indices)),
                **stored(layer, codebook[indices], form, "codebook"),
            }
    return finish(model, weights, asdict(settings), report)


def codebook_of(values: Array, k: int, *, keep_zeros: bool, seed: int) -> Array:
    """Choose at most k values by k-means in one dimension.

    Parameters
    ----------
    values : ndarray, shape (n,), float32
    k : int
        Number of values, zero included.
    keep_zeros : bool
        Whether zeros are a cluster of their own.
    seed : int

    Returns
    -------
    ndarray, shape (at most k,), float32
        Ascending.
    """
    rest = values[values != 0] if keep_zeros else values
    zeros = [np.float32(0)] if len(rest) < len(values) else []
    k -= len(zeros)
    if k == 0 and len(rest):
        raise UsageError(
            "k = 1 leaves no value for the non-zero weights",
            where="cluster.k",
            next_step="use k = 2 or more, or keep_zeros = false",
        )
    points, counts = _points(rest)
    centres = points if len(points) <= k else _kmeans(points, counts, k, seed)
    return np.unique(np.concatenate([zeros, centres]).astype(np.float32))


def nearest(codebook: Array, values: Array) -> Array:
    """Return the index of the nearest value of an ascending codebook; the lower one at equal distance."""
    book = codebook.astype(np.float64)
    return np.searchsorted((book[1:] + book[:-1]) / 2, values.astype(np.float64))


def _points(values: Array) -> tuple[Array, Array]:
    """Return distinct values and their counts; if there are many, the means of narrow bins instead."""
    points, counts = np.unique(values.astype(np.float64), return_counts=True)
    if len(points) <= _BINS:
        return points, counts
    edges = np.linspace(points[0], points[-1], _BINS + 1)
    filled = np.histogram(points, edges, weights=counts)[0]
    sums = np.histogram(points, edges, weights=counts * points)[0]
    return sums[filled > 0] / filled[filled > 0], filled[filled > 0]


def _kmeans(points: Array, counts: Array, k: int, seed: int) -> Array:
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise HarnessError(
            "clustering needs scikit-learn, which is not installed",
            where="the pass cluster",
            next_step=install("host"),
        ) from error
    means = KMeans(k, n_init=_STARTS, random_state=seed)
    with threadpool_limits(1):  # with several threads the order of the sums would vary
        means.fit(points[:, np.newaxis], sample_weight=counts)
    return np.asarray(means.cluster_centers_[:, 0])
