"""Adjust the remaining weights of a pruned model by least squares on calibration data; no training.

For each output of a layer, the change E of its weights is chosen to change the output on the calibration
data as little as possible: minimise E A E' + r |E_kept|², where A has the second moments of the layer's
input, E is minus the weight where a weight is removed, and r is a ridge that keeps the solution close to the
weights. The inputs are those of the unpruned model, so the data are read once for all layers.

Sources: Y. He et al., "Channel pruning for accelerating very deep neural networks", ICCV 2017; B. Hassibi and
D. Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NIPS 1992.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from harness.compression.canonical import Array, attribute, initializers, open_session
from harness.compression.passes import Feeds
from harness.core.errors import DataError

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_RIDGE = 1e-2  # relative to the mean second moment; 1e-4 to 1e-2 give the same accuracy on digits
_TOLERANCE = 1e-3  # of the norm of the residual: the error is then within 0.1 % of the minimum
_ITERATIONS = 100
_MOST_MOMENT_BYTE = 512 << 20  # in memory at a time; for more layers the data are read again


@dataclass(slots=True)
class Moments:
    """Sums over the inputs of a layer.

    Parameters
    ----------
    count : int
    total : ndarray, shape (groups, inputs), float64
    products : ndarray, shape (groups, inputs, inputs), float64
    pending : list of ndarray
        Inputs that are not added yet: a few large products are faster than many small ones.
    """

    count: int
    total: Array
    products: Array
    pending: list[Array] = field(default_factory=list)

    def add(self, rows: Array) -> None:
        """Add inputs, shape (groups, n, inputs)."""
        self.pending.append(rows)
        if sum(rows.shape[1] for rows in self.pending) >= self.products.shape[1]:
            self.flush()

    def flush(self) -> None:
        """Add the pending inputs to the sums."""
        if self.pending:
            rows = np.concatenate(self.pending, axis=1)
            self.count += rows.shape[1]
            self.total += rows.sum(axis=1, dtype=np.float64)
            self.products += rows.transpose(0, 2, 1) @ rows
            self.pending.clear()

    def mean(self) -> Array:
        """Return the mean input, shape (groups, inputs)."""
        return np.asarray(self.total / self.count)

    def matrix(self, *, centred: bool) -> Array:
        """Return the second moments; with ``centred`` the covariance, if a bias corrects the mean."""
        matrix = self.products / self.count
        if centred:
            matrix -= np.einsum("gi,gj->gij", self.mean(), self.mean())
        return np.asarray(matrix)


def mask_weights(
    model: onnx.ModelProto, masks: Mapping[str, Array], calibration: Iterable[Feeds] | None
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Set weights to zero and adjust the others.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    masks : mapping
        Name of a constant to bool array of its shape; true where a weight stays.
    calibration : iterable of mapping, or None
        Read once. None: nothing is adjusted.

    Returns
    -------
    onnx.ModelProto
        With the same shapes.
    dict
        ``calibration_feeds``, the adjusted ``layers``, and ``left``: other layers to reason.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the number of BLAS threads changes the order of sums, and so the last bits
        return _mask_weights(model, masks, calibration)


def _mask_weights(
    model: onnx.ModelProto, masks: Mapping[str, Array], calibration: Iterable[Feeds] | None
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    constants = initializers(model)
    changed = {name: constants[name] * mask for name, mask in masks.items()}
    report: dict[str, Any] = {"calibration_feeds": 0, "layers": [], "left": {}}
    if calibration is not None:
        users: dict[str, int] = {}
        for node in model.graph.node:
            for name in node.input:
                users[name] = users.get(name, 0) + 1
        nodes = []
        for node in model.graph.node:
            if node.op_type not in LAYERS or node.input[1] not in masks or masks[node.input[1]].all():
                continue
            reason = _unfit(node, constants[node.input[1]], users[node.input[1]])
            if reason:
                report["left"][node.name] = reason
            else:
                nodes.append(node)
        for node, moments in _moments(model, nodes, calibration, report):
            bias = node.input[2] if len(node.input) > 2 else ""
            centred = bias in constants and users[bias] == 1 and constants[bias].ndim == 1
            weights, mask = constants[node.input[1]], _rows(node, masks[node.input[1]])
            before = _rows(node, weights).astype(np.float64)
            after = refit(before, mask, moments.matrix(centred=centred))
            if centred:
                shift = np.einsum("gri,gi->gr", before - after, moments.mean()).reshape(-1)
                changed[bias] = (constants[bias] + shift).astype(constants[bias].dtype)
            changed[node.input[1]] = _from_rows(node, after, weights)
            report["layers"].append(node.name)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed[tensor.name]), tensor.name))
    return result, report


def refit(weights: Array, mask: Array, matrix: Array) -> Array:
    """Solve for the remaining weights by preconditioned conjugate gradients, all outputs at once.

    Parameters
    ----------
    weights : ndarray, shape (groups, outputs, inputs), float64
    mask : ndarray, same shape, bool
        True where a weight stays.
    matrix : ndarray, shape (groups, inputs, inputs), float64
        Second moments of the inputs.

    Returns
    -------
    ndarray, shape (groups, outputs, inputs), float64
        Exactly zero where `mask` is false.
    """
    diagonal = np.einsum("gii->gi", matrix)
    ridge = _RIDGE * diagonal.mean(axis=1)[:, None, None]
    scale = diagonal[:, None, :] + ridge
    inverse = np.divide(mask, scale, out=np.zeros_like(weights), where=scale > 0)
    change = np.where(mask, 0.0, -weights)
    residual = -(change @ matrix) * mask
    goal = _TOLERANCE * np.linalg.norm(residual, axis=2)
    step = inverse * residual
    slope = (residual * step).sum(axis=2)
    for _ in range(_ITERATIONS):
        if (np.linalg.norm(residual, axis=2) <= goal).all():
            break
        image = (step @ matrix + ridge * step) * mask
        curve = (step * image).sum(axis=2)
        length = np.divide(slope, curve, out=np.zeros_like(slope), where=curve > 0)[..., None]
        change += length * step
        residual -= length * image
        ahead = inverse * residual
        fresh = (residual * ahead).sum(axis=2)
        step = ahead + np.divide(fresh, slope, out=np.zeros_like(slope), where=slope > 0)[..., None] * step
        slope = fresh
    return np.where(mask, weights + change, 0.0)


def _unfit(node: onnx.NodeProto, weights: Array, users: int) -> str:
    """Return why a layer cannot be adjusted; empty if it can."""
    if users > 1:
        return "its weights are shared"
    if node.op_type == "ConvTranspose":
        return "a transposed convolution is not a product with patches of its input"
    if attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        return "its padding depends on its input"
    if node.op_type == "MatMul" and weights.ndim != 2:
        return "its weights are not a matrix"
    groups, _, inputs = _rows(node, weights).shape
    if 8 * groups * inputs**2 > _MOST_MOMENT_BYTE:
        return f"the moments of its {inputs} inputs take more than {_MOST_MOMENT_BYTE >> 20} MiB"
    return ""


def _rows(node: onnx.NodeProto, weights: Array) -> Array:
    """Return weights with the shape (groups, outputs, inputs)."""
    if node.op_type == "Conv":
        groups = attribute(node, "group", 1)
        return weights.reshape(groups, len(weights) // groups, -1)
    return (weights if attribute(node, "transB", 0) else weights.T)[None]


def _from_rows(node: onnx.NodeProto, rows: Array, like: Array) -> Array:
    if node.op_type != "Conv" and not attribute(node, "transB", 0):
        rows = rows[0].T
    return rows.reshape(like.shape).astype(like.dtype)


def _patches(node: onnx.NodeProto, weights: Array, x: Array) -> Array:
    """Return the patches of ``x`` that a layer multiplies with its weights, shape (groups, n, inputs)."""
    if node.op_type != "Conv":
        return x.reshape(1, -1, x.shape[-1])
    kernel, rank = weights.shape[2:], weights.ndim - 2
    pads = attribute(node, "pads", [0] * 2 * rank)
    strides, dilations = (attribute(node, name, [1] * rank) for name in ("strides", "dilations"))
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, extent, axis=tuple(range(2, 2 + rank)))
    strided = (slice(None), slice(None), *(slice(None, None, s) for s in (*strides, *dilations)))
    windows = np.moveaxis(windows[strided], 1, 1 + rank)  # (batch, positions…, channels, kernel…)
    groups = attribute(node, "group", 1)
    return windows.reshape(-1, groups, weights[0].size).transpose(1, 0, 2)


def _moments(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], calibration: Iterable[Feeds], report: dict[str, Any]
) -> Iterator[tuple[onnx.NodeProto, Moments]]:
    """Yield each layer with the moments of its input, as many at a time as fit into memory."""
    constants = initializers(model)
    batches: list[list[onnx.NodeProto]] = [[]]
    free_byte = _MOST_MOMENT_BYTE
    for node in nodes:
        groups, _, inputs = _rows(node, constants[node.input[1]]).shape
        needed_byte = 8 * groups * inputs**2
        if needed_byte > free_byte:
            batches.append([])
            free_byte = _MOST_MOMENT_BYTE
        batches[-1].append(node)
        free_byte -= needed_byte
    with tempfile.TemporaryFile(prefix="harness-calibration-") as file:
        for index, batch in enumerate(batches):
            if index == 0:
                feeds = calibration if len(batches) == 1 else _stored(calibration, file)
            else:
                file.seek(0)
                feeds = _read_again(file, report["calibration_feeds"], [v.name for v in model.graph.input])
            yield from zip(batch, _gather(model, batch, feeds, report), strict=True)


def _gather(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], feeds: Iterable[Feeds], report: dict[str, Any]
) -> list[Moments]:
    constants = initializers(model)
    shapes = [_rows(node, constants[node.input[1]]).shape for node in nodes]
    sums = [Moments(0, np.zeros((g, i)), np.zeros((g, i, i))) for g, _, i in shapes]
    inputs = {value.name for value in model.graph.input}
    tensors = sorted({node.input[0] for node in nodes} - inputs)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    if tensors:
        del probe.graph.output[:]
        probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    run = runner(probe)
    count, low, high = 0, np.inf, -np.inf
    for count, feed in enumerate(feeds, start=1):
        values = {**feed, **run(feed, f"calibration feed {count - 1}")}
        for node, moments in zip(nodes, sums, strict=True):
            moments.add(_patches(node, constants[node.input[1]], values[node.input[0]]))
        low = min(low, *(float(np.min(value)) for value in feed.values()))
        high = max(high, *(float(np.max(value)) for value in feed.values()))
    if not low < high:
        raise DataError(
            "all values of the calibration data are equal" if count else "the calibration set is empty",
            where="calibration",
            cause="a blank file, or preprocessing that scales everything to zero" if count else "",
            next_step="use 100 to 200 samples that are typical for the model, or set refit = false",
        )
    report["calibration_feeds"] = count
    for node, moments in zip(nodes, sums, strict=True):
        moments.flush()
        if not np.isfinite(moments.products).all():
            raise DataError(
                f"the input of {node.name!r} is not finite on the calibration data",
                where=f"node {node.name!r}",
                cause="NaN, infinity, or values far beyond those that the model was trained on",
                next_step="check the preprocessing of the calibration data",
            )
    return sums


def runner(model: onnx.ModelProto) -> Callable[[Feeds, str], dict[str, Array]]:
    """Open a model; return a function that runs a feed, named for errors by its second argument."""
    session = open_session(model, "the model")
    names = [output.name for output in session.get_outputs()]

    def run(feed: Feeds, where: str) -> dict[str, Array]:
        try:
            return dict(zip(names, session.run(None, dict(feed)), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise DataError(
                f"the model does not run on the feed: {str(error).strip().splitlines()[0]}",
                where=where,
                cause="the name, shape or dtype of an input differs from the model's",
                next_step="fix the preprocessing of the calibration data",
            ) from error

    return run


def _stored(feeds: Iterable[Feeds], file: IO[bytes]) -> Iterator[Feeds]:
    """Yield the feeds and store them, because they can be read only once."""
    for feed in feeds:
        for _, value in sorted(feed.items()):
            np.save(file, value, allow_pickle=False)
        yield feed


def _read_again(file: IO[bytes], count: int, names: list[str]) -> Iterator[Feeds]:
    for _ in range(count):
        yield {name: np.load(file, allow_pickle=False) for name in sorted(names)}
