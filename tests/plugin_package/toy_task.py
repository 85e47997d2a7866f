"""A third-party task: how many things a sample has. What a board imports: numpy and harness.core alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.settings import option, whole
from harness.core.task import NO_ANSWER, Block, OneOutput, Reading, scored


@dataclass(frozen=True, slots=True)
class Options:
    """The table ``[task]``: a count above `most` is read as `most`."""

    most: int = option(1000, whole(1))


class Counting(OneOutput):
    """An answer is a whole number from 0, int64; ``NO_ANSWER`` where the output is no finite number."""

    name = "counting"
    Options = Options
    reduces = True
    score_name = "share of right counts"
    chance_name = "the commonest count has"

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        if math.prod(shape) != 1:
            raise DataError(f"the output {reading.output} has shape {list(shape)} a sample, not one count")

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.int64]:
        self.check(reading, values.shape[1:])
        flat = values.reshape(len(values)).astype(np.float64)
        finite = np.isfinite(flat)
        counts = np.clip(np.rint(np.where(finite, flat, 0)), 0, reading.options.most)
        return np.where(finite, counts, NO_ANSWER).astype(np.int64)

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        return {"counts": self.read(reading, scored(reading, block.outputs))}

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        return (answers == labels).astype(np.float64)

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        return ((answers == reference) & (answers != NO_ANSWER)).astype(np.float64)

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        counts, often = np.unique(labels, return_counts=True)
        return self.score(counts[often.argmax()], labels)
