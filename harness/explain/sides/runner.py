"""How the files of sides are run: each several times in one process of its target."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import File, Quantization
from harness.core.errors import BackendError, HarnessError, WorkerError
from harness.core.job import (
    DEPLOY,
    PARITY,
    Batch,
    Case,
    DataRef,
    EnvironmentRecord,
    JobResult,
    Options,
    Status,
)
from harness.core.preprocess import Preprocess
from harness.device.trace import MANNER, PLACEMENT, ROWS
from harness.explain.sides.scratch import Scratch
from harness.explain.sides.side import Side
from harness.explain.sides.trace import Trace
from harness.store.cache import Cache

#: Name of the measure that runs a side.
MEASURE = "explain"
DEADLINE_S = 600.0
#: Within a budget, a run that began is given so long at least.
FEWEST_S = 10.0
#: Larger tensors of layers are stored in the cache.
IN_MEMORY_BYTE = 2**20


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a file.

    Parameters
    ----------
    data : mapping of input name to ndarray, shape (n, …)
    options : Options
    at_once : int
        Samples a call; 0 where each row holds one call's tensors.
    asks_placement : bool
        The session is asked where nodes run, in another session with a profile.
    manner : str
        How the session is called; see `harness.device.trace`.
    """

    data: Mapping[str, NDArray[Any]]
    options: Options
    at_once: int = 1
    asks_placement: bool = False
    manner: str = ""

    @property
    def count(self) -> int:
        """Rows."""
        return len(next(iter(self.data.values())))


class Runner:
    """Runs sides, and removes what only it put into the cache.

    Parameters
    ----------
    cache : Cache
    deadline_s : float
        Of one run of a file.
    """

    def __init__(self, cache: Cache, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s, self._cache, self._scratch = deadline_s, cache, Scratch(cache)
        self._machines: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.close()

    def samples(self, side: Side, rows: Sequence[int], *, at_once: int = 1) -> Trace:
        """Feed samples as a run does.

        Raises
        ------
        BackendError, WorkerError
            The target refused the file, or could not run it.
        """
        return _whole(self.many(side, [Trial(side.rows(rows), side.options, at_once)])[0])

    def options(
        self, side: Side, rows: Sequence[int], options: Sequence[Options]
    ) -> list[Trace | HarnessError]:
        """Feed the same samples with one set of options after the other, in one process."""
        data = side.rows(rows)
        return self.many(side, [Trial(data, one, 1) for one in options])

    def placement(self, side: Side) -> Mapping[str, int]:
        """Number of nodes by provider; empty where the runtime does not tell.

        Raises
        ------
        BackendError, WorkerError
        """
        trial = Trial(side.rows([0]), side.options, asks_placement=True)
        return _whole(self.many(side, [trial])[0]).placement

    def tensors(self, side: Side, feeds: Mapping[str, NDArray[Any]]) -> Trace:
        """Feed whole tensors by the names of the file's inputs, shape (calls, …).

        Raises
        ------
        BackendError, WorkerError
        """
        steps = {name: Preprocess(dtype=array.dtype.name) for name, array in feeds.items()}
        return _whole(self.many(side, [Trial(feeds, side.options, 0)], steps)[0])

    def machine(self, side: Side) -> Mapping[str, Any]:
        """What the target reported of itself when it ran: ``arch``, ``isa`` …; empty before."""
        return self._machines.get(side.target, {})

    def on_disk(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any] | Path]:
        """The same tensors, the large ones as files; for `Tensors`."""
        return {
            name: self._cache.array_path(self._scratch.put_array(tensor))
            if tensor.nbytes > IN_MEMORY_BYTE
            else tensor
            for name, tensor in tensors.items()
        }

    def with_file(self, side: Side, content: bytes, name: str) -> Side:
        """The same side with another file of the same inputs."""
        digest = hashlib.sha256(content).hexdigest()
        folder = self._scratch.put_artifact(digest, {name: content})
        return replace(
            side, artifact=replace(side.artifact, files=(File(name, digest, len(content)),), folder=folder)
        )

    def many(
        self, side: Side, trials: Sequence[Trial], steps: Mapping[str, Preprocess] | None = None
    ) -> list[Trace | HarnessError]:
        """Run a file several times in one process of its target; an error in place of what could not be run.

        Parameters
        ----------
        steps : mapping of input name to Preprocess, optional
            Instead of the side's.
        """
        names = [f"{place}" for place in range(len(trials))]
        cases = tuple(
            Case(
                "trace",
                place,
                name,
                name,
                trial.count,
                self._deadline_s,
                {ROWS: trial.at_once, PLACEMENT: trial.asks_placement, MANNER: trial.manner},
            )
            for place, (name, trial) in enumerate(zip(names, trials, strict=True))
        )
        options = {DEPLOY: side.options, PARITY: side.options}
        options |= {name: trial.options for name, trial in zip(names, trials, strict=True)}
        data = {
            name: self._stored(trial.data, trial.count) for name, trial in zip(names, trials, strict=True)
        }
        batch = Batch(
            side.target, side.backend, side.variant, MEASURE, side.artifact, options,
            side.preprocess if steps is None else steps, data, cases,
        )  # fmt: skip
        results: dict[int, JobResult] = {}
        with closing(side.executor.run([batch])) as events:
            for event in events:
                if isinstance(event, JobResult):
                    results[event.key.severity] = event
                elif isinstance(event, EnvironmentRecord) and "isa" in event.facts:
                    self._machines[event.target] = event.facts
        return [_trace(side, results.get(place)) for place in range(len(trials))]

    def _stored(self, data: Mapping[str, NDArray[Any]], count: int) -> DataRef:
        digests = {name: self._scratch.put_array(array) for name, array in data.items()}
        return DataRef(digests, count, sum(array.nbytes for array in data.values()))


def _trace(side: Side, result: JobResult | None) -> Trace | HarnessError:
    if result is None:
        return WorkerError(f"{side.label} returned nothing", where=side.target)
    if result.status is not Status.OK:
        refused = BackendError if result.status is Status.SKIPPED else WorkerError
        first_line = result.reason.partition("\n")[0]
        return refused(f"{side.label}: {first_line}", where=side.target)
    values, arrays = result.samples.values, result.samples.arrays
    try:
        names = tuple(map(str, values["names"]))
        return Trace(
            {name: arrays[f"input:{place}"] for place, name in enumerate(values["fed"])}
            | {name: _ordered(arrays[f"output:{place}"], side, name) for place, name in enumerate(names)},
            {
                name: Quantization(float(step[0]), int(step[1]))
                for name, step in zip(names, values["steps"], strict=True)
                if step
            },
            names,
            {str(key): str(value) for key, value in values["effective"].items()},
            {str(key): int(value) for key, value in values.get("placement", {}).items()},
            side.artifact.output_permutation,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as damaged:
        return WorkerError(
            f"{side.label} returned something else than was asked for",
            where=side.target, cause=f"{type(damaged).__name__}: {damaged}",
        )  # fmt: skip


def _ordered(tensor: NDArray[Any], side: Side, name: str) -> NDArray[Any]:
    if name not in side.columns:
        return tensor
    axis, order = side.columns[name]
    return np.take(tensor, order, axis=axis)


def _whole(trace: Trace | HarnessError) -> Trace:
    if isinstance(trace, HarnessError):
        raise trace
    return trace
