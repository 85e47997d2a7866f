"""Waivers: what they lift, and when they are wrong."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from harness.core.verdict import Gate, State, Waiver, overall
from harness.gates import waivers
from harness.gates.judge import Subject, judge
from tests.unit.gates.test_judge import row

TODAY = date(2031, 5, 1)
GATES = (Gate("g", "accuracy", "m", maximum=1.0), Gate("h", "accuracy", "m", maximum=1.0, variants=("int8",)))


def waiver(gate: str = "g", target: str = "*", variant: str = "*", expires: date = TODAY) -> Waiver:
    return Waiver(gate, (target,), (variant,), "HW-212", "jane", expires)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (waiver(), ""),
        (waiver(target="c*", variant="int8"), ""),
        (waiver(expires=TODAY - timedelta(days=1)), "expired on 2031-04-30; jane waived it: HW-212"),
        (waiver(gate="gg"), "there is no gate 'gg'; there are 'g', 'h'"),
        (waiver(target="tpu"), "is not judged for such a target"),
        (waiver(gate="h", variant="float32"), "is not judged for such a target and variant"),
    ],
)
def test_what_is_wrong_with_one(made: Waiver, says: str) -> None:
    problems_ = waivers.problems([made], GATES, ["cpu", "pi3"], ["float32", "int8"], TODAY)
    assert [index for index, _ in problems_] == [0] * bool(says)
    assert says in "".join(text for _, text in problems_)


def test_it_lifts_what_blocks_and_leaves_the_answer() -> None:
    subjects = [Subject(target, "onnxruntime", "int8") for target in ("cpu", "pi3")]
    rows = [row(2.0, target=subject.target) for subject in subjects]
    verdicts = judge(rows, GATES[:1], subjects).verdicts
    assert overall(verdicts, unmeasured=False) == (State.FAIL, 1)
    marked, notes = waivers.apply(verdicts, [waiver(target="pi3")])
    assert [(v.target, v.state, v.blocks) for v in marked] == [
        ("cpu", State.FAIL, True), ("pi3", State.FAIL, False),
    ]  # fmt: skip
    assert marked[1].waived == "by jane until 2031-05-01: HW-212"
    assert notes == ()
    assert overall(marked, unmeasured=False) == (State.FAIL, 1)
    marked, _ = waivers.apply(verdicts, [waiver(target="pi3"), waiver()])
    assert overall(marked, unmeasured=False) == (State.PASS, 0)


def test_an_unneeded_waiver_is_reported() -> None:
    verdicts = judge([row(0.5)], GATES[:1], [Subject("cpu", "onnxruntime", "int8")]).verdicts
    marked, notes = waivers.apply(verdicts, [waiver(), waiver(target="pi3")])
    assert marked == verdicts
    assert notes == ("the waiver of 'g' (jane) is not needed: what it covers passes",)


def test_a_waiver_that_one_of_several_answers_needs_is_needed_whatever_their_order() -> None:
    subjects = [Subject(target, "onnxruntime", "int8") for target in ("cpu", "pi3")]
    for values in ((2.0, 0.5), (0.5, 2.0)):
        rows = [row(value, target=subject.target) for value, subject in zip(values, subjects, strict=True)]
        _, notes = waivers.apply(judge(rows, GATES[:1], subjects).verdicts, [waiver()])
        assert notes == ()
