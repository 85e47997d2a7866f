"""A side of a comparison: a file on a target, opened with some options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.executor import Executor
from harness.core.job import (
    Options,
)
from harness.core.preprocess import Preprocess
from harness.explain.inputs.originals import Originals

#: A file that the user gives is a variant of its own name, which ends so.
FILES = (".onnx", ".tflite")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Parameters
    ----------
    label : str
        As the user names it.
    target, backend, variant : str
    artifact : Artifact
    options : Options
    executor : Executor
    preprocess : mapping of input name to Preprocess
        Of the canonical model.
    raw : mapping of input name to ndarray, shape (n, …)
        Raw samples, as every device reads them.
    originals : Originals, optional
        The image files of the samples.
    columns : mapping of output name to an axis and an order
        In which what the file returns is rearranged; empty leaves it.
    emulates : str
        Hash of the file of which this one is, with errors of arithmetic in its layers; else empty.
    """

    label: str
    target: str
    backend: str
    variant: str
    artifact: Artifact
    options: Options
    executor: Executor
    preprocess: Mapping[str, Preprocess]
    raw: Mapping[str, NDArray[Any]]
    originals: Originals | None = None
    columns: Mapping[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    emulates: str = ""

    def rows(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Some of the raw samples."""
        places = list(rows)
        return {name: np.ascontiguousarray(raw[places]) for name, raw in self.raw.items()}


def as_is(side: Side) -> dict[str, Preprocess]:
    """Steps that feed canonical inputs unchanged; constants stay."""
    return {
        name: step
        if step.value is not None
        else Preprocess(dtype=step.dtype, batch_axis=step.batch_axis, output_rows=step.output_rows)
        for name, step in side.preprocess.items()
    }


def are_one_model(one: Side, two: Side) -> bool:
    """Whether layers have to agree: both run one variant, or files of the user's of one precision."""
    is_given = any(side.variant.endswith(FILES) for side in (one, two))
    return one.variant == two.variant or (is_given and one.artifact.precision == two.artifact.precision)
