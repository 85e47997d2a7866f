"""Metrics of boxes: average precision as COCO defines it, what it lost, and boxes against the reference's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import Detections
from harness.core.detection.decode import Decode
from harness.core.detection.truth import Truth, is_packed
from harness.core.errors import DataError, UsageError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric, Role
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.stats import coco_metrics
from harness.stats.average_precision import Bound, Draws, bound, resampled
from harness.stats.box_agreement import agree, detected
from harness.stats.box_matches import match
from harness.stats.intervals import Interval
from harness.stats.sequences import mean_over_sequences
from harness.tasks import propose as gates
from harness.tasks import shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, Undefined, row, skipped
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.detection import ways
from suites.accuracy.tasks.detection.task import Detection, decode_of

TASK = Detection()
#: Standard deviation over images of what a good int8 model changes of the average precision.
SPREAD = 0.15


def _boxes(answers: Answers) -> tuple[Decode, Detections]:
    """Return how outputs are read, and all their boxes in pixels of the model's input."""
    boxes = answers.once("boxes", lambda: Detections.from_rows(answers.reduced(TASK)["boxes"]))
    return decode_of(answers.reading(TASK)), boxes


def _in_images(answers: Answers, truth: Truth) -> Detections:
    """Return the boxes in pixels of the images, with the classes of the labels."""
    decode, boxes = _boxes(answers)
    shapes = dict(zip(answers.canonical, answers.shapes, strict=True))
    given, highest = decode.class_count(shapes), int(truth.objects[:, 0].max(initial=-1))
    if given is not None and decode.class_by == "order" and highest >= given:
        raise DataError(f"labels have the class {highest} (from 0), and the model has {given} classes")
    placed = truth.to_image(boxes)
    return truth.by_number(placed) if decode.class_by == "number" else placed


def _classes(truth: Truth) -> int:
    """Classes that have objects count; others have no precision."""
    if not len(truth.objects):
        raise Undefined(f"none of {len(truth)} images has a labelled object")
    return int(truth.objects[:, 0].max()) + 1


@dataclass(frozen=True, slots=True)
class _Side:
    """What the boxes of one side are worth."""

    metrics: coco_metrics.Metrics
    draws: Draws


#: By a hash of boxes and labels: a target often has the very boxes of the host, or of its other setting.
_SIDES: dict[bytes, _Side] = {}
_MOST_SIDES = 64


def _side(answers: Answers, truth: Truth) -> _Side:
    """Measure the boxes of one side, if those were not measured before."""
    return answers.once("side", lambda: _remembered(answers, truth))


def _remembered(answers: Answers, truth: Truth) -> _Side:
    classes, boxes = _classes(truth), _in_images(answers, truth)
    digest = hashlib.blake2b(digest_size=16)
    for array in (truth.packed, boxes.counts, boxes.corners, boxes.scores, boxes.classes):
        digest.update(np.ascontiguousarray(array).tobytes())
    key = digest.digest()
    if key not in _SIDES:
        if len(_SIDES) == _MOST_SIDES:
            del _SIDES[next(iter(_SIDES))]
        measured = coco_metrics.metrics(boxes, truth, classes)
        _SIDES[key] = _Side(measured, resampled(match(boxes, truth, classes)))
    return _SIDES[key]


def _truth(facts: Facts) -> Truth:
    if not is_packed(facts.labels):
        raise DataError(f"labels of shape {facts.labels.shape} are no boxes")
    return Truth(facts.labels)


def _quality(facts: Facts) -> Iterator[Measurement]:
    truth = _truth(facts)
    side = _side(facts.answers, truth)
    measured, around = side.metrics, bound(side.draws)
    note = "" if measured.at_50 else _why_nothing(facts)
    for name, value, interval in (
        ("map", measured.overall, around.overall), ("map_50", measured.at_50, around.at_50)
    ):  # fmt: skip
        yield replace(row(name, replace(interval, value=value)), reason=note)
    yield row("map_75", measured.at_75, n=len(truth))
    for size, value in measured.by_size.items():
        name = f"map_{size}"
        if math.isnan(value):
            yield skipped(name, f"no labelled object is {size}")
        else:
            yield row(name, value, n=len(truth))


def _why_nothing(facts: Facts) -> str:
    """Return why no object is detected, as far as the scores say."""
    decode, boxes = _boxes(facts.answers)
    finite = boxes.highest[np.isfinite(boxes.highest)]
    if not finite.size:
        return "no score is a finite number"
    highest, above = float(finite.max()), int(np.count_nonzero(boxes.scores >= decode.threshold))
    text = (
        f"{above:,} boxes have a score of at least {decode.threshold:g}; the highest score is {highest:.3g}"
    )
    return f"{text}{_one_scale(facts, decode)}"


def _one_scale(facts: Facts, decode: Decode) -> str:
    """Say that scores have the step of the boxes, where the output's step is too coarse for them."""
    if decode.scores or facts.artifact is None:
        return ""
    steps = facts.artifact.output_quantization
    names = [*facts.answers.names]
    place = names.index(decode.boxes) if decode.boxes in names else 0
    step = steps.get(decode.boxes) or (list(steps.values())[place] if len(steps) == len(names) else None)
    if step is None or 2 * step.scale < decode.threshold:
        return ""
    return (
        f": boxes and scores share one scale, the output {decode.boxes} has steps of {step.scale:.3g}, and "
        f"scores below {step.scale / 2:.3g} become 0; keep the last Concat in float, as quantize does"
    )


def _lost(facts: Facts) -> Bound:
    truth = _truth(facts)
    return bound(_side(facts.answers, truth).draws, _side(facts.base, truth).draws)


def _loss(facts: Facts) -> Iterator[Measurement]:
    truth, lost = _truth(facts), _lost(facts)
    note = _why_nothing(facts) if lost.at_50.value > 0 and not _shown(facts.answers) else ""
    made = row("map_loss", lost.overall, facts.reference, factor=PT)
    yield replace(made, reason=note)
    yield row("map_50_loss", lost.at_50, facts.reference, factor=PT)
    classes, counted = _classes(truth), truth.objects[:, 7] == 0
    one, base = (
        detected(_in_images(side, truth), truth, classes, _boxes(side)[0].threshold)[counted]
        for side in (facts.answers, facts.base)
    )
    image = truth.samples[counted]
    for name, flipped in (("flips_harmful", base & ~one), ("flips_beneficial", ~base & one)):
        yield row(name, _share(flipped, image), facts.reference)


def _shown(answers: Answers) -> int:
    """Boxes that are shown to a user."""
    decode, boxes = _boxes(answers)
    return int(np.count_nonzero(boxes.scores >= decode.threshold))


def _share(hits: NDArray[np.bool_], image: NDArray[np.int64]) -> Interval:
    """Return the share of boxes; those of one image are not independent of each other."""
    return mean_over_sequences(hits.astype(np.float64), image, reach=1.0, lowest=0.0)


def _class_quality(facts: Facts) -> Iterator[Measurement]:
    """Class by class, in the case ``clean/<class>``."""
    for number, interval in enumerate(bound(_side(facts.answers, _truth(facts)).draws).by_class):
        if not math.isnan(interval.value):
            yield replace(row("class_map", interval), case=f"{CLEAN}/{number}")


def _class_loss(facts: Facts) -> Iterator[Measurement]:
    for number, interval in enumerate(_lost(facts).by_class):
        if not math.isnan(interval.value):
            made = row("class_map_loss", interval, facts.reference, factor=PT)
            yield replace(made, case=f"{CLEAN}/{number}")


def _agreement(facts: Facts) -> Iterator[Measurement]:
    """Boxes that are shown to a user, against those of the reference; labels are not needed."""
    decode, one = _boxes(facts.answers)
    base = _boxes(facts.base)[1]
    alike = agree(one, base, decode.threshold)
    if not len(alike.sample):
        raise Undefined(f"the reference has no box with a score of at least {decode.threshold:g}")
    for name, hits in (
        ("agreement", alike.same), ("agreement_75", alike.close), ("class_flips", alike.flipped),
        ("boxes_lost", alike.lost),
    ):  # fmt: skip
        yield row(name, _share(hits, alike.sample), facts.reference)
    shown = np.bincount(one.samples[one.scores >= decode.threshold], minlength=len(one))
    image = np.repeat(np.arange(len(one)), shown)
    place = np.arange(len(image)) - np.repeat(np.cumsum(shown) - shown, shown)
    if len(image):
        yield row("boxes_invented", _share(place < alike.invented[image], image), facts.reference)
    else:
        yield skipped("boxes_invented", "no box is shown", facts.reference)
    matched = np.isfinite(alike.score_shift)
    if matched.any():
        shift = mean_over_sequences(alike.score_shift[matched], alike.sample[matched])
        yield row("score_shift", shift, facts.reference)
    else:
        yield skipped("score_shift", "no box of the reference is matched", facts.reference)


class DetectionMetrics(HostTask):
    """mAP by COCO's definition, its paired bound over images, and boxes lost, invented and renamed."""

    task = TASK
    reads_several = True
    metrics: ClassVar = {
        "map": whole_set(
            "1", "higher", role=Role.RESULT, column=Column("mAP %", 100, ".2f"), shift_column=SHIFT_COLUMN
        ),
        "map_50": whole_set("1", "higher"),
        "map_75": whole_set("1", "higher"),
        **{f"map_{size}": whole_set("1", "higher") for size in coco_metrics.SIZES},
        "class_map": Metric("1", "higher", per_data_set=True),
        "agreement": shared.AGREEMENT,
        "agreement_75": whole_set("1", "higher", drift=True),
        "class_flips": whole_set("1", "lower", drift=True),
        "boxes_lost": whole_set("1", "lower", drift=True),
        "boxes_invented": whole_set("1", "lower", drift=True),
        "score_shift": whole_set("1", 0.0, drift=True),
        "map_loss": whole_set(
            "pt", "lower", role=Role.LOSS, column=Column("mAP loss pt [bound]", 1, ".2f", bound=True),
            drift=True,
        ),
        "map_50_loss": whole_set("pt", "lower", drift=True),
        "class_map_loss": Metric("pt", "lower", role=Role.CLASS_LOSS, per_data_set=True),
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    groups = (
        Group(
            ("map", "map_50", "map_75", *(f"map_{size}" for size in coco_metrics.SIZES)), _quality,
            labels=True,
        ),
        Group(("class_map",), _class_quality, labels=True, as_shipped=True),
        Group(
            ("agreement", "agreement_75", "class_flips", "boxes_lost", "boxes_invented", "score_shift"),
            _agreement, against=True,
        ),
        Group(
            ("map_loss", "map_50_loss", "flips_harmful", "flips_beneficial"), _loss, against=True, labels=True
        ),
        Group(("class_map_loss",), _class_loss, against=True, labels=True, as_shipped=True),
    )  # fmt: skip

    def truth(self, given: GivenLabels) -> LabelSet:
        """Take boxes as `harness.core.detection.truth` packs them."""
        if not is_packed(given.labels):
            raise DataError(
                f"labels of shape {given.labels.shape} are no boxes",
                where=given.where,
                next_step="give COCO JSON, YOLO text files, Pascal VOC XML or CSV: docs/detection.md",
            )
        return LabelSet(given.labels, given.names)

    def candidates(self, question: Question) -> list[Candidate]:
        """Return the way that is proved on the labelled samples, with the preprocessing that fits it best."""
        if question.labels is None or not is_packed(question.labels):
            if question.asked:
                raise UsageError(
                    "nothing tells how the outputs hold boxes without labels of boxes",
                    where=question.where,
                    next_step="give labelled images: --labels, or write [task] by hand: docs/detection.md",
                )
            return []
        if question.sampled is None or question.size is None:
            raise DataError("boxes are labelled, and the model takes no images", where=question.where)
        classes = max(len(question.names), int(Truth(question.labels).objects[:, 0].max(initial=-1)) + 1)
        tried: list[ways.Way] = []
        for outputs in question.tried:
            proved = ways.prove(outputs, Truth(question.sampled), question.size, classes)
            tried = max(tried, proved, key=lambda all_ways: all_ways[0].score if all_ways else -1.0)
            if tried and tried[0].score >= ways.CLEAR:
                break
        best = ways.best(tried, question.where)
        given = best.decode.class_count({name: y.shape[1:] for name, y in question.outputs.items()})
        highest = int(Truth(question.labels).objects[:, 0].max(initial=-1))
        if given is not None and best.decode.class_by == "order" and highest >= given:
            raise DataError(
                f"the labels have {highest + 1} classes, and the model has {given}",
                where=question.where,
                cause=f"the outputs are read as {best.text()}",
                next_step="use the labels that the model was trained for, with its classes in their order",
            )
        options = {key: value for key, value in best.decode.to_json().items() if key != "boxes"}
        reading = TASK.reading(best.decode.boxes, options=options)
        return [Candidate(replace(reading, text=f"boxes: {best.text()}"), Rank.CERTAIN)]

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return where all boxes that are shown are matched."""
        sides = [_boxes(side)[1].head(n) for side in (one, other)]
        shown = [
            side.where(side.scores >= _boxes(one)[0].threshold).to_rows(int(side.counts.max(initial=0)))
            for side in sides
        ]
        return "boxes", TASK.same(shown[0], shown[1]) == 1.0

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how much mAP may be lost; without labels how many boxes have to be the reference's."""
        if not context.labelled:
            return gates.agreement(context, "agreement")
        floor = gates.Limit(0.1, "boxes that are read wrongly have almost none")
        least = gates.gate(
            "float32 detects objects", "map_50", {"variant": "float32", "case": CLEAN}, {"min": 0.1}, floor
        )
        # mAP is no mean over images, so that a mean over shifted cases has no interval.
        clean = replace(context, shifted=False)
        margin = gates.margin_of_images(context.samples, SPREAD)
        return [least, *gates.loss(clean, "mAP", "map_loss", margin)]
