"""Tasks: how an output is read as answers, and what the answer to a sample is worth. One file a task.

Only this package, the suites and ``harness init`` know tasks by name; everything else asks::

    task = tasks.named(validation.model.task)
    reading = task.reading("logits", integers=False, width=10)
    answers = task.answers(reading, values)          # one class a sample, or what the task has
    score = task.score(answers, labels).mean()       # 1 where all are right
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.errors import UsageError
from harness.core.tasks.anomaly import Anomaly
from harness.core.tasks.base import NO_ANSWER as NO_ANSWER
from harness.core.tasks.base import Form as Form
from harness.core.tasks.base import Reading as Reading
from harness.core.tasks.base import Task as Task
from harness.core.tasks.base import Threshold as Threshold
from harness.core.tasks.base import Truth as Truth
from harness.core.tasks.classification import Classification
from harness.core.tasks.embedding import Embedding
from harness.core.tasks.multi_label import MultiLabel
from harness.core.tasks.regression import Regression

TASKS: Mapping[str, Task] = {
    task.name: task for task in (Classification(), MultiLabel(), Anomaly(), Embedding(), Regression())
}


def named(name: str) -> Task:
    """Return the task of that name.

    Raises
    ------
    UsageError
        There is none.
    """
    if name not in TASKS:
        raise UsageError(f"there is no task {name!r}", where="task", next_step=f"use {', '.join(TASKS)}")
    return TASKS[name]
