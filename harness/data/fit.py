"""Whether samples fit the model: found out on the host, before anything is measured, with what to change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.errors import ConfigurationError, DataError, Problem
from harness.core.preprocess import Preprocess, apply

Raw = Mapping[str, NDArray[np.generic]]


def check_fit(raw: Raw, steps: Mapping[str, Preprocess], specs: Sequence[TensorSpec], *, where: str) -> None:
    """Check that the samples, preprocessed, are what the model takes.

    Parameters
    ----------
    raw : mapping of input name to ndarray, shape (n, …)
    steps : mapping of input name to Preprocess
        Those of ``[input.NAME]``; an input without one is taken as float32.
    specs : sequence of TensorSpec
        The model's canonical inputs; an empty shape is one that the file does not tell.
    where : str
        Where the samples come from.

    Raises
    ------
    DataError
        Names, shapes or values do not fit.
    ConfigurationError
        A table of preprocessing does not fit the samples or the model; has every problem.
    """
    wanted = {spec.name: spec for spec in specs}
    if set(raw) != set(wanted):
        raise DataError(
            f"the data have the inputs {', '.join(sorted(raw))}, the model has {', '.join(sorted(wanted))}",
            where=where,
            next_step="name the arrays as the model names its inputs",
        )
    problems = [Problem(f"input.{name}", _no_input(wanted)) for name in steps if name not in wanted]
    for name, spec in wanted.items():
        problems += _step_problems(name, raw[name], steps.get(name, Preprocess()), spec)
    if problems:
        raise ConfigurationError(f"validation.toml, for the data of {where}", tuple(problems))
    for name, spec in wanted.items():
        step = steps.get(name, Preprocess())
        found, takes = apply(raw[name][:1], step).shape[1:], spec.shape[1:]
        if spec.shape and not _same(found, takes):
            raise DataError(
                f"the model's input {name} takes samples of shape {_text(takes)}, and preprocessing makes "
                f"{_text(found)} of them",
                where=where,
                cause=f"a sample is {_text(raw[name].shape[1:])} as it comes, layout = {step.layout!r}",
                next_step=_advice(name, raw[name].shape[1:], step, takes),
            )


def _no_input(wanted: Iterable[str]) -> str:
    return f"the model has no such input (it has {', '.join(wanted)})"


def _step_problems(
    name: str, raw: NDArray[np.generic], step: Preprocess, spec: TensorSpec
) -> Iterable[Problem]:
    path, dtype = f"input.{name}", np.dtype(step.dtype)
    floating = dtype.kind == "f"
    # Real numbers for an integer input are quantized on the device by the file's own step.
    if step.dtype != spec.dtype and not (floating and spec.quantization is not None):
        yield Problem(f"{path}.dtype", f'the model takes {spec.dtype}: set dtype = "{spec.dtype}"')
    channels = raw.shape[-1] if raw.ndim > 1 else 1
    for key, values in (("mean", step.mean), ("std", step.std)):
        if len(values) not in (1, channels):
            last = f"the last axis of a sample has {channels}"
            yield Problem(f"{path}.{key}", f"has {len(values)} values, {last}: give 1 or {channels}")
    affine = step.scale != 1.0 or any(step.mean) or any(value != 1.0 for value in step.std)
    if not floating and affine:
        yield Problem(path, f"scale, mean and std work on floating-point inputs, and dtype is {step.dtype}")
    if dtype.kind in "iu" and not _holds(dtype, raw):
        yield Problem(f"{path}.dtype", f"the samples have values that {step.dtype} cannot hold")
    size = math.prod(raw.shape[1:])
    if step.shape and math.prod(step.shape) != size:
        yield Problem(f"{path}.shape", f"{list(step.shape)} does not hold the {size} values of a sample")


def _holds(dtype: np.dtype[np.generic], raw: NDArray[np.generic]) -> bool:
    limits = np.iinfo(dtype.name)
    values = np.asarray(raw, np.float64) if raw.dtype.kind == "f" else np.asarray(raw)
    if values.size == 0:
        return True
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    return whole and int(values.min()) >= limits.min and int(values.max()) <= limits.max


def _same(found: tuple[int, ...], takes: tuple[int | None, ...]) -> bool:
    return len(found) == len(takes) and all(
        size in (None, got) for got, size in zip(found, takes, strict=True)
    )


def _advice(name: str, raw: tuple[int, ...], step: Preprocess, takes: tuple[int | None, ...]) -> str:
    """Say what to change, where one change mends it."""
    if step.layout == "same" and len(raw) == 3 and _same((raw[2], *raw[:2]), takes):
        return f'set [input.{name}] layout = "NCHW"'
    if step.layout == "NCHW" and _same(raw, takes):
        return f'set [input.{name}] layout = "same"'
    if len(raw) == 3 and len(takes) == 3:
        wanted = takes if step.layout == "same" else (*takes[1:], takes[0])
        if wanted[2] not in (None, raw[2]):
            colour = {1: "L", 3: "RGB"}.get(wanted[2] or 0)
            how = f' (image files: [data.image] colour = "{colour}")' if colour else ""
            return f"give samples with {wanted[2]} channels, last axis{how}"
        if None not in wanted[:2]:
            return f"give samples of that size (image files: [data.image] size = {list(wanted[:2])})"
    if None not in takes and math.prod(size or 0 for size in takes) == math.prod(raw):
        return f"set [input.{name}] shape = {list(takes)}"
    return "give samples of that shape, or another model"


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
