"""Which rows a gate looked at, which subjects it judges, and what the sentence says of several rows."""

from __future__ import annotations

from harness.core.job import Status
from harness.core.verdict import State
from harness.gates.judge import Subject, judge
from tests.unit.gates.test_judge import SUBJECT, answer, gate, row, whole


def test_covered_rows_are_those_that_some_gate_looked_at() -> None:
    rows = [row(case="clean"), whole(Status.ERROR, "", case="fog"), row(suite="reliability")]
    covered = judge(rows, [gate(cases=("clean",))], [SUBJECT]).covered
    assert covered == (rows[0],)


def test_covered_rows_of_all_gates_are_joined() -> None:
    rows = [row(case="clean"), row(case="fog")]
    gates = [gate(name="a", cases=("clean",)), gate(name="b", cases=("fog",))]
    assert judge(rows, gates, [SUBJECT]).covered == tuple(rows)


def test_a_subject_that_a_gate_does_not_judge_hides_no_later_one() -> None:
    first = Subject("pi", "onnxruntime", "int8")
    verdicts = judge([row()], [gate(targets=("cpu",))], [first, SUBJECT]).verdicts
    assert [verdict.target for verdict in verdicts] == ["cpu"]


def test_of_two_rows_the_worst_is_named_with_their_number() -> None:
    rows = [row(0.5, case="clean"), row(2.0, case="fog")]
    assert answer(rows).sentence.endswith("the worst of 2")


def test_what_stopped_a_run_is_said_where_it_is_known() -> None:
    key = row(case="fog").key
    for stopped, says in (("", "1 job was not measured"), ("the budget was used up", "measured: the budget")):
        (verdict,) = judge([row()], [gate()], [SUBJECT], [key], stopped=stopped).verdicts
        assert says in verdict.sentence
        assert verdict.sentence.endswith("not measured") == (not stopped)


def test_a_row_that_says_what_it_is_about_is_quoted() -> None:
    about = row(0.6, 0.5, 0.7, reason="site B has 60 % right")
    assert answer([about], maximum=None, minimum=0.8).sentence.endswith(
        "limit 0.8, 100 samples; site B has 60 % right"
    )
    undecided = answer([about], maximum=None, minimum=0.65)
    assert undecided.state is State.INCONCLUSIVE
    assert undecided.sentence.endswith("; site B has 60 % right: undecided, more samples would decide it")


def test_a_skipped_case_stands_for_its_parts() -> None:
    skipped = whole(Status.SKIPPED, "no such operator")
    assert answer([skipped], cases=("clean/site=A",)).state is State.NOT_APPLICABLE
    assert answer([skipped], cases=("clean_b8",)).state is State.NOT_APPLICABLE
    assert answer([skipped], cases=("cleaner",)).state is State.NOT_RUN
    assert answer([row(0.5)], cases=("clean/site=A",)).state is State.NOT_RUN
