"""What an executor does with a fault."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.challenge.answers import Catch, Healthy, Result
from harness.challenge.jobs import Work
from harness.challenge.trials import Bench, Measured, measure
from harness.core.cause import Cause
from harness.core.contracts import Availability
from harness.core.errors import WorkerError
from harness.core.job import Batch, EnvironmentRecord, Event, JobResult, Started, Status
from harness.core.measurement import Row
from harness.core.plan import Plan
from harness.device import planted
from harness.store.run_folder import Facts, RunFolder
from harness.testing.faults import FAULTS
from tests.unit.challenge.made import METRICS, batch, error, key, limit, row

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
    for raised in (WorkerError("the worker sent text"), ValueError("a frame")):
        executor = Planted(raised)
        measured = measure(executor, batch("answers", ("whole", 0)), OFFSET)
        assert executor.closed
        assert not measured.results
        assert str(raised) in measured.error


CALLS = key("speed", "calls")
FAST = limit("fast", "speed", "typical", maximum=90.0)
HEALTHY_TIME = row("typical", CALLS, unit="ns", value=100.0, ci_low=99.0, ci_high=101.0)


def bench() -> Bench:
    record = EnvironmentRecord(
        "cpu", "linear", "int8", "speed", "before", {"cpu_model": "m", "cpu_affinity": 2}
    )
    facts = Facts({"data": {}}, Plan(()), None, {}, [record])
    work = Work((), (FAST,), METRICS, {}, {FAST.key: frozenset({CALLS})})
    nothing = Healthy(frozenset(), frozenset())
    return Bench(Planted(), work, RunFolder(Path("run")), facts, (HEALTHY_TIME,), nothing, {})


def timed(value: float) -> Row:
    return row("typical", CALLS, unit="ns", value=value, ci_low=0.99 * value, ci_high=1.01 * value)


def test_a_gate_on_a_time_is_credited_where_the_time_is_worse_than_without_the_fault() -> None:
    caught = Catch("gate", "fast", "too slow", "int8", named=True)
    assert not bench()._is_worse(caught, [timed(101.0)])
    assert bench()._is_worse(caught, [timed(130.0)])
    assert bench()._is_worse(caught, [error("the worker died", CALLS)])
    # A check has a bound outside the noise, and declares what it catches.
    assert bench()._is_worse(Catch("check", "fast", "too slow", "int8", named=True), [timed(101.0)])


@pytest.mark.parametrize(
    ("smallest", "result", "would"),
    [
        (0.35, Result.BELOW, "the smallest that is seen here with 95 % power is 0.35 share"),
        (0.3, Result.MISSED, "a limit on the latency relative to an accepted run"),
        (0.05, Result.MISSED, "a limit on the latency relative to an accepted run"),
    ],
)
def test_a_fault_below_the_smallest_effect_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, smallest: float, result: Result, would: str
) -> None:
    one = replace(bench(), smallest={"slower-30": smallest})
    monkeypatch.setattr(Work, "steps", lambda *_, **__: [batch("speed", ("calls", 0))])
    monkeypatch.setattr(Bench, "_measure", lambda *_: (Measured(), [timed(101.0)]))
    monkeypatch.setattr(Bench, "_judge", lambda *_: (None, {}))
    slower = next(fault for fault in FAULTS if fault.name == "slower-30")
    answer = one.answer(slower, quick=True)
    assert (answer.result, answer.would) == (result, would)


def test_a_wrong_answer_that_is_rarer_than_the_answers_compared_show_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Work, "steps", lambda *_, **__: [batch("speed", ("calls", 0))])
    monkeypatch.setattr(Bench, "_measure", lambda *_: (Measured(), [timed(101.0)]))
    monkeypatch.setattr(Bench, "_judge", lambda *_: (None, {}))
    wrong = next(fault for fault in FAULTS if fault.name == "one-wrong-answer")
    few, many = (
        replace(bench(), smallest={"one-wrong-answer": n}).answer(wrong, quick=True) for n in (20.4, 6000.0)
    )
    assert (few.result, few.would) == (
        Result.BELOW, "the rarest that is seen here with 95 % power is one in 20 calls",
    )  # fmt: skip
    assert many.result is Result.MISSED


def test_a_disturbed_batch_is_measured_again_only_where_nothing_was_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caught = Catch("check", "calls", "slower", "int8", named=True)
    disturbed = replace(timed(101.0).measurement, status=Status.INVALID, cause=Cause.OVERLOAD)
    for catch, times in ((caught, 1), (None, 2)):
        measured: list[int] = []
        monkeypatch.setattr(Work, "steps", lambda *_, **__: [batch("speed", ("calls", 0))])
        monkeypatch.setattr(
            Bench, "_measure",
            lambda *_, into=measured: (into.append(1), (Measured(), [Row(CALLS, disturbed)]))[1],
        )  # fmt: skip
        monkeypatch.setattr(Bench, "_judge", lambda *_, catch=catch: (catch, {}))
        bench().answer(next(fault for fault in FAULTS if fault.name == "slower-30"), quick=True)
        assert len(measured) == times


def test_what_a_comparison_with_the_healthy_run_shows() -> None:
    assert bench()._seen([timed(101.0)]) == ""
    said = bench()._seen([timed(101.0), timed(130.0), timed(150.0)])
    assert said.startswith("typical is 1.50x [1.4")
    assert said.endswith("of the healthy run's")
