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
from harness.stats import accuracy
from suites.accuracy.measure import hash_rows, reduce_scores

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
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[NDArray[Any], ...]
    reduced: tuple[Mapping[str, NDArray[Any]], ...]

    @classmethod
    def read(cls, samples: Samples) -> Answers:
        """Read what `measure` yielded."""
        named = samples.values["outputs"]
        positions = range(len(named))
        outputs: tuple[NDArray[Any], ...] = ()
        if "output:0" in samples.arrays:
            outputs = tuple(samples.arrays[f"output:{i}"] for i in positions)
            reduced = tuple(reduce_scores(y) for y in outputs)
        else:
            reduced = tuple(_only(samples.arrays, f":{i}") for i in positions)
        return cls(
            names=tuple(name for name, _ in named),
            shapes=tuple(tuple(shape) for _, shape in named),
            outputs=outputs,
            reduced=reduced,
        )

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
            The two do not have outputs of the same number and shapes.
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
        if order == sorted(order):
            return self  # with what it has counted already
        return Answers(
            names=tuple(self.names[i] for i in order),
            shapes=shapes,
            outputs=tuple(self.outputs[i] for i in order) if self.outputs else (),
            reduced=tuple(self.reduced[i] for i in order),
        )

    @cached_property
    def hashes(self) -> tuple[NDArray[np.uint64], ...]:
        """``row_hash`` of each output, shape (n,)."""
        if self.outputs:
            return tuple(hash_rows(y) for y in self.outputs)
        return tuple(reductions["row_hash"] for reductions in self.reduced)

    @property
    def classes(self) -> int:
        """Scores a sample in the first output.

        Raises
        ------
        DataError
            That output is not one score a class.
        """
        shape = self.shapes[0]
        if sum(size != 1 for size in shape) > 1 or math.prod(shape) < 2:
            raise DataError(
                f"the first output has shape {list(shape)} a sample, not one score a class",
                cause="the model is no classifier, or its scores are not its first output",
                next_step='set [model] task = "regression", or make the scores the first output',
            )
        return math.prod(shape)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Class of the highest score, shape (n,); -1 where that is not a finite number."""
        reductions = self.reduced[0]
        # Both take the first of equal scores.
        top = (
            self.outputs[0].reshape(len(self), -1).argmax(axis=1)
            if self.outputs
            else reductions["top_index"][:, 0]
        )
        return np.where(np.isfinite(reductions["highest"]), top, accuracy.NO_PREDICTION).astype(np.int64)

    @property
    def are_probabilities(self) -> bool:
        """`accuracy.are_probabilities` of the first output, from its reductions."""
        predicted = self.predicted >= 0
        lowest, highest, total = (self.reduced[0][name][predicted] for name in ("lowest", "highest", "total"))
        sums_to_one = np.abs(total - 1) <= SUM_TOLERANCE
        return bool(predicted.any() and (lowest >= 0).all() and (highest <= 1).all() and sums_to_one.all())


def _only(arrays: Mapping[str, NDArray[Any]], suffix: str) -> dict[str, NDArray[Any]]:
    return {name.removesuffix(suffix): array for name, array in arrays.items() if name.endswith(suffix)}
