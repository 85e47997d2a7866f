"""Labels of anomalies: 0 and 1, or names of classes of which one is normal."""

from __future__ import annotations

import numpy as np

from harness.core.errors import DataError
from harness.data.labels import Indices, Labels, classes_of_labels, refuse_labels
from suites.accuracy.tasks.labels import HINT

#: Names of the class that is no anomaly.
NORMAL = frozenset(("good", "inlier", "negative", "normal", "ok", "benign"))


def anomalies_of_labels(
    labels: Labels, names: tuple[str, ...] = (), *, ids: Indices | None = None, where: str = ""
) -> tuple[Indices, str]:
    """Read 0 (normal) and 1 (anomaly) of each sample; of named classes one is called normal, good or so.

    Raises
    ------
    DataError
        They are something else.
    """
    classes, note = classes_of_labels(labels, ids=ids, where=where, hint=HINT)
    if names:
        normal = [index for index, name in enumerate(names) if name.casefold() in NORMAL]
        if len(normal) != 1:
            raise DataError(
                f"which of the classes {', '.join(names[:12])} is normal is unknown",
                where=where,
                next_step="call it normal, or use the labels 0 (normal) and 1 (anomaly)",
            )
        return (classes != normal[0]).astype(np.int64), f"{names[normal[0]]!r} is normal, all else an anomaly"
    positions = np.arange(len(labels)) if ids is None else ids
    wrong = (classes != 0) & (classes != 1)
    refuse_labels(
        classes, positions, where, wrong, "are neither 0 nor 1", "use 0 for normal and 1 for anomalies"
    )
    return classes, note
