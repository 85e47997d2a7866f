"""What is kept instead of outputs: limits and hashes, and what the task makes of them. Numpy alone."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench
from harness.core.job import Case
from harness.core.preprocess import Feeds, Outputs
from harness.core.reductions import hash_rows, limits
from harness.core.task import Block, Need, Task

#: Names of the arrays that a task makes of outputs begin with it (`harness.tasks.answers`).
ANSWER = "answer:"


def of_outputs(real: Outputs) -> dict[str, NDArray[Any]]:
    """Return the limits and a hash of each output, whose names end in its position."""
    return {
        f"{name}:{position}": array
        for position, y in enumerate(real.values())
        for name, array in {**limits(y), "row_hash": hash_rows(y)}.items()
    }


def of_task(
    task: Task, bench: Bench, case: Case, real: Outputs, canonical: Feeds, start: int
) -> dict[str, NDArray[Any]]:
    """Return what the task makes of the outputs of some samples.

    Parameters
    ----------
    real : mapping of output name to ndarray, shape (n, …)
        In the order of the file.
    canonical : mapping of input name to ndarray, shape (n, …)
    start : int
        First row of these samples in the set.
    """
    named = _canonical(case, real)
    scored = case.params.get("scored") or next(iter(named), "")
    if scored not in named:  # the host says so for each metric
        return {}
    y, stop = named[scored], start + len(next(iter(real.values())))
    labelled = Need.LABELS in task.needs and case.params.get("labelled")
    reading = task.reading(
        scored,
        integers=np.dtype(y.dtype).kind in "iu",
        width=prod(y.shape[1:]),
        threshold=case.params.get("threshold"),
        options=case.params.get("options"),
    )
    block = Block(
        named,
        inputs=canonical if Need.INPUTS in task.needs else {},
        labels=bench.data.targets(case.data, start, stop) if labelled else None,
    )
    return {ANSWER + name: array for name, array in task.reduce(reading, block).items()}


def _canonical(case: Case, real: Outputs) -> Outputs:
    """The outputs by the names of the canonical model: a converter may rename them, in their order.

    Empty where the file has another number of outputs: the host then says so for each metric.
    """
    names = case.params.get("outputs") or list(real)
    if len(names) != len(real):
        return {}
    if sorted(names) == sorted(real):
        return {name: real[name] for name in names}
    return dict(zip(names, real.values(), strict=True))
