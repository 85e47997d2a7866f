"""How answers are joined, and what an answer blocks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.verdict import State, Verdict, overall

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
    found, code = overall(verdicts, unmeasured=unmeasured)
    if code == 0:
        assert found is State.PASS
        assert not unmeasured
        assert not any(verdict.blocks for verdict in verdicts)
        for target in {verdict.target for verdict in verdicts}:
            own = {verdict.state for verdict in verdicts if verdict.target == target}
            assert own != {State.NOT_APPLICABLE}
    if code == 1:
        assert any(verdict.state is State.FAIL and verdict.severity == "block" for verdict in verdicts)


@given(st.lists(VERDICTS), st.booleans())
def test_order_does_not_matter(verdicts: list[Verdict], unmeasured: bool) -> None:
    turned = list(reversed(verdicts))
    assert overall(turned, unmeasured=unmeasured) == overall(verdicts, unmeasured=unmeasured)


@pytest.mark.parametrize(
    ("found", "severity", "on_inconclusive", "blocks"),
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
def test_blocks(found: State, severity: str, on_inconclusive: str, blocks: bool) -> None:
    verdict = replace(PASS, state=found, severity=severity, on_inconclusive=on_inconclusive)
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
