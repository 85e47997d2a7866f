"""What an executor does with a fault."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from harness.challenge.trials import measure
from harness.core.contracts import Availability
from harness.core.errors import WorkerError
from harness.core.job import Batch, EnvironmentRecord, Event, JobResult, Started, Status
from harness.device import planted
from harness.testing.faults import FAULTS
from tests.unit.challenge.made import batch

OFFSET = next(fault for fault in FAULTS if fault.name == "offset")


class Planted:
    """An executor that gives a result, and raises where it is told to."""

    parallel_batches = 1

    def __init__(self, raises: Exception | None = None) -> None:
        self.raises = raises
        self.asked: list[str] = []
        self.closed = False

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        return {}

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        (one,) = batches
        self.asked += [options.extra[planted.OPTION] for options in one.options.values()]
        try:
            yield EnvironmentRecord(one.target, one.backend, one.variant, one.suite, "before", {})
            yield Started(one.jobs[0].key)
            if self.raises is not None:
                raise self.raises
            yield JobResult(one.jobs[0].key, Status.OK)
        finally:
            self.closed = True

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_results_and_the_machine_of_a_batch_that_asks_for_the_fault() -> None:
    executor, one = Planted(), batch("answers", ("whole", 0))
    measured = measure(executor, one, OFFSET)
    assert executor.asked == ["offset 0.02", "offset 0.02"]
    assert list(measured.results) == [one.jobs[0].key]
    assert [record.phase for record in measured.environments] == ["before"]
    assert measured.error == ""


def test_what_the_executor_raises_is_an_error_of_the_batch() -> None:
    for error in (WorkerError("the worker sent text"), ValueError("a frame")):
        executor = Planted(error)
        measured = measure(executor, batch("answers", ("whole", 0)), OFFSET)
        assert executor.closed
        assert not measured.results
        assert str(error) in measured.error
