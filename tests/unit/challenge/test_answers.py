"""Who caught a fault, whether it was named, and what would see one that was missed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.challenge.answers import (
    Answer,
    Catch,
    Healthy,
    Result,
    catch,
    ending,
    not_planted,
    score,
    would_see,
)
from harness.challenge.limits import Limit
from harness.core.cause import Cause
from harness.core.exit_code import ExitCode
from harness.core.job import JobKey, Status
from harness.core.measurement import Row
from harness.core.verdict import State, Verdict
from harness.testing.faults import Fault, Kind, Plant
from tests.unit.challenge.made import check, error, key, limit, row, verdict

FAULT = Fault("shifted", Kind.NUMERIC, "shifted by {size}", Plant, ("shift", "differ"), "a limit", 0.5, "pt")
GATE = limit("right", "answers", "right")
CHECK = check("same", "tries", "same", "shifted")
NOTHING = Healthy(frozenset(), frozenset())


def caught(
    verdicts: Sequence[Verdict],
    rows: Sequence[Row] = (),
    *,
    credible: Collection[Limit] = (GATE, CHECK),
    missing: Collection[JobKey] = (),
    healthy: Healthy = NOTHING,
) -> Catch | None:
    limits = {one.key: one for one in (GATE, CHECK)}
    return catch(FAULT, verdicts, rows, limits, {one.key for one in credible}, missing, healthy)


def test_a_verdict_that_blocks_catches_the_fault() -> None:
    found = caught([verdict(GATE, State.FAIL, "int8 on cpu: right is 0.2"), verdict(CHECK, State.PASS)])
    assert found == Catch("gate", "right", "int8 on cpu: right is 0.2", "int8", named=False)


def test_what_names_the_fault_comes_first() -> None:
    verdicts = [verdict(GATE, State.FAIL, "right is 0.2"), verdict(CHECK, State.FAIL, "the answers differ")]
    found = caught(verdicts)
    assert found is not None
    assert (found.kind, found.name, found.named) == ("check", "same", True)


def test_what_does_not_block_or_blocks_without_a_fault_catches_nothing() -> None:
    assert caught([verdict(GATE, State.FAIL, severity="warn")]) is None
    assert caught([verdict(GATE, State.FAIL)], healthy=Healthy(frozenset({GATE.key}), frozenset())) is None
    assert caught([verdict(GATE, State.NOT_APPLICABLE)]) is None


def test_a_gate_that_was_not_run_for_want_of_jobs_catches_nothing() -> None:
    assert caught([verdict(GATE, State.NOT_RUN)], missing={key()}) is None
    assert caught([verdict(GATE, State.NOT_RUN, "died")], missing={key("tries", "repeat")}) is not None


def test_what_varies_from_run_to_run_is_not_credited_but_a_failed_measurement_is() -> None:
    assert caught([verdict(GATE, State.FAIL)], credible=(CHECK,)) is None
    assert caught([verdict(GATE, State.NOT_RUN, "the worker died")], credible=(CHECK,)) is not None


def test_a_disturbed_machine_catches_nothing() -> None:
    disturbed = row("right", status=Status.INVALID, cause=Cause.CPU_STEAL)
    other = row("right", status=Status.INVALID, cause=Cause.OTHER_INPUTS)
    assert caught([verdict(GATE, State.INVALID)], [disturbed]) is None
    assert caught([verdict(GATE, State.INVALID)], [disturbed, other]) is not None


def test_an_error_that_no_gate_looks_at_catches_the_fault() -> None:
    rows = [error("the outputs differ\nin full", key("tries", "repeat"))]
    found = caught([verdict(GATE, State.PASS)], rows)
    assert found is not None
    assert (found.kind, found.name, found.named) == ("error", "ERROR row", True)
    assert found.sentence == "int8 on cpu: tries all: the outputs differ" or "tries" in found.sentence
    healthy = Healthy.of([], rows)
    assert caught([], rows, healthy=healthy) is None


def test_healthy_takes_what_blocks() -> None:
    healthy = Healthy.of([verdict(GATE, State.FAIL), verdict(CHECK, State.PASS)], [row("right")])
    assert healthy == Healthy(frozenset({GATE.key}), frozenset())


def test_why_a_fault_was_not_planted() -> None:
    reason = "BackendError\nthe fault cannot be planted here: the file has no weights\nmore"
    assert not_planted([row("right"), error(reason)]) == "the file has no weights"
    assert not_planted([error("died")]) == ""


def test_what_would_see_a_fault_that_was_missed() -> None:
    assert would_see(FAULT, [GATE], {}) == "a limit"
    assert would_see(FAULT, [GATE], {}, "p50 is 1.3x") == "a limit: p50 is 1.3x"
    for state in (State.PASS, State.NOT_APPLICABLE):
        said = would_see(FAULT, [CHECK], {CHECK.key: state})
        assert said == f"the check same looks for it and is {state.value}; a limit"
    relaxed = check("same", "tries", "same", "shifted", relaxed=True)
    assert would_see(FAULT, [relaxed], {}, "p50 is 1.3x") == "the check same, which [checks.relax] lets pass"


def answer(result: Result) -> Answer:
    return Answer(FAULT, result)


def test_score_and_exit_code() -> None:
    results = [Result.CAUGHT, Result.CAUGHT, Result.MISSED, Result.NOT_PLANTED, Result.UNDECIDED]
    assert list(score(map(answer, results)).values()) == [2, 1, 0, 1, 1]
    for some, expected in (
        (results, ExitCode.FAILED),
        ([Result.CAUGHT, Result.NOT_PLANTED], ExitCode.PASSED),
        ([Result.CAUGHT, Result.UNDECIDED], ExitCode.INCONCLUSIVE),
        ([Result.CAUGHT, Result.BELOW], ExitCode.PASSED),
        ([Result.BELOW], ExitCode.NOT_MEASURED),
        ([Result.NOT_PLANTED], ExitCode.NOT_MEASURED),
        ([], ExitCode.NOT_MEASURED),
    ):
        assert ending([answer(result) for result in some])[1] is expected
