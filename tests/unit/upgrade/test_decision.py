"""The answer to an upgrade: a ladder, the margin as a gate has it, and the order of exit codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.verdict import State
from harness.stats import paired
from harness.stats.intervals import Interval
from harness.upgrade.decision import Decision, Failure, Findings, decide, overall
from harness.upgrade.targets import NEW, OLD

CRASH = Failure("import", "the probe was killed by SIGILL")
STATES = st.sampled_from([None, State.PASS, State.FAIL, State.INCONCLUSIVE, State.INVALID])


def compared(old_right: list[bool], new_right: list[bool], latency: State | None = State.PASS) -> Findings:
    """Findings as the accuracy suite would make them of right and wrong answers."""
    old, new = np.array(old_right), np.array(new_right)
    flips = paired.flips(old, new)
    loss = Interval(100 * flips.loss.value, 100 * flips.loss.low, 100 * flips.loss.high, flips.n)
    return Findings(
        bit_exact=0.9, samples=flips.n, flips=int((old != new).sum()), loss_pt=loss,
        harmful=int((old & ~new).sum()), beneficial=int((~old & new).sum()), latency=latency,
        latency_why="the interval straddles the limit",
    )  # fmt: skip


def right(n: int, *wrong: int) -> list[bool]:
    return [index not in wrong for index in range(n)]


def test_equal_to_the_last_bit_is_the_same() -> None:
    equal = replace(compared(right(10), right(10)), bit_exact=1.0)
    assert decide(equal, 0.5) == (Decision.SAME, "")
    assert decide(replace(equal, latency=None), 0.5) == (Decision.SAME, "")  # an emulated clock


@pytest.mark.parametrize(
    ("n", "wrong", "decision"),
    [
        (800, 0, Decision.WITHIN_MARGIN),  # bound 0.34 pt
        (800, 1, Decision.UNDECIDED),  # bound 0.56 pt
        (64, 0, Decision.UNDECIDED),  # bound 4.1 pt
        (800, 16, Decision.WORSE),  # 2 pt
    ],
)
def test_the_margin_applies_to_the_whole_interval(n: int, wrong: int, decision: Decision) -> None:
    decided, why = decide(compared(right(n), right(n, *range(wrong))), 0.5)
    assert decided is decision
    assert bool(why) == (decision is not Decision.WITHIN_MARGIN)


def test_undecided_says_how_many_samples_would_do() -> None:
    _, why = decide(compared(right(64), right(64)), 0.5)
    assert (
        why
        == "0.00 [-4.06, 4.06] pt lost, 0.5 pt are allowed: 64 samples do not decide, about 539 would decide"
    )


def test_what_no_loss_is_known_of_is_undecided() -> None:
    findings = Findings(bit_exact=0.5, samples=10, latency=State.PASS)
    assert decide(findings, 0.5)[0] is Decision.UNDECIDED


def test_slower_and_undecided_times() -> None:
    equal = replace(compared(right(10), right(10)), bit_exact=1.0)
    assert decide(replace(equal, latency=State.FAIL), 0.5)[0] is Decision.SLOWER
    assert decide(replace(equal, latency=State.INCONCLUSIVE), 0.5) == (
        Decision.UNDECIDED, "the interval straddles the limit",
    )  # fmt: skip
    assert decide(replace(equal, latency=State.INVALID, latency_why="disturbed"), 0.5) == (
        Decision.NOT_COMPARED, "disturbed",
    )  # fmt: skip


@given(STATES, st.floats(0, 1), st.integers(1, 50))
def test_what_does_not_run_is_never_a_pass(latency: State | None, bit_exact: float, wrong: int) -> None:
    findings = replace(compared(right(50), right(50, *range(wrong)), latency), bit_exact=bit_exact)
    assert decide(replace(findings, failures={NEW: CRASH, OLD: CRASH}), 0.5) == (
        Decision.BLOCKED,
        CRASH.reason,
    )
    assert decide(replace(findings, failures={NEW: CRASH}), 0.5)[0] is Decision.BLOCKED
    assert decide(replace(findings, failures={OLD: CRASH}), 0.5)[0] is Decision.NOT_COMPARED
    assert decide(replace(findings, incomparable="other inputs"), 0.5) == (
        Decision.NOT_COMPARED,
        "other inputs",
    )


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
    STATES, st.floats(0.1, 50), st.floats(1, 2),
)  # fmt: skip
def test_a_wider_margin_is_never_stricter(
    pairs: list[tuple[bool, bool]], latency: State | None, margin: float, factor: float
) -> None:
    old, new = (list(side) for side in zip(*pairs, strict=True))
    findings = compared(old, new, latency)
    first, wider = decide(findings, margin)[0], decide(findings, factor * margin)[0]
    if first is Decision.WITHIN_MARGIN:
        assert wider is Decision.WITHIN_MARGIN
    if wider is Decision.WORSE:
        assert first is Decision.WORSE


def test_exit_codes_come_in_the_house_order() -> None:
    for decisions, state, code in (
        ((Decision.SAME, Decision.WITHIN_MARGIN), State.PASS, 0),
        ((Decision.SAME, Decision.UNDECIDED), State.INCONCLUSIVE, 4),
        ((Decision.UNDECIDED, Decision.NOT_COMPARED), State.NOT_RUN, 3),
        ((Decision.NOT_COMPARED, Decision.SLOWER), State.FAIL, 1),
        ((Decision.SAME, Decision.BLOCKED), State.FAIL, 1),
        ((Decision.WORSE,), State.FAIL, 1),
        ((), State.NOT_RUN, 3),
    ):
        assert overall(decisions) == (state, code)
