"""The classes that a model answers with, and how sure it is, from whole outputs or from reductions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.tasks.answers import Answers
from suites.accuracy.tasks.classification.task import Classification, Form, sums

TASK = Classification()
#: A quantized softmax has steps of 1/256, so its rows miss 1 by some of them.
SUM_TOLERANCE = 0.02


def count(answers: Answers) -> int | None:
    """Return the number of classes; None where the model gives only the index of one.

    Raises
    ------
    DataError
        The output that is scored is neither one score a class nor one answer a sample.
    """
    reading = replace(answers.reading(TASK), output=answers.names[answers.position])
    return TASK.classes(reading, answers.scored_shape)


def form(answers: Answers) -> str:
    """Return how the output holds the class."""
    return answers.reading(TASK).form


def scores(answers: Answers) -> Mapping[str, NDArray[Any]]:
    """Return the sums of the scores; of whole outputs without their order, which takes long."""
    if not answers.outputs:
        return answers.reduced(TASK)
    return answers.once("sums of scores", lambda: sums(answers.outputs[answers.position]))


def predicted(answers: Answers) -> NDArray[np.int64]:
    """Return the predicted class, shape (n,); -1 where the score is not a finite number."""
    return answers.once("predicted classes", lambda: _predicted(answers))


def _predicted(answers: Answers) -> NDArray[np.int64]:
    top = np.zeros(len(answers), np.int64)
    if form(answers) == Form.SCORES and answers.outputs:  # both take the first of equal scores
        top = answers.outputs[answers.position].reshape(len(answers), -1).argmax(axis=1)
    elif form(answers) == Form.SCORES:
        top = answers.reduced(TASK)["top_index"][:, 0]
    return TASK.decide(answers.reading(TASK), scores(answers)["highest"], top)


def confidence(answers: Answers, *, probabilities: bool) -> NDArray[np.float64]:
    """Return the probability of the predicted class, shape (n,); 1 where there is no prediction.

    Parameters
    ----------
    probabilities : bool
        The scores are probabilities, and not logits.
    """
    classes, of = predicted(answers), scores(answers)
    highest = of["highest"].astype(np.float64)
    with np.errstate(all="ignore"):
        if form(answers) == Form.SCORE:
            of_one = highest if probabilities else 1 / (1 + np.exp(-highest))
            sure = np.where(classes == 1, of_one, 1 - of_one)
        else:
            sure = highest if probabilities else np.exp(highest - of["logsumexp"])
    return np.where(classes >= 0, sure, 1.0)


def probabilities(answers: Answers, *, probabilities: bool) -> NDArray[np.float64]:
    """Return the probability of each class, shape (n, classes), from whole outputs.

    Parameters
    ----------
    probabilities : bool
        The scores are probabilities, and not logits.
    """
    flat = answers.outputs[answers.position].reshape(len(answers), -1).astype(np.float64)
    with np.errstate(all="ignore"):
        if form(answers) == Form.SCORE:
            of_one = flat if probabilities else 1 / (1 + np.exp(-flat))
            return np.concatenate([1 - of_one, of_one], axis=1)
        if probabilities:
            return flat
        raised = np.exp(flat - flat.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares


def are_probabilities(answers: Answers) -> bool:
    """`harness.stats.accuracy.are_probabilities` of the output that is scored, from its sums."""
    answered = predicted(answers) >= 0
    lowest, highest, total = (scores(answers)[name][answered] for name in ("lowest", "highest", "total"))
    sums_to_one = form(answers) == Form.SCORE or (np.abs(total - 1) <= SUM_TOLERANCE).all()
    return bool(answered.any() and (lowest >= 0).all() and (highest <= 1).all() and sums_to_one)
