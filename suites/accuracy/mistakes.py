"""What a mistake of a deployment costs: a negative control, of the float model alone.

Its answers are compared with those of the float model on the host on clean data. A gate on losses under shift
does not see them: no variant is meant to bear a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from harness.core.job import Case
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Role

PREFIX = "mistake_"


def is_one(case: Case) -> bool:
    """Whether the data of a case have a mistake of a deployment."""
    return bool(case.params.get("mistake"))


def metrics(losses: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """Declare one metric for each loss: of the same unit, and without its columns."""
    return {
        PREFIX + name: replace(
            metric, role=Role.MISTAKE, better=None, column=None, shift_column=None, drift=False, share=None
        )
        for name, metric in losses.items()
        if metric.role is Role.LOSS
    }


def rows(measured: Iterable[Measurement], loss: str) -> Iterator[Measurement]:
    """Rename the loss of a case, and leave out everything else."""
    yield from (replace(row, metric=PREFIX + loss) for row in measured if row.metric == loss)
