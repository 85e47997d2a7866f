"""A case's outputs as metrics read them, whichever way the device kept them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.job import Samples
from harness.core.reductions import hash_rows, limits
from harness.core.task import Block, Reading, Task

T = TypeVar("T")
#: Names of the arrays that a task reduced outputs to begin with it; those of an output end in its position.
ANSWER = "answer:"
NOT_KEPT = 'needs the raw outputs, and keep = "reduced" stores reductions only'


@dataclass(frozen=True)
class Answers:
    """The outputs of one case, rows in the run's sample order.

    Parameters
    ----------
    names : tuple of str
        The file's outputs.
    shapes : tuple of tuple of int
        Of one sample of each.
    dtypes : tuple of str
        Of each; of the float model after `ordered_like`, which says whether the task reads whole numbers.
    outputs : tuple of ndarray
        Empty where only reductions were kept.
    limits : tuple of mapping
        ``lowest`` and ``highest`` of each output, and ``row_hash`` where only reductions were kept.
    stored : mapping of name to ndarray, shape (n, …)
        What the task's `Task.reduce` made on the device; empty where the outputs were kept.
    position : int
        Of the output that is scored; -1 where the file has no output of that name.
    threshold : float, optional
        ``[model] threshold``.
    options : mapping
        The table ``[task]``.
    canonical : tuple of str
        The names of the canonical model's outputs, by which a task knows them.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    outputs: tuple[NDArray[Any], ...]
    limits: tuple[Mapping[str, NDArray[Any]], ...]
    stored: Mapping[str, NDArray[Any]]
    position: int
    threshold: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    canonical: tuple[str, ...] = ()
    _memo: dict[object, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, samples: Samples) -> Answers:
        """Read what the measure of the accuracy suite yielded."""
        named, arrays = samples.values["outputs"], samples.arrays
        names = tuple(name for name, _ in named)
        scored = samples.values.get("scored") or names[0]
        positions = range(len(named))
        outputs: tuple[NDArray[Any], ...] = ()
        if "output:0" in arrays:
            outputs = tuple(arrays[f"output:{i}"] for i in positions)
        return cls(
            names=names,
            shapes=tuple(tuple(shape) for _, shape in named),
            dtypes=tuple(samples.values.get("dtypes", ["float32"] * len(names))),
            outputs=outputs,
            limits=tuple(map(limits, outputs)) or tuple(_of_output(arrays, i) for i in positions),
            stored={name[len(ANSWER) :]: a for name, a in arrays.items() if name.startswith(ANSWER)},
            position=names.index(scored) if scored in names else -1,
            threshold=samples.values.get("threshold"),
            options=samples.values.get("options", {}),
            canonical=names,
        )

    @classmethod
    def of_array(
        cls, values: NDArray[Any], threshold: float | None, options: Mapping[str, Any] | None = None
    ) -> Answers:
        """Read stored predictions, shape (n, …)."""
        described = {
            "outputs": [["predictions", list(values.shape[1:])]], "dtypes": [values.dtype.name],
            "threshold": threshold, "options": options or {},
        }  # fmt: skip
        return cls.read(Samples({"output:0": values}, described))

    def __len__(self) -> int:
        return len(self.limits[0]["highest"])

    def head(self, n: int) -> Answers:
        """Give the first `n` rows."""
        if n >= len(self):
            return self  # with what it has counted already
        return replace(
            self,
            outputs=tuple(y[:n] for y in self.outputs),
            limits=tuple({name: array[:n] for name, array in part.items()} for part in self.limits),
            stored={name: array[:n] for name, array in self.stored.items()},
            _memo={},
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
        if order == sorted(order) and self.position == other.position and self.canonical == other.canonical:
            return self  # with what it has counted already
        like = (other.names, other.position, other.dtypes, other.threshold, other.canonical)
        return self.once(("ordered", like), lambda: self._ordered(order, shapes, other))

    def _ordered(self, order: list[int], shapes: tuple[tuple[int, ...], ...], other: Answers) -> Answers:
        return replace(
            self,
            names=tuple(self.names[i] for i in order),
            shapes=shapes,
            dtypes=other.dtypes,
            outputs=tuple(self.outputs[i] for i in order) if self.outputs else (),
            limits=tuple(self.limits[i] for i in order),
            position=other.position,
            threshold=other.threshold,
            options=other.options,
            canonical=other.canonical,
            _memo={},
        )

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what `make` returned for that key when it was first asked."""
        if key not in self._memo:
            self._memo[key] = make()
        made: T = self._memo[key]
        return made

    @cached_property
    def hashes(self) -> tuple[NDArray[np.uint64], ...]:
        """A hash of the bytes of each output, shape (n,)."""
        if self.outputs:
            return tuple(hash_rows(y) for y in self.outputs)
        return tuple(part["row_hash"] for part in self.limits)

    def reading(self, task: Task) -> Reading:
        """Return how the task reads the outputs."""
        return task.reading(
            self.canonical[self.position],
            integers=np.dtype(self.dtypes[self.position]).kind in "iu",
            width=prod(self.shapes[self.position]),
            threshold=self.threshold,
            options=self.options,
        )

    @property
    def scored_shape(self) -> tuple[int, ...]:
        """Shape of a sample of the output that is scored."""
        return self.shapes[self.position]

    def read_as(self, task: Task) -> NDArray[Any]:
        """Return the answers as the task has them, shape (n, …).

        Raises
        ------
        DataError
            The outputs do not fit the task, or only reductions of them were kept.
        """
        if self.outputs:
            named = dict(zip(self.canonical, self.outputs, strict=True))
            return task.answers(self.reading(task), named)
        if prod(self.scored_shape) == 1:  # its highest number is its only one
            values = self.limits[self.position]["highest"].reshape(-1, *self.scored_shape)
            return task.answers(self.reading(task), {self.canonical[self.position]: values})
        raise DataError(NOT_KEPT)

    def reduced(self, task: Task) -> Mapping[str, NDArray[Any]]:
        """Return what `Task.reduce` makes of the outputs, on the device or here.

        Raises
        ------
        DataError
            The outputs do not fit the task, or the device reduced them for another one.
        """
        if self.stored:
            return self.stored
        if not self.outputs:
            of_output = self.limits[self.position]
            if "logsumexp" in of_output:  # a run that was stored before tasks reduced outputs
                return of_output
            raise DataError(NOT_KEPT)
        block = Block(dict(zip(self.canonical, self.outputs, strict=True)))
        return self.once(("reduced", task.name), lambda: task.reduce(self.reading(task), block))


def _of_output(arrays: Mapping[str, NDArray[Any]], position: int) -> dict[str, NDArray[Any]]:
    suffix = f":{position}"
    return {name.removesuffix(suffix): array for name, array in arrays.items() if name.endswith(suffix)}
