"""Why no output fits the labels, in the words of our tasks."""

from __future__ import annotations

import numpy as np

from harness.core.errors import DataError
from harness.data.labels import check_range
from harness.tasks import shapes
from harness.tasks.question import Question


def unfit(question: Question, names: tuple[str, ...] = ()) -> DataError:
    """Return why no output fits; raises it where single labels are at fault."""
    labels, where = question.labels, question.where
    assert labels is not None, "of outputs without labels nothing is said"
    widest = max((shapes.width(y) for y in question.outputs.values() if y.dtype.kind == "f"), default=1)
    if labels.dtype.kind in "iub" and question.targets == 1 and widest > 1:
        check_range(labels.reshape(-1).astype(np.int64), widest, ids=np.arange(len(labels)), where=where)
    cause = "classes must be whole numbers from 0; a regression needs one target for each value of an output"
    if names:
        cause = (
            f"the {len(names)} classes need a score each; an anomaly score is read by --task anomaly, an "
            "embedding by --task embedding"
        )
    if labels.dtype.kind in "iub" and question.targets > 1:
        cause = f"several labels a sample (multi-label) need an output of {question.targets} scores"
    return DataError(
        f"the labels have {question.targets} values of {labels.dtype} a sample, which fit no output: "
        f"{question.listed}",
        where=where,
        cause=cause,
        next_step="fix the labels, or give others: --labels PATH",
    )
