"""Boxes around objects, each with a class and a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import Detections
from harness.core.detection.combined import together
from harness.core.detection.decode import Decode
from harness.core.detection.pairs import f1
from harness.core.detection.truth import Truth as Labels
from harness.core.settings import Problems
from harness.core.task import Block, Reading, Task

#: Column of the first row of an answer that says that its classes are the numbers of the labels.
BY_NUMBER = 2


class Detection(Task):
    """An answer is the boxes of a sample that are shown to a user, by `threshold`.

    They are in pixels of the model's input, as `Detections.to_rows` has them. The score of a sample is their
    F1: matched one to one with objects of their class, by an intersection over union of at least 0.5.
    """

    name = "detection"
    Options = Decode
    reduces = True
    score_name = "F1 of boxes"
    chance_name = "no boxes at all have"

    def check_together(self, table: Mapping[str, Any]) -> Problems:
        """List problems of several keys of ``[task]``."""
        return together(table)

    def outputs(self, reading: Reading) -> tuple[str, ...]:
        """Return the outputs with the boxes, scores, classes and numbers of boxes."""
        return decode_of(reading).outputs or (reading.output,)

    def answers(self, reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the boxes of each sample."""
        decode = decode_of(reading)
        # Boxes suppress those with lower scores alone: what is not shown need not be looked at.
        rows = read(reading, outputs, least_score=max(decode.least_score, decode.threshold)).to_rows()
        rows[:, 0, BY_NUMBER] = decode.class_by == "number"
        return rows

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        """Keep the boxes alone: of thousands of candidates a few hundred."""
        decode = decode_of(reading)
        return {"boxes": read(reading, block.outputs).to_rows(decode.most).astype(np.float32)}

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the F1 of each sample, of objects that are no crowds."""
        truth = Labels(labels)
        shown = truth.to_image(Detections.from_rows(answers))
        if answers[:, 0, BY_NUMBER].any():
            shown = truth.by_number(shown)
        objects, counted = truth.objects, truth.objects[:, 7] == 0
        counts = np.bincount(truth.samples[counted], minlength=len(truth)).astype(np.int64)
        return f1(shown, objects[counted, 2:6], objects[counted, 0], counts)

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return the F1 of each sample against the boxes of the reference."""
        one, base = Detections.from_rows(answers), Detections.from_rows(reference)
        return f1(one, base.corners, base.classes, base.counts)

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score no boxes: 1 where there are no objects."""
        return self.score(Detections.none(len(labels)).to_rows(), labels)


def decode_of(reading: Reading) -> Decode:
    """Return how the outputs are read; the output that is scored has the boxes, if no other does."""
    decode: Decode = reading.options or Decode()
    return decode if decode.boxes else replace(decode, boxes=reading.output)


def read(
    reading: Reading, outputs: Mapping[str, NDArray[Any]], *, least_score: float | None = None
) -> Detections:
    """Read the boxes of n samples.

    Parameters
    ----------
    least_score : float, optional
        Instead of that of ``[task]``.

    Raises
    ------
    DataError
        The outputs do not fit ``[task]``.
    """
    decode = decode_of(reading)
    named = outputs if decode.boxes in outputs or decode.boxes else {"": next(iter(outputs.values()))}
    return (decode if least_score is None else replace(decode, least_score=least_score)).read(named)
