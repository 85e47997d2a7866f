"""The range of every activation, from calibration data that are read once and not stored.

``onnxruntime.quantization`` has calibrators too, but its histogram methods store every activation of every
feed. Given feeds one by one, they add bins without bound when a later feed has a wider range.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper

from harness.compression.canonical import Array, initializers, open_session
from harness.compression.passes import Feeds
from harness.core.errors import DataError, ModelError, UsageError

Range = tuple[float, float]

_BINS = 1 << 14  # over [-reach, reach]: fine enough with an outlier a thousand times larger than the rest
_LEVELS = 256
_CANDIDATES = 128
_MOST_CUT = 0.01  # of the values: beyond it, most values lie in the last bin and the divergence means nothing
_LEAST_SHARE = 1 / 16  # of the largest value: smaller ranges are not tried
_SMOOTHING = 1e-4  # counts in an empty bin
_PERCENTILE = 99.999  # percent of the values lie within the range
_OCTAVES = 256  # exponents of float32
_MOST_OCTAVE_VALUES = 1 << 12  # of each feed: magnitudes are a statistic, extremes are not
_HUGE = 1e30  # constants beyond it stand for infinity


class Calibration(NamedTuple):
    """What calibration data say about the activations.

    Parameters
    ----------
    ranges : dict
        Tensor name to (low, high); without the tensors that are infinite everywhere.
    feeds : int
        Number of feeds.
    octaves : dict
        Tensor name to an ndarray of shape (256,), int64: how many values have each exponent of float32;
        index 0 counts zeros, index 127 the magnitudes from 1 to 2. Of large tensors a sample is counted.
    infinite : frozenset of str
        Tensors with infinite values.
    """

    ranges: dict[str, Range]
    feeds: int
    octaves: dict[str, Array]
    infinite: frozenset[str]


class Histogram:
    """Counts of one tensor in a fixed number of bins over [-reach, reach]; the reach doubles if needed."""

    def __init__(self) -> None:
        self.low, self.high, self.reach = np.inf, -np.inf, 0.0
        self.counts, self.zeros = np.zeros(_BINS, np.int64), 0
        self.octaves = np.zeros(_OCTAVES, np.int64)

    def add(self, values: Array, *, count: bool) -> None:
        """Add finite values; with ``count`` false only their extremes and magnitudes."""
        self.octaves += octaves(values)
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        furthest = max(abs(low), abs(high))
        if not count or furthest == 0.0 == self.reach:
            return
        if self.reach == 0.0:
            self.reach = furthest
        while self.reach < furthest:  # neighbouring bins merge, and the old range becomes the middle half
            self.reach *= 2
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, _BINS // 4)
        # Like numpy.histogram in an eighth of its time. Zeros must fall on the edge of the middle bin, so
        # nothing is added before the division.
        bins = np.floor(values.reshape(-1) * (_BINS / 2 / self.reach)).astype(np.int32) + _BINS // 2
        self.counts += np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)
        self.zeros += int(values.size - np.count_nonzero(values))

    def within(self, low: float, high: float) -> Range:
        """Limit a range to the smallest and largest value that occurred."""
        return max(low, self.low), min(high, self.high)


def octaves(values: Array) -> Array:
    """Count the exponents of finite values, of many values a sample; see ``Calibration``."""
    # An odd step: an even one could hit the same columns of every row.
    flat = values.reshape(-1)[:: values.size // _MOST_OCTAVE_VALUES | 1].astype(np.float32)
    return np.bincount(flat.view(np.uint32) >> 23 & (_OCTAVES - 1), minlength=_OCTAVES)


def minmax(histogram: Histogram) -> Range:
    """The range of all values."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram) -> Range:
    """The range of the middle 99.999 % of the values."""
    total = histogram.counts.sum()
    if not total:
        return minmax(histogram)
    share = np.cumsum(histogram.counts) / total
    beyond = (100 - _PERCENTILE) / 200
    edges = np.linspace(-histogram.reach, histogram.reach, _BINS + 1)
    return histogram.within(
        float(edges[np.searchsorted(share, beyond)]), float(edges[np.searchsorted(share, 1 - beyond) + 1])
    )


def entropy(histogram: Histogram) -> Range:
    """The range whose 256 levels have the smallest Kullback–Leibler divergence from the values.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017: values beyond a candidate range count in its last
    bins; each level spreads its count evenly over its non-empty bins. Empty bins are smoothed as in MXNet and
    ONNX Runtime. Zeros are not counted: every range represents zero exactly, and the many zeros after a Relu
    would dominate.
    """
    counts, half = histogram.counts.copy(), _BINS // 2
    counts[half] -= histogram.zeros
    if not counts.any():
        return minmax(histogram)
    best, least = half, np.inf
    for reach in np.unique(np.geomspace(16, half, _CANDIDATES).astype(int)):
        inside = counts[half - reach : half + reach].astype(np.float64)
        actual = inside.copy()
        below, above = counts[: half - reach].sum(), counts[half + reach :].sum()
        if below + above > _MOST_CUT * counts.sum():
            continue
        actual[0] += below
        actual[-1] += above
        level = np.arange(2 * reach) * min(_LEVELS, 2 * reach) // (2 * reach)
        filled = actual > 0
        sums, sizes = np.bincount(level, inside), np.bincount(level, filled)
        p = _smoothed(actual)
        q = _smoothed(np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0))
        divergence = float((p * np.log(p / q)).sum())
        if divergence < least:
            best, least = reach, divergence
    bound = histogram.reach * best / half
    return histogram.within(-bound, bound)


def mse(histogram: Histogram) -> Range:
    """The range whose 256 levels have the least squared error of rounding and clamping."""
    if not histogram.counts.any():
        return minmax(histogram)
    half = _BINS // 2
    first = half if histogram.low >= 0 else 0  # after a Relu one half is empty
    counts = histogram.counts[first:].astype(np.float64)
    centres = (np.arange(first, _BINS) - half + 0.5) * (histogram.reach / half)
    best, least = minmax(histogram), np.inf
    for reach in np.geomspace(_LEAST_SHARE, 1, _CANDIDATES // 2) * histogram.reach:
        low, high = histogram.within(-reach, reach)
        step = (max(high, 0.0) - min(low, 0.0)) / (_LEVELS - 1)
        quantized = np.clip(np.rint(centres / step) * step, min(low, 0.0), max(high, 0.0))
        error = float((counts * np.square(centres - quantized)).sum())
        if error < least:
            best, least = (low, high), error
    return best


def _smoothed(counts: Array) -> Array:
    """Return a distribution without zeros: every empty bin gets a small count, taken from all others."""
    empty = counts == 0
    taken = _SMOOTHING * empty.sum() / max((~empty).sum(), 1)
    smooth = np.where(empty, _SMOOTHING, np.maximum(counts - taken, _SMOOTHING))
    return np.asarray(smooth / smooth.sum())


METHODS: Mapping[str, Callable[[Histogram], Range]] = {
    "entropy": entropy,
    "minmax": minmax,
    "mse": mse,
    "percentile": percentile,
}


def activation_ranges(
    model: onnx.ModelProto,
    calibration: Iterable[Feeds],
    method: str,
    operators: Iterable[str],
    by_tensor: Mapping[str, str] = MappingProxyType({}),
) -> Calibration:
    """Run the float model on calibration data and return the ranges of its activations.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    calibration : iterable of mapping
        Input name to array.
    method : str
        A key of ``METHODS``.
    operators : iterable of str
        Inputs and outputs of these operators are calibrated.
    by_tensor : mapping
        Tensor to method, for tensors that do not use `method`.

    Returns
    -------
    Calibration
        -inf, and +inf in a model with a constant that stands for it, are values of a mask: the ranges are
        those of the finite values.

    Raises
    ------
    DataError
        There are no feeds, a feed does not fit the model, or all values of all feeds are equal.
    ModelError
        An activation is NaN or overflows, or the model has none of the operators.
    UsageError
        A name in `by_tensor` is unknown.
    """
    names = activations(model, operators)
    if not names:
        present = ", ".join(sorted({node.op_type for node in model.graph.node})) or "none"
        raise ModelError(
            "the model has no operator that can be quantized",
            where=f"graph {model.graph.name!r}",
            cause=f"its operators: {present}",
            next_step="leave the variant out",
        )
    for name in sorted(set(by_tensor) - set(names)):
        near = difflib.get_close_matches(name, names, n=1)
        raise UsageError(
            f"the model has no activation {name!r} to calibrate",
            where="quantize.calibration_by_tensor",
            next_step=f"did you mean {near[0]!r}?" if near else f"activations: {', '.join(names)}",
        )
    methods = {name: by_tensor.get(name, method) for name in names}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    inputs = {value.name for value in model.graph.input}
    computed = [name for name in names if name not in inputs]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in computed)
    session = open_session(probe, "the model with its activations as outputs")
    histograms = {name: Histogram() for name in {*names, *inputs}}
    masks = (-np.inf, np.inf) if _has_huge_constant(model) else (-np.inf,)
    infinite: set[str] = set()
    count = 0
    for feed in _checked(model, calibration):
        count += 1
        values = {**feed, **dict(zip(computed, session.run(None, feed), strict=True))}
        for name, value in values.items():
            finite = _finite(value, masks)
            if finite is None:
                raise ModelError(
                    f"activation {name!r} is not finite on calibration feed {count - 1}",
                    where=f"tensor {name!r}",
                    cause="the values are far beyond those that the model was trained on",
                    next_step="check the preprocessing of the calibration data",
                )
            if finite.size < value.size:
                infinite.add(name)
            if not finite.size:
                continue
            histograms[name].add(finite, count=methods.get(name, method) != "minmax")
    _refuse_constant(count, [histograms[name] for name in inputs])
    ranges = {
        name: METHODS[methods[name]](histograms[name]) for name in names if np.isfinite(histograms[name].low)
    }
    magnitudes = {name: histograms[name].octaves for name in names}
    return Calibration(ranges, count, magnitudes, frozenset(infinite))


def _finite(values: Array, masks: tuple[float, ...]) -> Array | None:
    """Return the finite values; None if there are others than those of a mask."""
    finite = np.isfinite(values)
    if finite.all():
        return values
    return values[finite] if np.isin(values[~finite], masks).all() else None


def _has_huge_constant(model: onnx.ModelProto) -> bool:
    floats = (value for value in initializers(model).values() if value.dtype.kind == "f")
    return any(np.abs(value).max(initial=0) > _HUGE for value in floats)


def activations(model: onnx.ModelProto, operators: Iterable[str]) -> list[str]:
    """Return the computed float tensors at the operators, in the order of the graph."""
    graph, kinds_of_node = model.graph, frozenset(operators)
    kinds = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input, *graph.output]}
    constants = {tensor.name for tensor in graph.initializer}
    around = (n for node in graph.node if node.op_type in kinds_of_node for n in [*node.input, *node.output])
    return list(
        dict.fromkeys(n for n in around if n not in constants and kinds.get(n) == onnx.TensorProto.FLOAT)
    )


def _checked(model: onnx.ModelProto, calibration: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
    inputs = {value.name: value.type.tensor_type for value in model.graph.input}
    for index, given in enumerate(calibration):
        where = f"calibration feed {index}"
        feed = {name: np.asarray(value) for name, value in given.items()}
        if set(feed) != set(inputs):
            raise DataError(
                f"the feed has the inputs {sorted(feed)}; the model has {sorted(inputs)}", where=where
            )
        for name, value in feed.items():
            shape = [d.dim_value if d.HasField("dim_value") else None for d in inputs[name].shape.dim]
            fits = len(shape) == value.ndim and all(
                w in (None, n) for w, n in zip(shape, value.shape, strict=True)
            )
            dtype = helper.tensor_dtype_to_np_dtype(inputs[name].elem_type)
            if not fits or value.dtype != dtype or not value.size:
                raise DataError(
                    f"input {name!r} is {value.dtype} {value.shape}; the model takes {dtype} {tuple(shape)}",
                    where=where,
                    next_step="fix the preprocessing of the calibration data",
                )
            if not np.isfinite(value).all():
                raise DataError(f"input {name!r} contains NaN or infinity", where=where)
        yield feed


def _refuse_constant(count: int, inputs: list[Histogram]) -> None:
    """Raise if there are no data or all values are equal: they have no range."""
    if count and any(histogram.low < histogram.high for histogram in inputs):
        return
    raise DataError(
        "all values of the calibration data are equal" if count else "the calibration set is empty",
        where="calibration",
        cause="a blank file, or preprocessing that scales everything to zero" if count else "",
        next_step="calibrate with 100 to 200 samples that are typical for the model",
    )
