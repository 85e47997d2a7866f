"""Built-in checks are judged where they are asked for, and a violation is never hidden."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.check import Check
from harness.core.exit_code import ExitCode
from harness.core.job import Status
from harness.core.measurement import Row
from harness.core.verdict import CHECK, GATE, Gate, State, Verdict, overall
from harness.gates import waivers
from harness.gates.judge import Subject, judge
from harness.stats.paired import tango
from tests.unit.gates.test_judge import SUBJECT, answer, gate, row, whole


def check(**more: Any) -> Check:
    given = {"name": "answers-repeat", "suite": "accuracy", "metric": "m", "maximum": 1.0, **more}
    return Check(Gate(**given), why="they are computed", failure="the answers differ")


def judged(*rows: Any, **more: Any) -> Verdict:
    (verdict,) = judge(rows, [], [SUBJECT], checks=[(check(**more), SUBJECT)]).verdicts
    return verdict


def test_a_failure_begins_with_what_it_means() -> None:
    verdict = judged(row(2.0))
    assert (verdict.kind, verdict.gate, verdict.state) == (CHECK, "answers-repeat", State.FAIL)
    assert verdict.sentence.startswith("int8 on cpu: the answers differ: m in clean is 2")
    assert verdict.blocks


def test_a_pass_and_a_missing_row_do_not_say_it() -> None:
    assert "the answers differ" not in judged(row(0.5)).sentence
    absent = judged()
    assert (absent.state, absent.blocks) == (State.NOT_RUN, True)
    assert "the answers differ" not in absent.sentence


@pytest.mark.parametrize(
    ("on_inconclusive", "state", "blocks"),
    [("block", State.INVALID, True), ("warn", State.INCONCLUSIVE, False)],
)
def test_a_disturbed_machine_blocks_only_where_the_check_says_so(
    on_inconclusive: str, state: State, blocks: bool
) -> None:
    verdict = judged(row(2.0, status=Status.INVALID, reason="throttled"), on_inconclusive=on_inconclusive)
    assert (verdict.state, verdict.blocks) == (state, blocks)
    assert "throttled" in verdict.sentence


def test_a_check_is_judged_only_where_it_is_asked_for() -> None:
    other = Subject("cpu", "onnxruntime", "float32")
    rows = [row(2.0), row(2.0, variant="float32")]
    verdicts = judge(rows, [gate()], [SUBJECT, other], checks=[(check(), other)]).verdicts
    assert [(v.kind, v.variant) for v in verdicts] == [
        (GATE, "int8"), (GATE, "float32"), (CHECK, "float32"),
    ]  # fmt: skip


def test_the_rows_of_a_check_are_covered() -> None:
    error = row(case="other", status=Status.ERROR, reason="crashed")
    judgement = judge([error], [], [SUBJECT], checks=[(check(), SUBJECT)])
    assert judgement.covered == (error,)


def test_an_error_in_one_case_hides_no_violation_of_another() -> None:
    rows = [whole(Status.ERROR, "crashed", case="determinism"), row(2.0, case="provenance")]
    assert answer(rows).state is State.FAIL
    assert "provenance" in answer(rows).sentence
    assert answer([rows[0], row(0.5, case="provenance")]).state is State.NOT_RUN


def test_relaxed_by_name_with_the_reason() -> None:
    failed = judged(row(2.0))
    (relaxed,) = waivers.relax([failed], {"answers-repeat": "atomics on the GPU"})
    assert (relaxed.state, relaxed.blocks) == (State.FAIL, False)
    assert relaxed.waived == "[checks.relax] atomics on the GPU"
    assert waivers.relax([failed], {"another": "…"}) == (failed,)
    passed = judged(row(0.5))
    assert waivers.relax([passed], {"answers-repeat": "…"}) == (passed,)


def test_a_gate_is_not_relaxed() -> None:
    (verdict,) = judge([row(2.0)], [gate(name="answers-repeat")], [SUBJECT]).verdicts
    assert waivers.relax([verdict], {"answers-repeat": "…"}) == (verdict,)


def test_checks_alone_are_no_pass() -> None:
    passed = judged(row(0.5))
    assert overall([passed], unmeasured=False) == (State.NOT_RUN, ExitCode.NOT_MEASURED)
    (of_gate,) = judge([row(0.5)], [gate()], [SUBJECT]).verdicts
    assert overall([passed, of_gate], unmeasured=False) == (State.PASS, ExitCode.PASSED)
    assert overall([judged(row(2.0)), of_gate], unmeasured=False)[0] is State.FAIL


def shifted(case: str, lost: int, n: int = 200) -> Row:
    values = [100.0] * lost + [0.0] * (n - lost)
    loss = 100 * lost / n
    return row(loss, loss - 1, loss + 1, case=case, severity=1, unit="pt", n=n, reference="float32@host",
               per_sample=values)  # fmt: skip


def test_the_worst_of_several_is_judged_at_the_level_of_all_and_named() -> None:
    rows = [shifted("fog", 40), *(shifted(f"c{i}", 0) for i in range(9))]
    verdict = answer(rows, combine="worst", maximum=5.0)
    assert verdict.state is State.FAIL
    assert "m in fog 1, the worst of 10 cases together, is 20 pt [" in verdict.sentence
    joint = tango(0, 40, 200, alpha=0.005)
    assert verdict.ci_low == pytest.approx(100 * joint.low)
    assert answer(rows[1:], combine="worst", maximum=5.0).state is State.PASS


def test_one_case_by_chance_is_not_called_worse() -> None:
    """A loss that alone is significant and among twenty is not."""
    alone, others = shifted("fog", 22), [shifted(f"c{i}", 0) for i in range(19)]
    assert answer([alone], combine="worst", maximum=7.0).state is State.FAIL
    assert answer([alone, *others], combine="worst", maximum=7.0).state is State.INCONCLUSIVE
