"""Check on the host, before anything is measured, that samples fit the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.errors import ConfigurationError, DataError, Problem
from harness.core.feeding import sample_shape
from harness.core.preprocess import Preprocess, apply

Raw = Mapping[str, NDArray[np.generic]]


def check_fit(raw: Raw, steps: Mapping[str, Preprocess], specs: Sequence[TensorSpec], *, where: str) -> None:
    """Check that the preprocessed samples fit the inputs of the model.

    Parameters
    ----------
    raw : mapping of input name to ndarray, shape (n, …)
    steps : mapping of input name to Preprocess
        From ``[input.NAME]``; an input without one is float32.
    specs : sequence of TensorSpec
        The model's canonical inputs; an empty shape is unknown.
    where : str
        Source of the samples, for errors.

    Raises
    ------
    DataError
        Names, shapes or values do not fit.
    ConfigurationError
        The preprocessing does not fit the samples or the model; has every problem.
    """
    every = {spec.name: spec for spec in specs}
    inputs = {name: spec for name, spec in every.items() if steps.get(name, Preprocess()).value is None}
    if set(raw) != set(inputs):
        next_step = "give the arrays the names of the model's inputs"
        if set(raw) < set(inputs):
            next_step += "; one without samples is a constant, [input.NAME] value = NUMBER, or state = OUTPUT"
        raise DataError(
            f"the data have the inputs {', '.join(sorted(raw))}, and the model has "
            f"{', '.join(sorted(inputs))}",
            where=where,
            next_step=next_step,
        )
    problems = [Problem(f"input.{name}", _no_input(every)) for name in steps if name not in every]
    for name, spec in inputs.items():
        problems += _step_problems(name, raw[name], steps.get(name, Preprocess()), spec)
    if problems:
        raise ConfigurationError(f"validation.toml, for the data of {where}", tuple(problems))
    for name, spec in inputs.items():
        step = steps.get(name, Preprocess())
        shape, expected = apply(raw[name][:1], step).shape[1:], sample_shape(spec, step)
        if spec.shape and not _matches(shape, expected):
            raise DataError(
                f"the model's input {name} needs samples of shape {_text(expected)}; they have {_text(shape)}"
                " after preprocessing",
                where=where,
                cause=f"they have {_text(raw[name].shape[1:])} before, and layout = {step.layout!r}",
                next_step=_advice(name, raw[name].shape[1:], step, expected),
            )


def check_indices(raw: Raw, rows: Mapping[str, int], ids: NDArray[np.int64], *, where: str) -> None:
    """Check inputs that are rows of a table in the model, such as the ids of tokens.

    A runtime may refuse such an id, or read another row, or zeros, and say nothing.

    Parameters
    ----------
    raw : mapping of input name to ndarray, shape (n, …)
    rows : mapping of input name to int
        Rows of the table that each of them is read from.
    ids : ndarray, shape (n,), int64
        Position of each sample in its source, for the message.

    Raises
    ------
    DataError
        The table has no such row.
    """
    for name, count in rows.items():
        if name not in raw or not raw[name].size:
            continue
        values = np.asarray(raw[name], np.int64).reshape(len(ids), -1)
        wrong = (values < 0) | (values >= count)
        if wrong.any():
            first = int(wrong.any(axis=1).argmax())
            raise DataError(
                f"{int(wrong.sum())} values of the input {name} are outside 0..{count - 1}: sample "
                f"{ids[first]} (from 0) has {values[first][wrong[first]][0]}",
                where=where,
                cause=f"the model reads them as rows of a table that has {count}: another vocabulary, or a "
                "document that is too long for its positions",
                next_step="make the ids with the tokenizer of the model; cut longer documents",
            )


def _no_input(inputs: Iterable[str]) -> str:
    return f"the model has no such input (it has {', '.join(inputs)})"


def _step_problems(
    name: str, raw: NDArray[np.generic], step: Preprocess, spec: TensorSpec
) -> Iterable[Problem]:
    path, dtype = f"input.{name}", np.dtype(step.dtype)
    floating = dtype.kind == "f"
    # Real numbers for an integer input are quantized on the device with the scale in the file.
    if step.dtype != spec.dtype and not (floating and spec.quantization is not None):
        yield Problem(f"{path}.dtype", f'the model takes {spec.dtype}: set dtype = "{spec.dtype}"')
    channels = raw.shape[-1] if raw.ndim > 1 else 1
    for key, values in (("mean", step.mean), ("std", step.std)):
        if len(values) not in (1, channels):
            last = f"the last axis of a sample has {channels}"
            yield Problem(f"{path}.{key}", f"has {len(values)} values, {last}: give 1 or {channels}")
    affine = step.scale != 1.0 or any(step.mean) or any(value != 1.0 for value in step.std)
    if not floating and affine:
        yield Problem(path, f"scale, mean and std need a floating-point dtype, not {step.dtype}")
    if dtype.kind in "iu" and not _can_represent(dtype, raw):
        yield Problem(f"{path}.dtype", f"the samples have values that {step.dtype} cannot represent")
    size = math.prod(raw.shape[1:])
    if step.shape and math.prod(step.shape) != size:
        yield Problem(f"{path}.shape", f"{list(step.shape)} does not fit the {size} values of a sample")


def _can_represent(dtype: np.dtype[np.generic], raw: NDArray[np.generic]) -> bool:
    limits = np.iinfo(dtype.name)
    values = np.asarray(raw, np.float64) if raw.dtype.kind == "f" else np.asarray(raw)
    if values.size == 0:
        return True
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    return whole and int(values.min()) >= limits.min and int(values.max()) <= limits.max


def _matches(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        fixed in (None, size) for size, fixed in zip(shape, expected, strict=True)
    )


def _advice(name: str, raw: tuple[int, ...], step: Preprocess, expected: tuple[int | None, ...]) -> str:
    """Return the one change that fixes the shape, if there is one."""
    if step.layout == "same" and len(raw) == 3 and _matches((raw[2], *raw[:2]), expected):
        return f'set [input.{name}] layout = "NCHW"'
    if step.layout == "NCHW" and _matches(raw, expected):
        return f'set [input.{name}] layout = "same"'
    if len(raw) == 3 and len(expected) == 3:
        height_width_channels = expected if step.layout == "same" else (*expected[1:], expected[0])
        channels = height_width_channels[2]
        if channels not in (None, raw[2]):
            colour = {1: "L", 3: "RGB"}.get(channels or 0)
            hint = f' (image files: [data.image] colour = "{colour}")' if colour else ""
            return f"use samples with {channels} channels on the last axis{hint}"
        if None not in height_width_channels[:2]:
            size = list(height_width_channels[:2])
            return f"use samples of that size (image files: [data.image] size = {size})"
    if None not in expected and math.prod(size or 0 for size in expected) == math.prod(raw):
        return f"set [input.{name}] shape = {list(expected)}"
    return "use samples of that shape, or another model"


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def check_states(
    steps: Mapping[str, Preprocess], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Check that each state of the configuration is an output of the shape of its input.

    Raises
    ------
    ConfigurationError
        Has every problem.
    """
    by_name = {spec.name: spec for spec in outputs}
    problems = []
    for spec in inputs:
        state = steps.get(spec.name, Preprocess()).state
        if not state:
            continue
        output = by_name.get(state)
        if output is None:
            problems.append(
                Problem(f"input.{spec.name}.state", f"the model's outputs are {', '.join(by_name)}")
            )
        elif output.shape and spec.shape and not _may_be(output.shape, spec.shape):
            shapes = f"{state} has shape {_text(output.shape)}, {spec.name} takes {_text(spec.shape)}"
            problems.append(Problem(f"input.{spec.name}.state", shapes))
    if problems:
        raise ConfigurationError("validation.toml", tuple(problems))


def _may_be(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )
