"""A case's outputs as `summarise` reads them, whichever way the device kept them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.job import Samples
from harness.core.tasks import Form, Reading, Task
from harness.core.tasks.classification import Classification
from harness.core.tasks.embedding import Embedding, neighbours
from suites.accuracy.measure import hash_rows, reduce_scores

CLASSIFICATION, EMBEDDING = Classification(), Embedding()
NEIGHBOURS = 5
#: A quantized softmax has steps of 1/256, so its rows miss 1 by some of them.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class Answers:
    """The outputs of one case, rows in the run's sample order.

    Parameters
    ----------
    names : tuple of str
        The file's outputs.
    shapes : tuple of tuple of int
        Of one sample of each.
    outputs : tuple of ndarray
        Empty where only `reduced` was kept.
    reduced : tuple of mapping
        What `measure.reduce` makes of each output. Every metric that can be had from it is made from it, so
        that it does not depend on what was kept. Of whole outputs, what takes long (the order of scores and
        the hashes) is made when it is asked for.
    position : int
        Of the output that holds the answers; -1 where the file has no output of that name.
    reading : Reading
        How that output is read as classes, where the task has classes.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[NDArray[Any], ...]
    reduced: tuple[Mapping[str, NDArray[Any]], ...]
    position: int
    reading: Reading

    @classmethod
    def read(cls, samples: Samples) -> Answers:
        """Read what `measure` yielded."""
        named = samples.values["outputs"]
        names = tuple(name for name, _ in named)
        scored = samples.values.get("scored") or names[0]
        position = names.index(scored) if scored in names else -1
        dtypes = samples.values.get("dtypes", ["float32"] * len(names))
        positions = range(len(named))
        reading = CLASSIFICATION.reading(
            names[position],
            integers=np.dtype(dtypes[position]).kind in "iu",
            width=math.prod(named[position][1]),
            threshold=samples.values.get("threshold"),
        )
        outputs: tuple[NDArray[Any], ...] = ()
        if "output:0" in samples.arrays:
            outputs = tuple(samples.arrays[f"output:{i}"] for i in positions)
            reduced = tuple(reduce_scores(y) for y in outputs)
        else:
            reduced = tuple(_only(samples.arrays, f":{i}") for i in positions)
        return cls(
            names=names,
            shapes=tuple(tuple(shape) for _, shape in named),
            outputs=outputs,
            reduced=reduced,
            position=position,
            reading=reading,
        )

    @classmethod
    def of_array(cls, values: NDArray[Any], threshold: float | None) -> Answers:
        """Read stored predictions, shape (n, …)."""
        name, shape = "predictions", list(values.shape[1:])
        described = {"outputs": [[name, shape]], "dtypes": [values.dtype.name], "threshold": threshold}
        return cls.read(Samples({"output:0": values}, described))

    def __len__(self) -> int:
        return len(self.reduced[0]["highest"])

    def head(self, n: int) -> Answers:
        """Give the first `n` rows."""
        if n >= len(self):
            return self  # with what it has counted already
        return replace(
            self,
            outputs=tuple(y[:n] for y in self.outputs),
            reduced=tuple({name: array[:n] for name, array in part.items()} for part in self.reduced),
        )

    def ordered_like(self, other: Answers) -> Answers:
        """Bring the outputs into the other's order: by name where all names are known, else as they are.

        Raises
        ------
        DataError
            The two do not have outputs of the same number and shapes, or the other has no output of the
            name that is scored.
        """
        order = list(range(len(self.names)))
        if sorted(self.names) == sorted(other.names):
            order = [self.names.index(name) for name in other.names]
        shapes = tuple(self.shapes[i] for i in order)
        if shapes != other.shapes:
            raise DataError(
                f"outputs of shapes {list(shapes)} cannot be compared with {list(other.shapes)}",
                cause="the artifact has other outputs than the reference, or in another layout",
                next_step="give the artifact's output layout, or leave the variant out",
            )
        if other.position < 0:
            raise DataError(
                f"the reference has the outputs {', '.join(other.names)}, none of the name that is scored",
                next_step="set [model] output to one of them",
            )
        if order == sorted(order) and self.position == other.position:
            return self  # with what it has counted already
        return replace(
            self,
            names=tuple(self.names[i] for i in order),
            shapes=shapes,
            outputs=tuple(self.outputs[i] for i in order) if self.outputs else (),
            reduced=tuple(self.reduced[i] for i in order),
            position=other.position,
            reading=other.reading,
        )

    @cached_property
    def hashes(self) -> tuple[NDArray[np.uint64], ...]:
        """``row_hash`` of each output, shape (n,)."""
        if self.outputs:
            return tuple(hash_rows(y) for y in self.outputs)
        return tuple(reductions["row_hash"] for reductions in self.reduced)

    @property
    def scores(self) -> Mapping[str, NDArray[Any]]:
        """Reductions of the output that holds the answers."""
        return self.reduced[self.position]

    @property
    def classes(self) -> int | None:
        """Number of classes; None where the model gives only the index of one.

        Raises
        ------
        DataError
            The output that is scored is neither one score a class nor one answer a sample.
        """
        reading = replace(self.reading, output=self.names[self.position])
        return CLASSIFICATION.classes(reading, self.shapes[self.position])

    @property
    def indices(self) -> bool:
        """Whether the output is the class itself."""
        return self.reading.form is Form.INDEX

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted class, shape (n,); -1 where the score is not a finite number."""
        top = np.zeros(len(self), np.int64)
        if self.reading.form is Form.SCORES and self.outputs:  # both take the first of equal scores
            top = self.outputs[self.position].reshape(len(self), -1).argmax(axis=1)
        elif self.reading.form is Form.SCORES:
            top = self.scores["top_index"][:, 0]
        return CLASSIFICATION.decide(self.reading, self.scores["highest"], top)

    def read_as(self, task: Task) -> NDArray[Any]:
        """Return the answers as a task has them, shape (n, …).

        Raises
        ------
        DataError
            The output does not fit the task, or only reductions of it were kept.
        """
        shape = self.shapes[self.position]
        reading = task.reading(self.names[self.position], threshold=self.reading.threshold)
        task.check(reading, shape)
        if self.outputs:
            return task.answers(reading, self.outputs[self.position])
        if math.prod(shape) == 1:
            return task.answers(reading, self.scores["highest"])
        raise DataError('needs the raw outputs, and keep = "reduced" stores reductions only')

    @cached_property
    def neighbours(self) -> NDArray[np.int64]:
        """The nearest samples of each, by the direction of its vector, shape (n, 5)."""
        return neighbours(self.read_as(EMBEDDING), NEIGHBOURS)

    def confidence(self, *, probabilities: bool) -> NDArray[np.float64]:
        """Return the probability of the predicted class, shape (n,); 1 where there is no prediction.

        Parameters
        ----------
        probabilities : bool
            The scores are probabilities, and not logits.
        """
        highest = self.scores["highest"].astype(np.float64)
        with np.errstate(all="ignore"):
            if self.reading.form is Form.SCORE:
                of_one = highest if probabilities else 1 / (1 + np.exp(-highest))
                sure = np.where(self.predicted == 1, of_one, 1 - of_one)
            else:
                sure = highest if probabilities else np.exp(highest - self.scores["logsumexp"])
        return np.where(self.predicted >= 0, sure, 1.0)

    @property
    def are_probabilities(self) -> bool:
        """`accuracy.are_probabilities` of the output that is scored, from its reductions."""
        predicted = self.predicted >= 0
        lowest, highest, total = (self.scores[name][predicted] for name in ("lowest", "highest", "total"))
        sums_to_one = self.reading.form is Form.SCORE or (np.abs(total - 1) <= SUM_TOLERANCE).all()
        return bool(predicted.any() and (lowest >= 0).all() and (highest <= 1).all() and sums_to_one)


def _only(arrays: Mapping[str, NDArray[Any]], suffix: str) -> dict[str, NDArray[Any]]:
    return {name.removesuffix(suffix): array for name, array in arrays.items() if name.endswith(suffix)}
