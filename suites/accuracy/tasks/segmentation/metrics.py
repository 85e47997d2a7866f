"""Metrics of masks: IoU, pixels, boundaries; by image, and with bounds over images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core import confusion
from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric, Role
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.core.task import NO_ANSWER
from harness.stats import intervals, overlap, paired
from harness.stats.boundaries import boundary_f
from harness.stats.intervals import Interval
from harness.tasks import propose as gates
from harness.tasks import shapes, shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet, LabelSource
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, Undefined, mean_share, row
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.segmentation import masks
from suites.accuracy.tasks.segmentation.task import (
    MASK_AXES,
    MOST_CLASSES,
    SCORE_AXES,
    Options,
    Segmentation,
    fitted,
)

TASK = Segmentation()
#: Standard deviation over images of what a good int8 model changes of a mean IoU.
SPREAD = 0.2
STATISTICS = {"miou": confusion.mean_iou, "pixel_accuracy": confusion.pixel_accuracy}


def masks_of(answers: Answers, size: tuple[int, ...] | None = None) -> NDArray[np.int16]:
    """Return the masks, shape (n, height, width), enlarged or shrunk to a size by the nearest pixel."""
    made: NDArray[np.int16] = answers.once("masks", lambda: _masks(answers))
    if size is None or made.shape[1:] == size:
        return made
    return answers.once(("masks", size), lambda: fitted(made, size))


def _masks(answers: Answers) -> NDArray[np.int16]:
    stored = answers.reduced(TASK)["masks"]
    return np.where(stored == MOST_CLASSES, NO_ANSWER, stored.astype(np.int16))


def _classes(facts: Facts) -> int:
    """Number of classes; where the model gives classes and not scores, one more than the highest."""
    count = TASK.count(facts.base.reading(TASK), facts.base.scored_shape)
    highest = max(int(part.max(initial=0)) for part in (facts.labels, masks_of(facts.base)))
    return count or 1 + max(highest, int(masks_of(facts.answers).max(initial=0)))


def _confusions(answers: Answers, facts: Facts) -> NDArray[np.int64]:
    truth, classes = facts.labels, _classes(facts)
    if truth.ndim != SCORE_AXES or len(truth) != len(answers):
        raise DataError(f"{len(answers)} masks do not fit labels of shape {truth.shape}")
    if not (truth != confusion.IGNORED).any():
        raise Undefined(f"no pixel of {len(truth)} masks counts")
    predicted = masks_of(answers, truth.shape[1:])
    # The labels of the samples of a case are the same for all metrics: they go with their number.
    key = ("confusions", len(truth), classes)
    return answers.once(key, lambda: confusion.confusions(predicted, truth, classes))


def _drawn(answers: Answers, facts: Facts) -> overlap.Drawn:
    matrices = _confusions(answers, facts)
    return answers.once(("drawn", matrices.shape), lambda: overlap.drawn(matrices))


def _boundaries(answers: Answers, facts: Facts) -> NDArray[np.float64]:
    matrices = _confusions(answers, facts)
    predicted = masks_of(answers, facts.labels.shape[1:])
    key = ("boundaries", matrices.shape)
    return answers.once(key, lambda: boundary_f(predicted, facts.labels, matrices.shape[1]))


def _quality(facts: Facts) -> Iterator[Measurement]:
    sets, matrices = _drawn(facts.answers, facts), _confusions(facts.answers, facts)
    values = {"miou": overlap.linear_values(matrices), "pixel_accuracy": _right(matrices)}
    for name, statistic in STATISTICS.items():
        yield row(name, overlap.bound(statistic, sets), per_sample=values[name])
    edges = _boundaries(facts.answers, facts)
    yield row("boundary_f", mean_share(edges[~np.isnan(edges)]))


def _right(matrices: NDArray[np.int64]) -> NDArray[np.float64]:
    """One value a sample whose mean is the share of right pixels of all."""
    right = np.diagonal(matrices, axis1=1, axis2=2).sum(axis=1).astype(np.float64)
    total = matrices.sum(axis=(1, 2)).astype(np.float64)
    share = right.sum() / total.sum()
    values: NDArray[np.float64] = share + (right - share * total) / total.mean()
    return values


def _class_quality(facts: Facts) -> Iterator[Measurement]:
    """Class by class, in the case ``clean/<class>``."""
    sets = _drawn(facts.answers, facts)
    for label in _labelled(facts):
        interval = overlap.bound(overlap.iou_of(label), sets)
        yield replace(row("class_iou", interval), case=f"{CLEAN}/{label}")


def _class_loss(facts: Facts) -> Iterator[Measurement]:
    """Class by class, in the case ``clean/<class>``: a mean hides a single class that is lost."""
    sets, base = _drawn(facts.answers, facts), _drawn(facts.base, facts)
    for label in _labelled(facts):
        interval = overlap.bound(overlap.iou_of(label), sets, base)
        yield replace(row("class_iou_loss", interval, facts.reference, factor=PT), case=f"{CLEAN}/{label}")


def _labelled(facts: Facts) -> list[int]:
    """Classes that the labels have."""
    return [label for label in np.unique(facts.labels).tolist() if label != confusion.IGNORED]


def _loss(facts: Facts) -> Iterator[Measurement]:
    sides = [(_drawn(side, facts), _confusions(side, facts)) for side in (facts.base, facts.answers)]
    (base, before), (sets, after) = sides
    lost = {
        "miou": overlap.linear_values(before) - overlap.linear_values(after),
        "pixel_accuracy": _right(before) - _right(after),
    }
    for name, statistic in STATISTICS.items():
        interval = overlap.bound(statistic, sets, base)
        yield row(f"{name}_loss", interval, facts.reference, factor=PT, per_sample=PT * lost[name])
    edges = _boundaries(facts.base, facts) - _boundaries(facts.answers, facts)
    real = edges[~np.isnan(edges)]
    loss = intervals.clustered_mean(real, reach=1.0) if real.size else Interval(math.nan, -1.0, 1.0, 0)
    yield row("boundary_f_loss", loss, facts.reference, factor=PT)
    size = facts.labels.shape[1:]
    right = [masks_of(side, size) == facts.labels for side in (facts.base, facts.answers)]
    counted = facts.labels != confusion.IGNORED
    pixels = np.maximum(counted.sum(axis=(1, 2)), 1)
    for name, flip in (("flips_harmful", right[0] & ~right[1]), ("flips_beneficial", right[1] & ~right[0])):
        share = (flip & counted).sum(axis=(1, 2)) / pixels
        yield row(name, mean_share(share), facts.reference, per_sample=share)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    base, predicted = masks_of(facts.base), masks_of(facts.answers)
    same = TASK.same(predicted, base)
    yield row("agreement", mean_share(same), facts.reference, per_sample=same)
    classes = 1 + max(int(base.max(initial=0)), int(predicted.max(initial=0)))
    of_reference = overlap.drawn(confusion.confusions(predicted, base, classes))
    yield row("agreement_iou", overlap.bound(confusion.mean_iou, of_reference), facts.reference)


class SegmentationMetrics(HostTask):
    """Mean IoU, right pixels and boundaries with bounds over images, and masks against the reference's."""

    task = TASK
    metrics: ClassVar = {
        "miou": whole_set(
            "1", "higher", role=Role.RESULT, column=Column("mIoU %", 100, ".2f"), shift_column=SHIFT_COLUMN
        ),
        "pixel_accuracy": whole_set("1", "higher"),
        "boundary_f": whole_set("1", "higher"),
        "class_iou": Metric("1", "higher", per_data_set=True),
        "agreement": shared.AGREEMENT,
        "agreement_iou": whole_set("1", "higher", drift=True),
        "miou_loss": whole_set(
            "pt", "lower", role=Role.LOSS, column=Column("mIoU loss pt [bound]", 1, ".2f", bound=True),
            drift=True,
        ),
        "pixel_accuracy_loss": whole_set("pt", "lower", drift=True),
        "boundary_f_loss": whole_set("pt", "lower", drift=True),
        "class_iou_loss": Metric("pt", "lower", role=Role.CLASS_LOSS, per_data_set=True),
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    groups = (
        Group(("miou", "pixel_accuracy", "boundary_f"), _quality, labels=True),
        Group(("class_iou",), _class_quality, labels=True, as_shipped=True),
        Group(("agreement", "agreement_iou"), _agreement, against=True),
        Group(
            ("miou_loss", "pixel_accuracy_loss", "boundary_f_loss", "flips_harmful", "flips_beneficial"),
            _loss, against=True, labels=True,
        ),
        Group(("class_iou_loss",), _class_loss, against=True, labels=True, as_shipped=True),
    )  # fmt: skip
    quantities: ClassVar = {"agreement": shared.AGREEMENT_OF_PART}
    reads_labels = True

    def recognises(self, labels: Path) -> bool:
        """Whether it is a folder of images whose pixels are numbers of classes."""
        return masks.is_folder_of_masks(labels)

    def read_labels(self, source: LabelSource) -> LabelSet | None:
        """Read the mask of each image."""
        return masks.read(source, _options(source.options).ignore)

    def truth(self, given: GivenLabels) -> LabelSet:
        """Take masks with a class for each pixel, -1 where it does not count."""
        return masks.truth(given, _options(given.options).ignore)

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return where all pixels have the same class."""
        return "masks", TASK.same(masks_of(one)[:n], masks_of(other)[:n]) == 1.0

    def candidates(self, question: Question) -> list[Candidate]:
        """List outputs with scores for each class and pixel, one score a pixel, or classes of pixels."""
        truth, labelled = question.labels, question.labels is not None
        if not question.asked and (truth is None or truth.ndim <= MASK_AXES or truth.dtype.kind not in "iub"):
            return []
        ways = []
        for name, y in question.outputs.items():
            axes = [size for size in y.shape[1:] if size != 1]
            if len(y.shape) == 1 + SCORE_AXES and len(axes) == SCORE_AXES and y.dtype.kind == "f":
                # Masks have few classes and many pixels.
                first = y.shape[1] <= y.shape[-1]
                order = ("first", "last") if first else ("last", "first")
                ways += [TASK.reading(name, options={"classes": axis}) for axis in order]
            elif len(axes) == MASK_AXES and y.dtype.kind in "iu":
                ways.append(TASK.reading(name, integers=True))
            elif len(axes) == MASK_AXES:
                threshold, _ = shapes.threshold_of(y, question.threshold)
                ways.append(TASK.reading(name, threshold=threshold))
        if not labelled:
            ways = ways[:1]
        if question.asked and not ways:
            raise DataError(
                f"no output holds masks: {question.listed}",
                where=question.where,
                cause="masks are scores of shape [classes, height, width] or [height, width, classes], "
                "one score a pixel, or classes as whole numbers",
                next_step="export the model with one of these outputs",
            )
        return [Candidate(way, Rank.CERTAIN) for way in ways]

    def apart(self, one: NDArray[np.float64], other: NDArray[np.float64], *, p: float) -> bool:
        """Whether the mean IoU by image differs by more than luck."""
        return paired.paired_mean_difference(other, one, alpha=p / 2, reach=1.0).low > 0

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how much IoU may be lost; without labels how many pixels have to be the reference's."""
        if not context.labelled:
            return gates.agreement(context, "agreement")
        floor = math.ceil(10_000 * context.chance) / 10_000
        why = gates.Limit(floor, f"the commonest class everywhere has {100 * context.chance:.1f} % by image")
        table = {"variant": "float32", "case": CLEAN}
        least = gates.gate("float32 better than chance", "miou", table, {"min": floor}, why)
        return [
            least,
            *gates.loss(context, "mIoU", "miou_loss", gates.margin_of_images(context.samples, SPREAD)),
        ]


def _options(options: Any) -> Options:  # noqa: ANN401 - the table, or none
    return options if isinstance(options, Options) else Options()
