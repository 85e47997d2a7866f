"""What answers are worth, where there are labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.errors import HarnessError
from harness.core.task import Reading
from harness.explain.sides.trace import Trace


@dataclass(frozen=True, slots=True)
class Scorer:
    """What answers are worth.

    Parameters
    ----------
    reading : Reading
    labels : ndarray, shape (n,) or (n, …)
        Of the clean set.
    """

    reading: Reading
    labels: NDArray[Any]

    @property
    def name(self) -> str:
        """What the mean is called."""
        return tasks.named(self.reading.task).score_name

    def scores(self, trace: Trace, rows: Sequence[int]) -> NDArray[np.float64] | None:
        """Score of each sample, shape (rows,); None where the outputs cannot be read as answers."""
        task = tasks.named(self.reading.task)
        try:
            read = task.outputs(self.reading)
            names = [name if name in trace.tensors else trace.outputs[0] for name in read]
            outputs = {name: trace.real(name) for name in names}
            flat = {name: y.reshape(-1, *y.shape[2:]) for name, y in outputs.items()}
            answers = task.answers(self.reading, flat)
            return task.score(answers, self.labels[list(rows)])
        except (HarnessError, IndexError):
            return None
