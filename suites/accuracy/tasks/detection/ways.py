"""How the outputs of a detector are read as boxes: every likely way is tried on labelled samples.

First the boxes, whatever their classes; then the classes of the boxes that fit best. So swapped axes, shares
instead of pixels and classes counted from 1 are told apart by the labels, and not by names of outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.detection import anchors
from harness.core.detection.boxes import Detections
from harness.core.detection.decode import BACKGROUNDS, PAIRS, Decode
from harness.core.detection.suppression import suppress
from harness.core.detection.truth import Truth
from harness.core.errors import DataError
from harness.stats.average_precision import Accumulator, figures
from harness.stats.box_matches import match
from suites.accuracy.tasks.detection import grids

Values = Mapping[str, NDArray[Any]]
#: Samples that the ways are tried on, and detections of each.
SAMPLES, MOST = 24, 50
#: A way is proved by an average precision at an overlap of 0.5 of at least this.
LEAST = 0.2
#: With so much other preprocessings are not tried for the ways.
CLEAR = 0.5
#: Ways to read boxes whose classes are tried.
_FINALISTS = 3
#: Ways that a refusal lists.
_LISTED = 5
#: Orders of the numbers of a box, the commonest first; the first two are also those of anchors.
_FORMATS = ("cxcywh", "cycxhw", "xyxy", "yxyx", "xywh")
_SUM = 0.02  # by which probabilities of one box may miss 1
_PROBABILITY = 1e-3  # by which rounding may leave 0 to 1


@dataclass(frozen=True, slots=True)
class Way:
    """One way to read the outputs, and how near it came.

    Parameters
    ----------
    decode : Decode
    score : float
        Average precision at an overlap of 0.5: of boxes of any class, or of the classes, too.
    tight : float
        The mean over overlaps of 0.5 to 0.95: formulas of boxes that are nearly the same differ in it.
    """

    decode: Decode
    score: float
    tight: float = 0.0

    @property
    def order(self) -> float:
        """The best way has the lowest."""
        return -(self.score + self.tight)

    def text(self) -> str:
        """The way and its score."""
        return f"{describe(self.decode)}: {100 * self.score:.0f} %"


def describe(decode: Decode) -> str:
    """Return what a decode says, in words."""
    parts = [f"{decode.boxes} as {decode.layout}", f"{decode.box} in {decode.units}"]
    if decode.heads:
        parts = [f"{', '.join(decode.heads)} as grids of {decode.anchors}"]
    elif decode.anchors != "none":
        parts[1] = f"{decode.box} as differences from the anchors of {decode.anchors}"
    if decode.scores:
        parts.append(f"scores in {decode.scores}")
    if decode.classes:
        parts.append(f"classes in {decode.classes}")
    elif decode.score != "classes":
        parts.append({"objectness": "objectness before the classes"}.get(decode.score, decode.score))
    if decode.activation != "none":
        parts.append(decode.activation)
    if decode.background != "none":
        parts.append(f"background {decode.background}")
    if decode.class_offset:
        parts.append(f"the first class is {decode.class_offset}")
    if decode.class_by != "order":
        parts.append("classes by their numbers")
    return ", ".join(parts)


def ways(outputs: Values, size: tuple[int, int]) -> list[Decode]:
    """Return the likely ways to read boxes, the commonest first; without those that differ in classes only.

    Parameters
    ----------
    outputs : mapping of str to ndarray, shape (n, …)
    size : tuple of int
        Height and width of the model's input in pixels.
    """
    likely = []
    for frame in _frames(outputs):
        boxes, scores = _parts(frame, outputs)
        values = np.abs(
            boxes[np.isfinite(boxes) & (boxes != 0)]
        )  # rows without a box are often filled with 0
        units = "normalized" if not values.size or np.quantile(values, 0.9) <= 2 else "pixels"
        for activation, background in _activations(scores):
            one = replace(frame, activation=activation, background=background)
            likely += [
                replace(one, box=box, units=units, size=size if units == "normalized" else ())
                for box in _FORMATS
            ]
            likely += [
                replace(one, box=box, anchors=family, size=size)
                for family in anchors.FAMILIES
                for box in _FORMATS[:2]
            ]
    likely += grids.ways(outputs, size)
    shapes = {name: y.shape[1:] for name, y in outputs.items()}
    return [decode for decode in likely if _fits(decode, shapes)]


def _fits(decode: Decode, shapes: Mapping[str, Sequence[int]]) -> bool:
    try:
        decode.check(shapes)
    except DataError:
        return False
    return True


def _frames(outputs: Values) -> Iterator[Decode]:
    """Yield which outputs have the boxes, the scores and the classes, and along which axis."""
    tables = {name: [n for n in y.shape[1:] if n != 1] for name, y in outputs.items()}
    for boxes, shape in tables.items():
        if len(shape) != 2:
            continue
        for layout in ("columns", "rows") if shape[0] < shape[1] else ("rows", "columns"):
            rows, width = shape if layout == "rows" else shape[::-1]
            base = Decode(boxes, layout=layout)
            if width == 4:
                yield from _apart(base, rows, outputs, tables)
            elif width >= 5:
                yield from _together(base, width, outputs[boxes])


def _together(base: Decode, width: int, values: NDArray[Any]) -> Iterator[Decode]:
    y = values.reshape(len(values), *[n for n in values.shape[1:] if n != 1])
    columns = y if base.layout == "rows" else y.swapaxes(1, 2)
    for name, (width_of, _, score, class_) in PAIRS.items():
        if width != width_of or not _are_classes(columns[..., class_]) or _are_classes(columns[..., score]):
            continue
        if width_of == 6 or _are_classes(columns[..., 0]):
            yield replace(base, score=name, nms_iou=1.0)
    yield base
    if width > 5:
        yield replace(base, score="objectness")


def _apart(base: Decode, rows: int, outputs: Values, tables: Mapping[str, Sequence[int]]) -> Iterator[Decode]:
    single = [name for name, shape in tables.items() if list(shape) == [rows] and name != base.boxes]
    counts = [name for name, shape in tables.items() if not shape and rows > 1]
    for scores in single:
        for classes in [name for name in single if name != scores]:
            if _are_classes(outputs[classes]) and not _are_classes(outputs[scores]):
                yield replace(
                    base, scores=scores, classes=classes, count=counts[0] if counts else "", nms_iou=1.0
                )
    for scores, shape in tables.items():
        along = shape[:1] if base.layout == "rows" else shape[-1:]
        if scores != base.boxes and (list(shape) == [rows] or (len(shape) == 2 and list(along) == [rows])):
            yield replace(base, scores=scores)


def _are_classes(y: NDArray[Any]) -> bool:
    """Whether values are whole numbers, as no scores are."""
    real = y.astype(np.float64)
    return bool(np.isfinite(real).all() and np.abs(real - np.rint(real)).max(initial=0) < 1e-3)


def _parts(decode: Decode, outputs: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values of the boxes and of the scores, in any order."""
    y = outputs[decode.boxes]
    y = y.reshape(len(y), *[n for n in y.shape[1:] if n != 1])
    rows = y if decode.layout == "rows" else y.swapaxes(1, 2)
    if decode.scores:
        return rows, outputs[decode.scores]
    if decode.score in PAIRS:
        _, first, score, _ = PAIRS[decode.score]
        return rows[..., first : first + 4], rows[..., score]
    return rows[..., :4], rows[..., 4:]


def _activations(scores: NDArray[Any]) -> tuple[tuple[str, str], ...]:
    """Return what may make probabilities of scores, and which of them may be the background's."""
    finite = scores[np.isfinite(scores)]
    if not finite.size or (finite.min() >= -_PROBABILITY and finite.max() <= 1 + _PROBABILITY):
        sums = scores.sum(axis=-1) if scores.ndim > 2 else np.zeros(1)
        is_distribution = np.abs(sums - 1).max() < _SUM
        return tuple(("none", name) for name in (("first", "last", "none") if is_distribution else ("none",)))
    return (("sigmoid", "none"), ("softmax", "last"), ("softmax", "first"), ("softmax", "none"))


def prove(outputs: Values, truth: Truth, size: tuple[int, int], classes: int) -> list[Way]:
    """Try every way, and return those that were tried, the best first.

    Parameters
    ----------
    outputs : mapping of str to ndarray, shape (n, …)
    truth : Truth
        Labels of the same samples.
    size : tuple of int
        Height and width of the model's input in pixels.
    classes : int
        Number of classes of the labels.
    """
    rows = np.flatnonzero(truth.counts)[:SAMPLES]
    chosen, labels = {name: y[rows] for name, y in outputs.items()}, Truth(truth.packed[rows])
    if not len(rows):
        return []
    of_any = Truth(_one_class(labels.packed))
    tried = [Way(decode, *_score(decode, chosen, of_any, 1)) for decode in ways(chosen, size)]
    tried.sort(key=lambda way: way.order)  # stable: of equal scores the commonest way comes first
    proved = []
    for way in tried[:_FINALISTS]:
        if way.score < max(LEAST, tried[0].score / 2):
            break
        proved += [
            Way(decode, *_score(decode, chosen, labels, classes))
            for decode in _with_classes(way.decode, chosen, classes)
            if _fits(decode, {name: y.shape[1:] for name, y in chosen.items()})
        ]
    proved.sort(key=lambda way: way.order)
    return [*proved, *tried] if proved else tried


def best(tried: Sequence[Way], where: str) -> Way:
    """Return the best way of `prove`.

    Raises
    ------
    DataError
        None is proved.
    """
    if tried and tried[0].score >= LEAST:
        return tried[0]
    nearest = "; ".join(way.text() for way in tried[:_LISTED])
    next_step = "check preprocessing and labels, or set the keys of [task] as the model was exported"
    if any(way.decode.heads for way in tried):
        next_step += "; if it was trained with anchors of its own, set [task] anchor_sizes: docs/detection.md"
    raise DataError(
        f"{len(tried)} ways to read the outputs as boxes were tried, and none finds the labelled objects"
        if tried
        else "no output can be read as boxes: none has four values a box and a score",
        where=where,
        cause=f"the nearest, by average precision at an overlap of 0.5: {nearest}" if nearest else "",
        next_step=next_step,
    )


def _one_class(packed: NDArray[np.float64]) -> NDArray[np.float64]:
    of_any = packed.copy()
    of_any[:, 1:, 0] = np.minimum(of_any[:, 1:, 0], 0)
    return of_any


def _with_classes(decode: Decode, outputs: Values, classes: int) -> Iterator[Decode]:
    """Yield the ways to number the classes."""
    given = decode.class_count({name: y.shape[1:] for name, y in outputs.items()})
    backgrounds = BACKGROUNDS if given is not None and given > 1 and given != classes else ("none",)
    if decode.background != "none" or decode.activation == "softmax":
        backgrounds = (decode.background,)
    for background in backgrounds:
        for offset in (0, 1, -1):
            for by in ("order", "number"):
                one = replace(decode, background=background, class_offset=offset, class_by=by)
                yield one
                if one.nms_iou < 1:
                    yield replace(one, nms_iou=1.0)


def _score(decode: Decode, outputs: Values, truth: Truth, classes: int) -> tuple[float, float]:
    """Average precision at an overlap of 0.5, and its mean over overlaps of 0.5 to 0.95."""
    fast = replace(decode, least_score=0.02, threshold=0.25, nms_iou=1.0, most=4 * MOST)
    try:
        detections = truth.to_image(_suppressed(fast.read(outputs), decode.nms_iou))
    except DataError:
        return 0.0, 0.0
    if classes == 1:
        detections = _of_one_class(detections)
    elif decode.class_by == "number":
        detections = truth.by_number(detections)
    tight, score = figures(Accumulator(match(detections, truth, classes)).precision())[:2]
    return float(np.nan_to_num(score)), float(np.nan_to_num(tight))


def _suppressed(detections: Detections, iou: float) -> Detections:
    """Suppress among the best boxes only: of wrong ways, thousands have a score."""
    chosen = np.zeros(len(detections.scores), bool)
    for rows in detections:
        corners, scores, classes = (
            part[rows] for part in (detections.corners, detections.scores, detections.classes)
        )
        chosen[rows.start + suppress(corners, scores, classes, iou=iou, most=MOST)] = True
    return detections.where(chosen)


def _of_one_class(detections: Detections) -> Detections:
    return replace(detections, classes=np.zeros_like(detections.classes))
