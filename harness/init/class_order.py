"""Whether the classes of the labels are in the order of the model's outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.errors import DataError
from harness.init.findings import Trial
from harness.stats import paired

#: An order of the classes that fits better by luck this often is not taken for the right one.
ORDER_P = 0.01


def in_best_order(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which answers are right if the classes are in the order that explains the labels best.

    The order is chosen on one half of the samples and tested on the other, and the other way round, so that
    a chance order gains nothing.

    Parameters
    ----------
    answers, labels : ndarray, shape (n,), int64
        In an order in which every other sample has nearly the same classes.
    """
    from scipy.optimize import linear_sum_assignment

    right = np.zeros(len(labels), bool)
    for half in (0, 1):
        # Only what occurs: the model may have thousands of classes.
        answered, row = np.unique(answers[1 - half :: 2], return_inverse=True)
        meant, column = np.unique(labels[1 - half :: 2], return_inverse=True)
        counts = np.zeros((len(answered), len(meant)))
        np.add.at(counts, (row, column), 1)
        rows, columns = linear_sum_assignment(-counts)
        label_of = dict(zip(answered[rows].tolist(), meant[columns].tolist(), strict=True))
        right[half::2] = [
            label_of.get(answer) == label
            for answer, label in zip(answers[half::2].tolist(), labels[half::2].tolist(), strict=True)
        ]
    return right


def check_order(trials: list[Trial]) -> None:
    """Refuse labels that another order of the classes explains better.

    Raises
    ------
    DataError
        With the accuracy in both orders.
    """
    best = trials[0]
    otherwise = tasks.on_host(best.reading.task).otherwise
    trial = max(trials, key=lambda trial: trial.reordered.mean() if trial.reordered.size else -1.0)
    if trial.reordered.size and trial.reordered.mean() > best.score:
        flips = paired.flips(best.per_sample > 0, trial.reordered)
        if flips.mcnemar_p * len(trials) < ORDER_P:
            raise DataError(
                "the labels and the model have their classes in different orders: "
                f"{100 * best.score:.1f} % of {flips.n} samples are right as given, "
                f"{100 * trial.reordered.mean():.1f} % after reordering the classes",
                cause="class names in another order than in training, labels that start at another number, "
                "or labels of other data",
                next_step=f"reorder the labels to match the outputs (folders: [data] class_order){otherwise}",
            )
