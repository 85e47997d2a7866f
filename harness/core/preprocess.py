"""From raw samples to what a model eats, and from its outputs back to real numbers.

The host decodes and resizes; what is left (affine part, channel order, layout, dtype) happens here, in
numpy, on every device, untimed. The same code runs on the host, so that both can hash the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.errors import DataError

Feeds = dict[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Affine part, channel order, layout and dtype of one input.

    ``x = (raw * scale - mean) / std``, in float32 (float64 for such an input), then channels, layout, dtype.

    Parameters
    ----------
    scale : float
    mean, std : tuple of float
        One value, or one a channel (last axis of the raw sample).
    reverse_channels : bool
        RGB on disk, BGR in the model (or the other way round).
    layout : str
        ``NCHW`` moves the last axis of the raw sample to the front, ``NHWC`` the first one to the end;
        ``same`` leaves them.
    dtype : str
        What the canonical model takes.
    shape : tuple of int
        Shape of one sample after layout; empty leaves it.
    batch_axis : int, optional
        Axis of the model's input that the samples lie on; None where the input has no such axis and takes one
        sample a call.
    output_rows : int
        The input takes one sample a call, and outputs have as many rows as there are objects in it: the
        number of rows that they are filled up to by zeros; 0: their shapes do not depend on the sample.
    value : float, optional
        The input has no samples: this number fills it at every call.
    state : str
        Name of the output whose value this input takes at the next row of a sequence; it has a `value`, with
        which a sequence begins, and which it has for every sample where samples are independent.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    reverse_channels: bool = False
    layout: str = "same"
    dtype: str = "float32"
    shape: tuple[int, ...] = ()
    batch_axis: int | None = 0
    output_rows: int = 0
    value: float | None = None
    state: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocess:
        """Read what ``to_json`` wrote."""
        fields: dict[str, Any] = {
            name: tuple(item) if isinstance(item, list) else item for name, item in value.items()
        }
        return cls(**fields)


def apply(raw: NDArray[Any], step: Preprocess) -> NDArray[Any]:
    """Make the canonical model input.

    Parameters
    ----------
    raw : ndarray, shape (n, …)
        Images are (n, h, w, c).
    step : Preprocess

    Returns
    -------
    ndarray, shape (n, …), dtype `step.dtype`, C-contiguous
    """
    x = np.asarray(raw)
    if step.reverse_channels:
        x = x[..., ::-1]
    if np.issubdtype(np.dtype(step.dtype), np.floating):
        real = np.float64 if step.dtype == "float64" else np.float32
        x = x.astype(real)  # a copy, changed in place: half the time of new arrays
        # An identity step is skipped, so that float inputs pass through bit by bit.
        if step.scale != 1.0:
            x *= real(step.scale)
        if any(step.mean):
            x -= np.asarray(step.mean, real)
        if any(value != 1.0 for value in step.std):
            x /= np.asarray(step.std, real)
    if step.layout == "NCHW":
        x = np.moveaxis(x, -1, 1)
    elif step.layout == "NHWC":
        x = np.moveaxis(x, 1, -1)
    if step.shape:
        x = x.reshape(len(x), *step.shape)
    return np.ascontiguousarray(x, dtype=step.dtype)


class Digest:
    """A hash of canonical inputs, chunk by chunk, so that host and device can be compared.

    It does not depend on how the rows were cut into chunks.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {}

    def update(self, chunk: Mapping[str, NDArray[Any]]) -> None:
        """Take in the rows that follow."""
        for name, array in chunk.items():
            state = self._by_name.setdefault(
                name, hashlib.sha256(f"{name} {array.dtype} {array.shape[1:]}".encode())
            )
            state.update(np.ascontiguousarray(array).data)

    def hexdigest(self) -> str:
        """Hash of all inputs so far."""
        joined = "".join(f"{name}:{state.hexdigest()}\n" for name, state in sorted(self._by_name.items()))
        return hashlib.sha256(joined.encode()).hexdigest()


def digest(feeds: Iterable[Mapping[str, NDArray[Any]]]) -> str:
    """Give the `Digest` of all chunks."""
    whole = Digest()
    for chunk in feeds:
        whole.update(chunk)
    return whole.hexdigest()


def quantize(x: NDArray[Any], step: Quantization, dtype: str) -> NDArray[Any]:
    """Quantize real numbers for an integer input, rounding half to even, saturating."""
    limits = np.iinfo(dtype)
    q = np.rint(x / np.float32(step.scale)) + step.zero_point
    return np.asarray(np.clip(q, limits.min, limits.max), dtype=dtype)


def dequantize(q: NDArray[Any], step: Quantization) -> NDArray[np.float32]:
    """Real numbers of an integer output."""
    return (q.astype(np.float32) - np.float32(step.zero_point)) * np.float32(step.scale)


def match(names: Iterable[str], specs: tuple[TensorSpec, ...], what: str) -> dict[str, TensorSpec]:
    """Pair canonical names with the file's tensors: by name, else by position where the counts agree.

    Converters rename tensors; a file whose names and count both differ is refused.
    """
    wanted = tuple(names)
    by_name = {spec.name: spec for spec in specs}
    if all(name in by_name for name in wanted):
        return {name: by_name[name] for name in wanted}
    if len(wanted) == len(specs):
        return dict(zip(wanted, specs, strict=True))
    raise DataError(
        f"the {what}s {', '.join(wanted)} do not fit the model's {', '.join(by_name)}",
        cause=f"the data set or the validation file names {what}s that this artifact does not have",
        next_step="name them as the model does",
    )


def to_feeds(
    canonical: Mapping[str, NDArray[Any]], artifact: Artifact, specs: tuple[TensorSpec, ...]
) -> Feeds:
    """Turn canonical inputs into what this artifact's file takes: layout, then integer inputs."""
    return {
        spec.name: into_file(canonical[name], artifact.input_permutation.get(name), spec)
        for name, spec in match(canonical, specs, "input").items()
    }


def into_file(x: NDArray[Any], axes: tuple[int, ...] | None, spec: TensorSpec) -> NDArray[Any]:
    """Turn one canonical input into the file's: its layout, and its integers where real numbers are given."""
    if axes is not None:
        x = np.ascontiguousarray(x.transpose(axes))
    if spec.quantization is not None and np.issubdtype(x.dtype, np.floating):
        x = quantize(x, spec.quantization, spec.dtype)
    return x


def from_file(y: NDArray[Any], axes: tuple[int, ...] | None, spec: TensorSpec) -> NDArray[Any]:
    """Turn one output of the file into the canonical one: real numbers, then its layout."""
    if spec.quantization is not None:
        y = dequantize(y, spec.quantization)
    return y if axes is None else np.ascontiguousarray(y.transpose(tuple(np.argsort(axes))))


def to_outputs(
    outputs: Mapping[str, NDArray[Any]], artifact: Artifact, specs: tuple[TensorSpec, ...]
) -> Outputs:
    """Turn what the file returned into canonical outputs: real numbers, then layout."""
    return {
        spec.name: from_file(outputs[spec.name], artifact.output_permutation.get(spec.name), spec)
        for spec in specs
    }
