"""Which jobs are run for a fault, and in which order."""

from __future__ import annotations

import pytest

from harness.challenge.jobs import DEADLINE_FACTOR, DEADLINE_S, Work, chosen
from harness.challenge.limits import Limit
from harness.core.job import Batch, JobKey
from harness.testing.faults import FAULTS, Fault, Kind, Plant
from tests.unit.challenge.made import METRICS, batch, check, key, limit

BATCHES = (
    batch("answers", ("whole", 0), ("fog", 1), ("fog", 2)),
    batch("speed", ("calls", 0), ("many", 0)),
    batch("tries", ("repeat", 0), ("threads", 0)),
    batch("answers", ("whole", 0), ("fog", 1), variant="float32"),
)
SECONDS = {
    key(): 2.0, key("speed", "calls"): 5.0, key("tries", "repeat"): 1.0, key("tries", "threads"): 3.0,
}  # fmt: skip
GATE = limit("right", "answers", "right")
SAME = check("same", "tries", "same", "wrong-with-threads")
FAST = limit("fast", "speed", "typical", maximum=1e6)
SHIFTED = limit("shifted", "answers", "lost", severities=(1, 2))
FLOAT = limit("float", "answers", "right", variant="float32")
JUDGED = {
    GATE.key: {key()},
    SAME.key: {key("tries", "threads")},
    FAST.key: {key("speed", "calls")},
    SHIFTED.key: {key(case="fog", severity=1), key(case="fog", severity=2)},
    FLOAT.key: {key(variant="float32")},
}


def work(*limits: Limit) -> Work:
    limits = limits or (GATE, SAME, FAST, SHIFTED, FLOAT)
    judged = {one.key: frozenset(JUDGED[one.key]) for one in limits}
    return Work(BATCHES, limits, METRICS, SECONDS, judged)


def fault(kind: Kind, name: str = "some") -> Fault:
    return Fault(name, kind, "wrong", Plant, ("wrong",))


def names(steps: list[Batch]) -> list[tuple[str, str, list[str]]]:
    return [(step.variant, step.suite, [case.name for case in step.cases]) for step in steps]


def test_the_check_that_declares_the_fault_comes_first_then_the_shortest() -> None:
    steps = work().steps(fault(Kind.CALL, "wrong-with-threads"), quick=True)
    assert names(steps) == [("int8", "tries", ["threads"]), ("int8", "answers", ["whole"])]
    assert names(work().steps(fault(Kind.CALL), quick=True)) == [
        ("int8", "answers", ["whole"]),
        ("int8", "tries", ["threads"]),
    ]


def test_a_time_shows_faults_of_time_and_memory_alone() -> None:
    for kind in (Kind.TIME, Kind.MEMORY):
        steps = work().steps(fault(kind), quick=True)
        assert ("int8", "speed", ["calls"]) in names(steps)
    assert not any(step.suite == "speed" for step in work().steps(fault(Kind.CALL), quick=True))
    # Without any gate on it, its time is measured all the same: what a gate would see is told.
    assert names(work(GATE).steps(fault(Kind.TIME), quick=True)) == [("int8", "speed", ["calls"])]


def test_a_check_of_times_shows_what_it_declares_and_a_gate_any_fault_of_time() -> None:
    stalls = check("no-stalls", "speed", "typical", "stall")
    both = Work(BATCHES, (stalls, FAST), METRICS, SECONDS, {stalls.key: frozenset(), FAST.key: frozenset()})
    for name, kind, seen in (
        ("stall", Kind.TIME, [True, True]),
        ("slower-30", Kind.TIME, [False, True]),
        ("offset", Kind.NUMERIC, [False, False]),
    ):
        assert [both.is_credible(one, fault(kind, name)) for one in (stalls, FAST)] == seen


def test_the_whole_challenge_also_runs_what_no_limit_looks_at() -> None:
    steps = names(work().steps(fault(Kind.PROCESS), quick=False))
    assert steps == [
        ("int8", "answers", ["whole"]),
        ("int8", "tries", ["threads"]),
        ("float32", "answers", ["whole"]),
        ("int8", "speed", ["many"]),
        ("int8", "tries", ["repeat"]),
        ("int8", "speed", ["calls"]),
    ]


def test_shifted_data_come_last_and_only_where_a_gate_looks_at_nothing_else() -> None:
    steps = names(work().steps(fault(Kind.NUMERIC), quick=False))
    assert steps[-1] == ("int8", "answers", ["fog", "fog"])
    assert not any(
        "fog" in cases for _, _, cases in names(work(GATE).steps(fault(Kind.NUMERIC), quick=False))
    )
    assert not any("fog" in cases for _, _, cases in names(work().steps(fault(Kind.CALL), quick=False)))


def test_a_long_job_is_a_step_by_itself() -> None:
    both = check("both", "tries", "same", "stall")
    short = {key("tries", "repeat"): 0.4, key("tries", "threads"): 0.5}
    for seconds, expected in ((short, [["repeat", "threads"]]), (SECONDS, [["repeat"], ["threads"]])):
        planned = Work(BATCHES, (both,), METRICS, seconds, {both.key: frozenset(short)})
        assert [
            cases for _, _, cases in names(planned.steps(fault(Kind.CALL, "stall"), quick=True))
        ] == expected


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("quick", [True, False])
def test_no_job_is_run_twice_for_a_fault(kind: Kind, quick: bool) -> None:
    jobs: list[JobKey] = [job.key for step in work().steps(fault(kind), quick=quick) for job in step.jobs]
    assert len(jobs) == len(set(jobs))


def test_deadlines_follow_what_the_job_took_without_a_fault() -> None:
    (step,) = work(SAME).steps(fault(Kind.CALL, "wrong-with-threads"), quick=True)
    assert step.cases[0].deadline_s == DEADLINE_S + DEADLINE_FACTOR * 3.0
    long = Work(BATCHES, (SAME,), METRICS, {key("tries", "threads"): 30.0}, {SAME.key: JUDGED[SAME.key]})  # type: ignore[dict-item]
    (step,) = long.steps(fault(Kind.CALL, "wrong-with-threads"), quick=True)
    assert step.cases[0].deadline_s == 60.0  # never more than the suite allows


def test_variant_with_most_limits_is_first() -> None:
    assert work().variants == ("int8", "float32")
    assert work(FLOAT).variants == ("float32", "int8")


def test_chosen_faults() -> None:
    faults = [fault for fault in FAULTS if fault.kind is not Kind.HEALTHY]
    assert chosen(faults, (), quick=False) == faults
    quick = chosen(faults, (), quick=True)
    assert len(quick) < len(faults) / 2
    assert {fault.kind for fault in quick} == set(Kind) - {Kind.HEALTHY}
    assert [fault.name for fault in chosen(faults, ("slower-?0", "offset"), quick=True)] == [
        "offset", "slower-10", "slower-30",
    ]  # fmt: skip
