"""A class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.confusion import confusions, iou
from harness.core.errors import DataError
from harness.core.settings import choice, option, whole
from harness.core.task import NO_ANSWER, Block, OneOutput, Reading, Threshold, scored

#: Of a sample: the axes of a mask, and of scores.
MASK_AXES, SCORE_AXES = 2, 3
#: Most classes: a mask travels as bytes, and one value is for pixels without an answer.
MOST_CLASSES = 255


class Form(StrEnum):
    """How an output holds the class of a pixel."""

    #: One score for each class on the axis `Options.classes`; the highest is the answer.
    SCORES = "scores"
    #: The class itself.
    INDEX = "index"
    #: One score; above the threshold it means class 1, else class 0.
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class Options:
    """The table ``[task]``.

    Parameters
    ----------
    classes : {"first", "last"}
        The axis of a sample with the scores of the classes: of [21, 512, 512] the first, of [512, 512, 21]
        the last.
    ignore : int
        Value of pixels in the masks of the labels that do not count.
    """

    classes: str = option("first", choice("first", "last"))
    ignore: int = option(255, whole(0))


class Segmentation(OneOutput):
    """An answer is a mask, int16 of shape (n, height, width); ``NO_ANSWER`` where a score is not finite.

    The score of a sample is its mean IoU over the classes that its label has: a class with few pixels counts
    as much as the ground.
    """

    name = "segmentation"
    threshold = Threshold.OPTIONAL
    Options = Options
    reduces = True
    score_name = "mean IoU by image"
    chance_name = "the commonest class everywhere has"

    def _form(self, *, integers: bool, width: int, threshold: float | None) -> Form:
        if threshold is not None:
            return Form.SCORE
        return Form.INDEX if integers else Form.SCORES

    def scores(self, spec: TensorSpec, threshold: float | None, options: Mapping[str, Any]) -> int | None:
        """Return the number of classes."""
        if threshold is not None:
            return 2
        if len(spec.shape) != 1 + SCORE_AXES or np.issubdtype(np.dtype(spec.dtype), np.integer):
            return None
        return spec.shape[1] if self.read_options(options).classes == "first" else spec.shape[-1]

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output."""
        axes = [size for size in shape if size != 1] if reading.form != Form.SCORES else list(shape)
        has_scores = reading.form == Form.SCORES
        fits = len(axes) == (SCORE_AXES if has_scores else MASK_AXES)
        if fits and (not has_scores or 1 < self.count(reading, shape) <= MOST_CLASSES):
            return
        what = {
            Form.SCORES: f"scores of 2 to {MOST_CLASSES} classes on its {reading.options.classes} axis",
            Form.INDEX: "one class for each pixel",
            Form.SCORE: "one score for each pixel, which [model] threshold is for",
        }[Form(reading.form)]
        raise DataError(
            f"the output {reading.output} has shape {list(shape)} a sample, not {what}",
            next_step="set [model] output to the output with the masks, [task] classes to the axis of the "
            "classes, or [model] threshold for one score a pixel",
        )

    def count(self, reading: Reading, shape: Sequence[int]) -> int:
        """Return the number of classes; 0 where the output holds classes and not scores."""
        if reading.form == Form.SCORES:
            return shape[0] if reading.options.classes == "first" else shape[-1]
        return 2 if reading.form == Form.SCORE else 0

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.int16]:
        """Return the mask of each sample; of equal scores the first class."""
        self.check(reading, values.shape[1:])
        if reading.form == Form.SCORES:
            axis = 1 if reading.options.classes == "first" else values.ndim - 1
            finite = np.isfinite(values.max(axis=axis))  # NaN where any score is
            masks = values.argmax(axis=axis)
        else:
            planes = values.reshape(len(values), *[size for size in values.shape[1:] if size != 1])
            finite = np.isfinite(planes)
            masks = planes > reading.threshold if reading.form == Form.SCORE else planes
        # Widened first: -1 in an array of bytes is 255.
        return np.where(finite, masks.astype(np.int16), NO_ANSWER)

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        """Keep the masks alone, a byte a pixel: 84 times less than the scores of 21 classes."""
        masks = self.read(reading, scored(reading, block.outputs))
        return {"masks": np.where(masks == NO_ANSWER, MOST_CLASSES, masks).astype(np.uint8)}

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean IoU of each sample over the classes of its label; 1 where no pixel counts."""
        masks = fitted(answers, labels.shape[1:])
        classes = 1 + max(int(labels.max(initial=0)), int(masks.max(initial=0)))
        counts = confusions(masks, labels, classes)
        there = counts.sum(axis=2) > 0
        total = np.where(there, np.nan_to_num(iou(counts)), 0.0).sum(axis=1)
        return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), 1.0)

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of pixels of the same class."""
        share: NDArray[np.float64] = ((answers == reference) & (answers != NO_ANSWER)).mean(axis=(1, 2))
        return share

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the commonest class of all pixels."""
        classes, counts = np.unique(labels[labels != NO_ANSWER], return_counts=True)
        commonest = classes[counts.argmax()] if classes.size else 0
        return self.score(np.full(labels.shape, commonest), labels)


def fitted(masks: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """Return masks, shape (n, h, w), in another size, by the nearest pixel (half-pixel centres)."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(masks.shape[1:], size, strict=True)
    )
    picked: NDArray[Any] = masks[:, rows][:, :, columns]
    return picked
