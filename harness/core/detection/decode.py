"""How the outputs of a detector are read as boxes: data, and one function that follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.core.detection import anchors, grids
from harness.core.detection.boxes import FORMATS, Detections, to_corners
from harness.core.detection.grids import Cells, Grids
from harness.core.detection.suppression import suppress
from harness.core.errors import DataError
from harness.core.settings import (
    choice,
    integer,
    names,
    numbers_above_0,
    option,
    pair_of_sizes,
    text,
    unit,
    whole,
)

LAYOUTS = ("rows", "columns")


class Columns(NamedTuple):
    """Where a row holds its box, one score and one class."""

    width: int
    box: int
    score: int
    class_: int


#: The score of a box and its class, instead of one score a class. The last two begin with the number of the
#: sample: those of YOLOv7 with its suppression, and of DetectionOutput, the last layer of SSD in Caffe.
PAIRS = {
    "score-class": Columns(6, 0, 4, 5),
    "class-score": Columns(6, 0, 5, 4),
    "sample-box-class-score": Columns(7, 1, 6, 5),
    "sample-class-score-box": Columns(7, 3, 2, 1),
}
UNITS = ("pixels", "normalized")
SCORES = ("classes", "objectness", *PAIRS)
ACTIVATIONS = ("none", "sigmoid", "softmax")
BACKGROUNDS = ("none", "first", "last")
CLASSES_BY = ("order", "number")
#: Boxes of a sample that compete in the suppression, those with the highest scores.
CANDIDATES = 5_000
_NEXT = "set the keys of [task] as the model was exported, or let harness init find them on labelled samples"


@dataclass(frozen=True, slots=True)
class Decode:
    """How outputs hold boxes; the defaults are those of an export of YOLOv8 or later without suppression.

    Parameters
    ----------
    boxes : str
        Output with the boxes.
    scores : str
        Output with the scores; empty: they follow the boxes in the same output.
    classes : str
        Output with the class of each box; empty: the scores say which.
    count : str
        Output with the number of boxes; empty: all rows are boxes.
    heads : tuple of str
        Outputs of a model that does not decode its boxes, one or several a stride; `boxes` is the first.
    layout : {"rows", "columns"}
        Whether a box is a row, as in [8400, 84], or a column, as in [84, 8400], of all these outputs.
    box : str
        Order of the four numbers, one of `FORMATS`.
    units : {"pixels", "normalized"}
        Pixels of the model's input, or shares of its width and height.
    size : tuple of int
        Height and width of the model's input in pixels, where boxes are normalized or relative to anchors.
    score : {"classes", "objectness", "score-class", "class-score", …}
        What follows the boxes: one score a class; the score that there is an object, by which those of the
        classes are multiplied; the score and the class, in one of the orders of `PAIRS`.
    activation : {"none", "sigmoid", "softmax"}
        What makes probabilities of the scores.
    background : {"none", "first", "last"}
        Which of the scores is the background's.
    class_offset : int
        Number that the model gives to the first class.
    class_by : {"order", "number"}
        Whether the model counts the classes in their order, or as the labels number them: COCO has 80 classes
        with numbers from 1 to 90.
    anchors : str
        Family of the anchors that the boxes are differences from; see `harness.core.detection.anchors`, and
        `harness.core.detection.grids` of heads.
    anchor_sizes : tuple of float
        Widths and heights in pixels of the anchors of heads, those of the smallest stride first; empty: those
        of the family.
    least_score : float
        Boxes with a lower score are left out; mAP needs low scores, too.
    threshold : float
        Score from which a box is shown to a user.
    nms_iou : float
        Of two boxes of a class that overlap more, the one with the lower score is left out; 1: none is.
    most : int
        Boxes of a sample that remain.
    """

    boxes: str = option("", text)
    scores: str = option("", text)
    classes: str = option("", text)
    count: str = option("", text)
    heads: tuple[str, ...] = option((), names)
    layout: str = option("columns", choice(*LAYOUTS))
    box: str = option("cxcywh", choice(*FORMATS))
    units: str = option("pixels", choice(*UNITS))
    size: tuple[int, ...] = option((), pair_of_sizes)
    score: str = option("classes", choice(*SCORES))
    activation: str = option("none", choice(*ACTIVATIONS))
    background: str = option("none", choice(*BACKGROUNDS))
    class_offset: int = option(0, integer)
    class_by: str = option("order", choice(*CLASSES_BY))
    anchors: str = option("none", choice(*dict.fromkeys(["none", *anchors.FAMILIES, *grids.FAMILIES])))
    anchor_sizes: tuple[float, ...] = option((), numbers_above_0)
    least_score: float = option(0.001, unit)
    threshold: float = option(0.25, unit)
    nms_iou: float = option(0.7, unit)
    most: int = option(100, whole(1))

    def to_json(self) -> dict[str, Any]:
        """As JSON, without the defaults."""
        changed = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            item.name: list(value) if isinstance(value := changed[item.name], tuple) else value
            for item in fields(self)
            if changed[item.name] != item.default
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are read, the boxes first."""
        named = (self.boxes, *self.heads, self.scores, self.classes, self.count)
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def grids(self) -> Grids:
        """The grids of the heads."""
        return Grids(self.anchors, self.size, self.layout, self.anchor_sizes)

    def class_count(self, shapes: Mapping[str, Sequence[int]]) -> int | None:
        """Return the number of classes of the model; None where an output holds the class of a box.

        Parameters
        ----------
        shapes : mapping of str to sequence of int
            Of one sample of each output.

        Raises
        ------
        DataError
            The shapes do not fit.
        """
        if self.heads:
            widths = self.grids.widths([shapes[name] for name in self.heads])
            width = min(widths.values(), default=0) - self.grids.family.numbers
        elif self.scores:
            width = self._scores_width(shapes)
        else:
            width = self._table(self.boxes, shapes)[1] - 4
        if self.classes or self.score in PAIRS:
            return None
        width -= (self.score == "objectness") + (self.background != "none")
        return width - self.class_offset

    def check(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Refuse outputs whose shapes this decode does not fit.

        Parameters
        ----------
        shapes : mapping of str to sequence of int
            Of one sample of each output.

        Raises
        ------
        DataError
        """
        missing = [name for name in self.outputs if name not in shapes]
        if missing:
            raise DataError(
                f"the model has no output {missing[0]}", where="[task]",
                cause=f"it has {', '.join(shapes)}", next_step="name one of them",
            )  # fmt: skip
        if self.heads:
            self._check_heads(shapes)
            return
        rows, width = self._table(self.boxes, shapes)
        least = 4 if self.scores else {"classes": 5, "objectness": 6}.get(self.score, 6)
        exact = 4 if self.scores else PAIRS[self.score].width if self.score in PAIRS else None
        if width < least or (exact is not None and width != exact):
            wanted = f"{exact} values" if exact is not None else f"at least {least} values"
            raise self._misfit(self.boxes, shapes, f"{wanted} a box; this one has {width}")
        for name in (self.scores, self.classes):
            if name and (given := self._rows(name, shapes)) != rows:
                raise self._misfit(name, shapes, f"one row for each of {rows} boxes; this one has {given}")
        bases = rows if self.anchors == "none" else len(self._anchors())
        if rows != bases:
            text = f"one row for each of the {bases} anchors of {self.anchors}"
            raise self._misfit(self.boxes, shapes, text)
        if (classes := self.class_count(shapes)) is not None and classes < 1:
            raise self._misfit(self.scores or self.boxes, shapes, "at least one score of a class")

    def _check_heads(self, shapes: Mapping[str, Sequence[int]]) -> None:
        where = self.grids
        for name in self.heads:
            if where.stride(shapes[name]) is None:
                cells = ", ".join(f"{n}x{m}" for n, m in map(where.cells, where.sizes))
                raise self._misfit(
                    name, shapes, f"a grid of {cells} cells with the anchors of {self.anchors}"
                )
        widths = where.widths([shapes[name] for name in self.heads])
        if missing := [stride for stride in where.sizes if stride not in widths]:
            text = f"a head of each stride of {self.anchors}; none has {missing[0]} pixels a cell"
            raise self._misfit(self.heads[0], shapes, text)
        least = where.family.numbers + 1 + (self.score == "objectness")
        if len(set(widths.values())) > 1 or min(widths.values()) < least:
            listed = ", ".join(map(str, widths.values()))
            text = f"the same number of values a box in every head, at least {least}; these have {listed}"
            raise self._misfit(self.heads[0], shapes, text)

    def _misfit(self, name: str, shapes: Mapping[str, Sequence[int]], wanted: str) -> DataError:
        return DataError(
            f"the output {name} has shape {list(shapes[name])} a sample; [task] needs {wanted}",
            where="[task]", cause=f'with layout = "{self.layout}"', next_step=_NEXT,
        )  # fmt: skip

    def _table(self, name: str, shapes: Mapping[str, Sequence[int]]) -> tuple[int, int]:
        """Boxes and values a box of an output that is a table."""
        shape = list(shapes[name])
        if len(shape) > 2:
            shape = [length for length in shape if length != 1]
        if len(shape) != 2:
            raise self._misfit(name, shapes, "boxes and values, two axes")
        return (shape[0], shape[1]) if self.layout == "rows" else (shape[1], shape[0])

    def _rows(self, name: str, shapes: Mapping[str, Sequence[int]]) -> int:
        lengths = [length for length in shapes[name] if length != 1]
        return lengths[0] if len(lengths) == 1 else self._table(name, shapes)[0]

    def _scores_width(self, shapes: Mapping[str, Sequence[int]]) -> int:
        shape = list(shapes[self.scores])
        rows, _ = self._table(self.boxes, shapes)
        if shape == [rows] or (len(shape) > 1 and np.prod(shape) == rows):
            return 1
        return self._table(self.scores, shapes)[1]

    def read(self, outputs: Mapping[str, NDArray[Any]]) -> Detections:
        """Read the boxes of n samples.

        Parameters
        ----------
        outputs : mapping of str to ndarray, shape (n, …)

        Returns
        -------
        Detections
            In pixels of the model's input, classes from 0.

        Raises
        ------
        DataError
            The shapes do not fit.
        """
        self.check({name: y.shape[1:] for name, y in outputs.items()})
        decoded: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[np.float64]] = self._corners
        if self.heads:
            table, cells = self.grids.table([outputs[name] for name in self.heads])
            decoded = partial(self._of_cells, cells)
        else:
            table = self._as_rows(outputs[self.boxes])
        numbers = self.grids.family.numbers if self.heads else 4
        after = self._as_rows(outputs[self.scores], len(table[0])) if self.scores else table[..., numbers:]
        if self.classes:
            scores, classes = self._activated(after[..., 0]), outputs[self.classes].reshape(len(table), -1)
        elif self.score in PAIRS:
            _, first, of_score, of_class = PAIRS[self.score]
            scores, classes = self._activated(table[..., of_score]), table[..., of_class]
            table = table[..., first:]
        else:
            scores, classes = self._best(after)
        scores = scores.astype(np.float64)
        if self.count:
            counts = np.nan_to_num(outputs[self.count].reshape(len(table), -1)[:, :1].astype(np.float64))
            scores = np.where(np.arange(scores.shape[1]) < counts, scores, -np.inf)
        return self._samples(table[..., :numbers], scores, classes, decoded)

    def _as_rows(self, y: NDArray[Any], rows: int = 0) -> NDArray[Any]:
        """Return an output of shape (n, …) as (n, boxes, values)."""
        if rows and y[0].size == rows:
            return y.reshape(len(y), rows, 1)
        if y.ndim > 3:
            y = y.reshape(len(y), *[length for length in y.shape[1:] if length != 1])
        return y if self.layout == "rows" else y.swapaxes(1, 2)

    def _best(self, scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the score and the class of each box, of equal scores the first class."""
        objectness: NDArray[Any] | float = 1.0
        if self.score == "objectness":
            objectness, scores = scores[..., 0], scores[..., 1:]
            objectness = self._activated(objectness)
        if self.activation == "softmax":
            with np.errstate(all="ignore"):
                scores = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
                scores = scores / scores.sum(axis=-1, keepdims=True)
        if self.background == "first":
            scores = scores[..., 1:]
        elif self.background == "last":
            scores = scores[..., :-1]
        classes = scores.argmax(axis=-1)
        best = np.take_along_axis(scores, classes[..., None], axis=-1)[..., 0]
        # A sigmoid keeps the order, so that one a box is enough.
        return self._activated(best) * objectness, classes

    def _activated(self, scores: NDArray[Any]) -> NDArray[Any]:
        return _sigmoid(scores) if self.activation == "sigmoid" else scores

    def _anchors(self) -> NDArray[np.float64]:
        height, width = self.size
        return anchors.anchors(self.anchors, height, width)

    def _corners(self, boxes: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return corners in pixels of the numbers of some rows."""
        if self.anchors != "none":
            order = [0, 1, 2, 3] if self.box == "cxcywh" else [1, 0, 3, 2]
            return to_corners(anchors.decode(boxes[:, order], self.anchors, self._anchors()[rows]), "cxcywh")
        corners = to_corners(boxes, self.box)
        return corners * np.array([*self.size[::-1]] * 2) if self.units == "normalized" else corners

    def _of_cells(self, cells: Cells, boxes: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return corners in pixels of the numbers of some rows of heads."""
        real, where = boxes.astype(np.float64), cells.take(rows)
        return to_corners(self.grids.family.decode(real, where, self._activated), "cxcywh")

    def _samples(
        self,
        table: NDArray[Any],
        scores: NDArray[np.float64],
        classes: NDArray[Any],
        decoded: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[np.float64]],
    ) -> Detections:
        samples = []
        for row in range(len(table)):
            chosen = np.flatnonzero(scores[row] >= self.least_score)
            if len(chosen) > CANDIDATES:
                chosen = chosen[np.argsort(-scores[row, chosen], kind="stable")[:CANDIDATES]]
            corners = decoded(table[row, chosen], chosen)
            numbers = _class_numbers(classes[row, chosen], self.class_offset)
            finite = np.isfinite(corners).all(axis=1)
            usable = finite & (numbers >= 0)
            left = np.flatnonzero(usable)
            values = scores[row, chosen]
            left = left[
                suppress(corners[left], values[left], numbers[left], iou=self.nms_iou, most=self.most)
            ]
            highest = float(scores[row].max(initial=-np.inf)) if finite.all() else np.nan
            samples.append(
                Detections(
                    np.array([len(left)]), corners[left], values[left], numbers[left], np.array([highest])
                )
            )
        return Detections.of_samples(samples)


def _class_numbers(classes: NDArray[Any], offset: int) -> NDArray[np.int64]:
    """Return classes from 0; -1 of one that is no whole number."""
    real = classes.astype(np.float64)
    whole = np.isfinite(real) & (np.abs(real - np.rint(real)) < 1e-3)
    return np.where(whole, np.rint(np.where(whole, real, 0)) - offset, -1).astype(np.int64)


def _sigmoid(values: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        share: NDArray[np.float64] = 1 / (1 + np.exp(-values.astype(np.float64)))
    return share
