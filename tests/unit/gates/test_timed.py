"""Gates that are timed side by side: what was measured is what they say, and nothing else makes them pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.core.job import JobKey
from harness.core.verdict import Gate, State, Verdict
from harness.gates.judge import Subject, judge
from harness.gates.relative import Baselines, Refusal
from harness.gates.timed import TimingSummary
from harness.stats import side_by_side
from tests.unit.gates.test_judge import row

SUBJECT = Subject("cpu", "onnxruntime", "int8")
OF = ("g", "cpu", "onnxruntime", "int8")
GATE = Gate(
    "g", "performance", "latency_p50", of="ratio", baseline="accepted", design="side-by-side", maximum=1.05,
)  # fmt: skip


def finding(ratio: float, *, spread: float = 0.002, control: float = 1.0) -> TimingSummary:
    rng = np.random.default_rng(0)
    base, again, new = (c * np.exp(rng.normal(0, spread, 8)) for c in (1e5, 1e5 * control, 1e5 * ratio))
    look = side_by_side.judge(base, again, new, limit=1.05, look=1)
    return TimingSummary("latency_p50", 1.05, "accepted", "this run", look, 8)


def answer(timing: TimingSummary | Refusal | None, subject: Subject = SUBJECT, gate: Gate = GATE) -> Verdict:
    timed = {} if timing is None else {OF: timing}
    # A row that would pass says nothing of it, and neither does one that is missing.
    rows = [row(0.1, metric="latency_p50", suite="performance", case="single_stream")]
    missing = [JobKey("cpu", "onnxruntime", "deploy", "int8", "performance", "offline", 0)]
    (verdict,) = judge(rows, [gate], [subject], missing, Baselines(side_by_side=timed)).verdicts
    return verdict


@pytest.mark.parametrize(
    ("ratio", "spread", "state"),
    [(1.0, 0.002, State.PASS), (1.2, 0.002, State.FAIL), (1.05, 0.005, State.INCONCLUSIVE)],
)
def test_the_last_look_decides(ratio: float, spread: float, state: State) -> None:
    verdict_ = answer(finding(ratio, spread=spread))
    assert verdict_.state is state
    assert verdict_.value == pytest.approx(ratio, rel=0.01)
    assert (verdict_.limit, verdict_.unit, verdict_.n) == (1.05, "x", 8)
    assert verdict_.ci_low < verdict_.value < verdict_.ci_high
    assert verdict_.sentence.startswith("int8 on cpu: latency_p50 of this run against accepted is ")


def test_a_machine_that_cannot_tell_the_base_from_itself_never_fails() -> None:
    verdict_ = answer(finding(1.5, control=1.3))
    assert verdict_.state is State.INCONCLUSIVE
    assert "the base differs from itself by 1.3x" in verdict_.sentence


def test_what_was_not_timed_did_not_run() -> None:
    assert answer(None).state is State.NOT_RUN
    verdict_ = answer(Refusal(State.NOT_RUN, "there is no baseline accepted of cpu"))
    assert (verdict_.state, verdict_.blocks) == (State.NOT_RUN, True)
    assert "latency_p50 was not timed side by side: there is no baseline" in verdict_.sentence
    verdict_ = answer(finding(1.0), replace(SUBJECT, unavailable="no such runtime"))
    assert verdict_.state is State.NOT_RUN


def test_an_emulated_clock_cannot_answer() -> None:
    refusal = Refusal(State.NOT_APPLICABLE, "an emulated clock says nothing")
    assert answer(refusal).state is State.NOT_APPLICABLE
    assert answer(refusal, gate=replace(GATE, required=True)).state is State.NOT_RUN
    released = answer(refusal, replace(SUBJECT, lacks_hardware=True))
    assert released.state is State.NOT_RUN
    assert "a release demands real hardware" in released.sentence


def test_times_of_a_disturbed_machine_are_invalid() -> None:
    verdict_ = answer(
        TimingSummary("latency_p50", 1.05, "accepted", "this run", None, 3, ("it was throttled",) * 9)
    )
    assert verdict_.state is State.INVALID
    assert verdict_.sentence.endswith("9 processes were disturbed, more than were not; it was throttled")
    assert np.isnan(verdict_.value)
