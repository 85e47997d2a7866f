"""How samples go into a model file and its answers come back: the one place that knows about its batch.

A canonical array has its samples on the first axis. A file may take a fixed number of them, have them on
another axis, or take one sample without such an axis; some of its inputs may be constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import STRING, Artifact, TensorSpec
from harness.core.errors import DataError
from harness.core.outputs import THE_BACKEND, check_outputs, wrong_rows
from harness.core.preprocess import Feeds, Outputs, Preprocess, from_file, into_file, match

Axes = tuple[int, ...]
Shape = tuple[int | None, ...]


class Feeding:
    """Feeds samples to one file.

    Parameters
    ----------
    inputs, outputs : tuple of TensorSpec
        Of the file, or of the canonical model.
    steps : mapping of input name to Preprocess
        Of the canonical model, constants included, in the order of its inputs.
    artifact : Artifact, optional
        Says how the layout of the file differs from the canonical one.
    backend : str
        Its name, for errors.

    Raises
    ------
    DataError
        The steps do not fit the inputs, or the inputs take different numbers of samples.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        steps: Mapping[str, Preprocess],
        artifact: Artifact | None = None,
        backend: str = THE_BACKEND,
    ) -> None:
        self._returned, self._backend = tuple(outputs), backend
        # Text (the class names of a classifier) is not compared: its scores are an output, too.
        self.outputs = tuple(spec for spec in outputs if spec.dtype != STRING)
        self._steps = steps
        self._into: Mapping[str, Axes] = artifact.input_permutation if artifact is not None else {}
        self._from: Mapping[str, Axes] = artifact.output_permutation if artifact is not None else {}
        self._specs = match(steps, tuple(inputs), "input")
        self._axis = next((step.batch_axis for step in steps.values() if step.value is None), 0)
        self._rows = max((step.output_rows for step in steps.values()), default=0)
        self._output_axes: dict[str, int] = {}  # each is decided at the first call with several samples
        self.size = self._fixed_size()

    outputs: tuple[TensorSpec, ...]
    """Outputs that hold numbers, in the order of the file."""

    size: int | None
    """Samples that the file takes a call; None where the caller chooses."""

    @property
    def states(self) -> tuple[str, ...]:
        """Inputs of the file that hold state."""
        return tuple(self._specs[name].name for name, step in self._steps.items() if step.state)

    def carried(self, outputs: Mapping[str, NDArray[Any]]) -> Feeds:
        """Return what the state inputs take at the next row, of the outputs of a call.

        Raises
        ------
        DataError
            A state is no output of the file, or has another shape than its input.
        """
        feeds: Feeds = {}
        by_name = {spec.name: spec for spec in self.outputs}
        for name, step in self._steps.items():
            if not step.state:
                continue
            into, out = self._specs[name], by_name.get(step.state)
            if out is None:
                raise DataError(
                    f"the state of the input {name}, {step.state!r}, is no output of the file",
                    where=f"input.{name}.state",
                    cause=f"its outputs are {', '.join(by_name)}",
                    next_step="name one of them",
                )
            real = from_file(outputs[out.name], self._from.get(out.name), out)
            x = into_file(real, self._into.get(name), into)
            if len(x.shape) != len(into.shape) or any(
                size not in (None, given) for size, given in zip(into.shape, x.shape, strict=True)
            ):
                raise DataError(
                    f"the output {out.name} of shape {list(x.shape)} is no state of the input {name}, which "
                    f"takes {shape_text(into.shape)}",
                    where=f"input.{name}.state",
                    next_step="name the output that holds the next state",
                )
            feeds[into.name] = np.ascontiguousarray(x)
        return feeds

    def _fixed_size(self) -> int | None:
        sizes: dict[str, int] = {}
        for name, spec in self._specs.items():
            step = self._steps[name]
            if step.value is not None or not spec.shape:  # an empty shape is unknown
                continue
            if step.batch_axis is None:
                sizes[name] = 1
                continue
            if step.batch_axis >= len(spec.shape):
                raise DataError(
                    f"the input {name} has no axis {step.batch_axis}: its shape is {shape_text(spec.shape)}",
                    where=f"input.{name}.batch_axis",
                    next_step='give the axis that the samples lie on, or "none"',
                )
            axes = self._into.get(name, tuple(range(len(spec.shape))))
            extent = spec.shape[axes.index(step.batch_axis)]
            if extent is not None or step.batch_axis:
                # One a call: then the samples' axis of an output cannot be mistaken for another one.
                sizes[name] = extent or 1
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise DataError(
                f"the inputs take different numbers of samples a call: {listed}",
                cause="one of them has its samples on another axis, or none",
                next_step='set batch_axis under [input.NAME]: the axis of the samples, or "none"',
            )
        return next(iter(sizes.values()), None)

    def feeds(self, canonical: Mapping[str, NDArray[Any]]) -> Feeds:
        """Return what the file takes for some samples, at most ``size``; missing ones repeat the last.

        Parameters
        ----------
        canonical : mapping of input name to ndarray, shape (n, …)
            Without the constants.
        """
        count = self.size or len(next(iter(canonical.values())))
        feeds: Feeds = {}
        for name, spec in self._specs.items():
            step = self._steps[name]
            if step.value is not None:
                feeds[spec.name] = filled(spec, step.value, count)
                continue
            x = canonical[name]
            if len(x) < count:
                x = np.concatenate([x, np.repeat(x[-1:], count - len(x), axis=0)])
            if step.batch_axis is None:
                x = x[0]
            elif step.batch_axis:
                x = np.ascontiguousarray(np.moveaxis(x, 0, step.batch_axis))
            feeds[spec.name] = into_file(x, self._into.get(name), spec)
        return feeds

    def of_length(self, canonical: Mapping[str, NDArray[Any]], width: int) -> Feeds:
        """Return samples with `width` tokens, or as many as the file takes: padded by 0, or cut.

        Parameters
        ----------
        canonical : mapping of input name to ndarray, shape (n, length, …)
            Behind `width` they are padding. One without a second axis stays as it is.

        Raises
        ------
        DataError
            The file takes fewer tokens.
        """
        feeds: Feeds = {}
        for name, x in canonical.items():
            spec = self._specs[name]
            if x.ndim < 2:
                feeds[name] = x
                continue
            axes = self._into.get(name, tuple(range(len(spec.shape))))
            fixed = spec.shape[axes.index(1)] if len(spec.shape) > 1 else None
            if fixed is not None and fixed < width:
                raise DataError(
                    f"a document has {width} tokens, and the input {name} takes {fixed}",
                    where=f"input {spec.name} of {self._backend}",
                    cause="the file has a fixed length",
                    next_step="cut the documents, or make the file with an open length",
                )
            cut = x[:, : fixed or width]
            missing = (fixed or width) - cut.shape[1]
            widths = [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)]
            feeds[name] = np.ascontiguousarray(np.pad(cut, widths) if missing else cut)
        return feeds

    def answers(self, outputs: Mapping[str, NDArray[Any]], count: int) -> Outputs:
        """Return the canonical outputs of the first `count` samples of a call: real numbers, (count, …).

        Raises
        ------
        BackendError
            The outputs are not those that the session lists, or have another number of rows than were fed.
        DataError
            An output has no axis with an entry for each sample.
        """
        check_outputs(outputs, self._returned, self.size or count, self._backend)
        real: Outputs = {}
        for spec in self.outputs:
            axes = self._from.get(spec.name)
            y = from_file(outputs[spec.name], axes, spec)
            declared = spec.shape if axes is None else tuple(spec.shape[i] for i in np.argsort(axes))
            if self._axis is None:
                is_open = bool(self._rows and y.shape and declared and declared[0] is None)
                real[spec.name] = (self._filled(spec.name, y) if is_open else y)[np.newaxis]
                continue
            axis = self._output_axis(spec.name, y.shape, declared, self.size or count)
            real[spec.name] = (np.moveaxis(y, axis, 0) if axis else y)[:count]
        return real

    def _filled(self, name: str, y: NDArray[Any]) -> NDArray[Any]:
        """Return an output with the rows that outputs have room for, those that are missing 0."""
        if len(y) > self._rows:
            raise DataError(
                f"the output {name} has {len(y)} rows for a sample, and there is room for {self._rows}",
                where="[input.NAME] output_rows",
                next_step=f"set output_rows to {len(y)} or more",
            )
        return np.concatenate([y, np.zeros((self._rows - len(y), *y.shape[1:]), y.dtype)])

    def _output_axis(self, name: str, shape: tuple[int, ...], declared: Shape, rows: int) -> int:
        if name in self._output_axes:
            axis = self._output_axes[name]
            if shape[axis] != rows:
                raise wrong_rows(self._backend, name, shape[axis], rows)
            return axis
        fitting = [axis for axis, size in enumerate(shape) if size == rows]
        if len(declared) == len(shape):  # an axis that has as many entries by chance does not vary
            open_axes = [axis for axis in fitting if declared[axis] in (None, self.size)]
            usual_axis = min(self._axis or 0, len(shape) - 1)
            if shape and not open_axes and declared[usual_axis] is None:
                raise wrong_rows(self._backend, name, shape[usual_axis], rows)
            fitting = open_axes or fitting
        usual = [axis for axis in dict.fromkeys((self._axis or 0, 0)) if axis in fitting]
        # With one sample all of these axes have one entry: it does not matter which is taken.
        if not fitting or (rows > 1 and len(usual or fitting) > 1):
            which = "several axes" if fitting else "no axis"
            raise DataError(
                f"the output {name} of shape {list(shape)} has {which} of {rows} entries, one a sample",
                cause=f"the inputs take {rows} samples a call, on axis {self._axis}",
                next_step="export the model with a batch axis, or set batch_axis under [input.NAME]",
            )
        axis = (usual or fitting)[0]
        if rows > 1:
            self._output_axes[name] = axis
        return axis


def filled(spec: TensorSpec, value: float, rows: int) -> NDArray[Any]:
    """An input of one number; its open dimensions have the size of the batch."""
    shape = tuple(rows if size is None else size for size in spec.shape)
    x = np.full(shape, value, spec.dtype if spec.quantization is None else np.float32)
    return into_file(x, None, spec)


def sample_shape(spec: TensorSpec, step: Preprocess) -> Shape:
    """Shape of one sample of an input of the canonical model."""
    if step.batch_axis is None:
        return spec.shape
    return spec.shape[: step.batch_axis] + spec.shape[step.batch_axis + 1 :]


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape for a message; ``?`` is a dimension that the caller chooses."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
