"""How answers are joined, and what an answer blocks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.exit_code import ExitCode, first_of
from harness.core.job import JobKey
from harness.core.measurement import WHOLE_CASE, Measurement, Row
from harness.core.verdict import Gate, State, Verdict, overall, summary, worst

PASS = Verdict(
    "g", "cpu", "b", "v", "s", "m", State.PASS, "block", "block", "",
    math.nan, math.nan, math.nan, math.nan, "", 0,
)  # fmt: skip
VERDICTS = st.builds(
    lambda state, severity, on, target: replace(
        PASS, state=state, severity=severity, on_inconclusive=on, target=target
    ),
    st.sampled_from(State), st.sampled_from(["block", "warn"]), st.sampled_from(["block", "warn"]),
    st.sampled_from(["cpu", "gpu"]),
)  # fmt: skip


def state(*states: State) -> list[Verdict]:
    return [replace(PASS, state=s) for s in states]


@pytest.mark.parametrize(
    ("states", "unmeasured", "wanted"),
    [
        ((State.PASS,), False, (State.PASS, 0)),
        ((State.PASS, State.NOT_APPLICABLE), False, (State.PASS, 0)),
        ((State.PASS,), True, (State.NOT_RUN, 3)),
        ((), False, (State.NOT_RUN, 3)),
        ((State.NOT_APPLICABLE,), False, (State.NOT_RUN, 3)),
        ((State.INCONCLUSIVE, State.PASS), False, (State.INCONCLUSIVE, 4)),
        ((State.INCONCLUSIVE, State.NOT_RUN), False, (State.NOT_RUN, 3)),
        ((State.INCONCLUSIVE,), True, (State.NOT_RUN, 3)),
        ((State.NOT_RUN, State.INVALID), False, (State.INVALID, 3)),
        ((State.FAIL, State.INVALID, State.NOT_RUN, State.INCONCLUSIVE), True, (State.FAIL, 1)),
    ],
)
def test_precedence(states: tuple[State, ...], unmeasured: bool, wanted: tuple[State, int]) -> None:
    assert overall(state(*states), unmeasured=unmeasured) == wanted


@given(st.lists(VERDICTS), st.booleans())
def test_only_passes_pass(verdicts: list[Verdict], unmeasured: bool) -> None:
    state_, code = overall(verdicts, unmeasured=unmeasured)
    if code == 0:
        assert state_ is State.PASS
        assert not unmeasured
        assert not any(verdict.blocks for verdict in verdicts)
        for target in {verdict.target for verdict in verdicts}:
            of_target = {verdict.state for verdict in verdicts if verdict.target == target}
            assert of_target != {State.NOT_APPLICABLE}
    if code == 1:
        assert any(verdict.state is State.FAIL and verdict.severity == "block" for verdict in verdicts)


@given(st.lists(VERDICTS), st.booleans())
def test_order_does_not_matter(verdicts: list[Verdict], unmeasured: bool) -> None:
    turned = list(reversed(verdicts))
    assert overall(turned, unmeasured=unmeasured) == overall(verdicts, unmeasured=unmeasured)


@pytest.mark.parametrize(
    ("state_", "severity", "on_inconclusive", "blocks"),
    [
        (State.PASS, "block", "block", False),
        (State.NOT_APPLICABLE, "block", "block", False),
        (State.FAIL, "block", "block", True),
        (State.FAIL, "block", "warn", True),
        (State.FAIL, "warn", "block", False),
        (State.INVALID, "block", "warn", True),
        (State.NOT_RUN, "block", "warn", True),
        (State.NOT_RUN, "warn", "block", False),
        (State.INCONCLUSIVE, "block", "block", True),
        (State.INCONCLUSIVE, "block", "warn", False),
        (State.INCONCLUSIVE, "warn", "block", False),
    ],
)
def test_blocks(state_: State, severity: str, on_inconclusive: str, blocks: bool) -> None:
    verdict = replace(PASS, state=state_, severity=severity, on_inconclusive=on_inconclusive)
    assert verdict.blocks is blocks


def test_a_target_of_which_nothing_applies_has_not_passed() -> None:
    verdicts = [PASS, replace(PASS, target="gpu", state=State.NOT_APPLICABLE)]
    assert overall(verdicts, unmeasured=False) == (State.NOT_RUN, 3)


def test_a_gate_that_only_warns_never_blocks() -> None:
    verdicts = [replace(PASS, state=State.NOT_RUN, severity="warn")]
    assert overall(verdicts, unmeasured=False) == (State.PASS, 0)


def test_no_truth_value() -> None:
    with pytest.raises(TypeError, match="no truth value"):
        bool(State.PASS)


def test_states_have_one_order_and_each_an_exit_code() -> None:
    assert [state.value for state in sorted(State, key=lambda state: state.rank)] == [
        "FAIL", "INVALID", "NOT_RUN", "INCONCLUSIVE", "NOT_APPLICABLE", "PASS",
    ]  # fmt: skip
    codes = {state.value: int(state.exit_code) for state in State}
    assert codes == {
        "PASS": 0, "FAIL": 1, "INVALID": 3, "NOT_RUN": 3, "NOT_APPLICABLE": 3, "INCONCLUSIVE": 4,
    }  # fmt: skip
    assert first_of(ExitCode) is ExitCode.USAGE
    assert first_of([ExitCode.INCONCLUSIVE, ExitCode.NOT_MEASURED, ExitCode.FAILED]) is ExitCode.FAILED
    assert first_of([]) is ExitCode.PASSED


def test_what_does_not_apply_is_left_out_of_a_summary() -> None:
    assert summary([State.NOT_APPLICABLE, State.PASS]) is State.PASS
    assert summary([State.NOT_APPLICABLE]) is State.NOT_APPLICABLE
    assert summary([]) is None
    assert worst([State.NOT_APPLICABLE, State.PASS]) is State.NOT_APPLICABLE


def test_the_three_ways_to_ask_whether_a_gate_looks_at_something_agree() -> None:
    gate = Gate("g", "s", "m*", variants=("int8",), cases=("offline_b8",), severities=(0,))
    key = JobKey("cpu", "ort", "deploy", "int8", "s", "offline", 0)
    row = Row(key, Measurement("m1", "1", 0.5, case="offline_b8"))
    whole = Row(replace_key(key, case="offline_b8"), Measurement(WHOLE_CASE, "", math.nan))
    assert gate.looks_at_job(key)
    for seen in (row, whole):
        assert gate.looks_at(seen)
        assert gate.looks_at_record(seen.to_record())
    for other in (
        Row(replace_key(key, variant="float32"), row.measurement),
        Row(replace_key(key, suite="t"), row.measurement),
        Row(replace_key(key, setting="parity"), row.measurement),
        Row(replace_key(key, severity=1), row.measurement),
        Row(key, Measurement("other", "1", 0.5, case="offline_b8")),
        Row(key, Measurement("m1", "1", 0.5, case="offline_b1")),
    ):
        assert not gate.looks_at(other)
        assert not gate.looks_at_record(other.to_record())
    assert not gate.looks_at_job(replace_key(key, variant="float32"))
    assert not gate.looks_at_job(replace_key(key, case="single_stream"))


def replace_key(key: JobKey, **fields: Any) -> JobKey:
    return key._replace(**fields)
