"""Models whose outputs have as many rows as there are objects in a sample, and no axis of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.core import preprocess
from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.errors import BackendError
from harness.core.feeding import Feeding
from harness.data.datasets import Dataset
from harness.init.preprocess import Fit

#: Rows that outputs have room for at least, and the step in which there is more room.
ROWS = 100

ByInput = Mapping[str, Sequence[Fit]]


def one_a_call(
    session: Session, artifact: Artifact, samples: Dataset, by_input: ByInput
) -> dict[str, list[Fit]] | None:
    """Return layouts that give the model one sample a call; None where its outputs have an axis of samples.

    There is room for twice the rows that an output has for any of the samples.
    """
    single = {
        name: [_alone(fit, samples, name) for fit in input_fits] for name, input_fits in by_input.items()
    }
    steps = {name: input_fits[0].step for name, input_fits in single.items()}
    feeding = Feeding(session.inputs, session.outputs, steps, artifact)
    open_outputs = {spec.name for spec in session.outputs if spec.shape and spec.shape[0] is None}
    most, is_apart = 0, False
    for row in range(len(samples)):
        canonical = {
            name: preprocess.apply(raw[row : row + 1], steps[name]) for name, raw in samples.inputs.items()
        }
        try:
            outputs = session.run(feeding.feeds(canonical))
        except BackendError:  # the model refuses samples in either form: the first refusal is reported
            return None
        for name, y in outputs.items():
            is_apart |= y.ndim > 0 and len(y) != 1
            most = max(most, len(y)) if name in open_outputs and y.ndim else most
    if not is_apart:
        return None
    rows = max(ROWS, ROWS * math.ceil(2 * most / ROWS)) if open_outputs else 0
    first, *_ = single
    single[first] = [replace(fit, step=replace(fit.step, output_rows=rows)) for fit in single[first]]
    return single


def _alone(fit: Fit, samples: Dataset, name: str) -> Fit:
    """The layout of one sample a call, with the axis that samples had."""
    if fit.step.batch_axis is None:
        return fit
    shape = list(preprocess.apply(samples.inputs[name][:1], fit.step).shape[1:])
    shape.insert(fit.step.batch_axis, 1)
    return replace(fit, step=replace(fit.step, batch_axis=None, shape=tuple(shape)))
