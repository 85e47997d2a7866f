"""Planted faults and healthy sessions, measured in real time, summarised, and judged by the checks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.check import Check
from harness.core.job import Case, Job, JobResult, Options, Status, merge
from harness.core.measurement import Row
from harness.core.suite import SummaryContext
from harness.core.verdict import State, Verdict
from harness.device.counters import Counters, Scheduling
from harness.gates.judge import Subject, judge
from harness.testing.faults import FAULTS
from suites.performance.checks import CHECKS
from suites.performance.measure import measure
from suites.performance.summarise import METRICS, PerformanceSuite
from tests.unit.suites.planted import InProcessBench, PlantedSession, batch

LOOP = {"warm_up_seconds": 1e-3, "seconds": 0.02, "max_seconds": 1.0}
CASES = {
    # No runtime opens the planted model: tests/unit/suites/test_performance_bare.py compares with one.
    "single_stream": {
        **LOOP, "processes": 4, "requests": 2_000, "bare_processes": 1, "bare_seconds": 0.01,
    },
    "varied": {"index": 0, "calls": 6_000, "max_seconds": 10.0, "batch_sizes": [1, 2, 3], "inputs": 8},
}  # fmt: skip
Run = Callable[[PlantedSession, dict[str, np.ndarray]], dict[str, np.ndarray]]


def verdicts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Run], Run]
) -> dict[str, Verdict]:
    """Measure both cases with a fault in `run`, and judge; a fresh process is this one."""
    rows: list[Row] = []
    monkeypatch.setattr(PlantedSession, "run", plant(PlantedSession.run))
    for name, params in CASES.items():
        case = Case(name, data="clean", samples=8, params=params)
        (folder / name).mkdir()
        planned = batch(folder / name, "performance", (case,), {"binds": "1"})
        bench = InProcessBench(planned, case, folder / name, measure)
        samples = merge(measure(bench, case))
        job = Job("cpu", "planted", "float32", "performance", case)
        context = SummaryContext(
            planned.artifact, Options(), "classification", None, lambda *_: None, False, {}
        )
        result = JobResult(job.key, Status.OK, samples=samples)
        rows += [Row(job.key, m) for m in PerformanceSuite().summarise(job, result, context)]
    subject = Subject("cpu", "planted", "float32")
    judgement = judge(rows, (), (subject,), checks=[(check, subject) for check in CHECKS])
    return {verdict.gate: verdict for verdict in judgement.verdicts}


def failed(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {name: verdict.sentence for name, verdict in verdicts.items() if verdict.state is State.FAIL}


def healthy(run: Run) -> Run:
    return run


def one_wrong_answer(run: Run) -> Run:
    made = [0]

    def wrong(session: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made[0] += 1
        return {"y": run(session, feeds)["y"] + np.float32(made[0] % 5_000 == 0)}

    return wrong


def leak(run: Run) -> Run:
    left: list[Any] = []

    def leaking(session: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        left.append(bytearray(b"\1") * 10_000)
        return run(session, feeds)

    return leaking


def stall(run: Run) -> Run:
    """One call in 500 computes for 20 ms more."""
    made = [0]

    def stalling(session: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made[0] += 1
        if made[0] % 500 == 0:
            end_ns = time.perf_counter_ns() + 20_000_000
            while time.perf_counter_ns() < end_ns:
                pass
        return run(session, feeds)

    return stalling


def test_healthy_sessions_fail_no_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = verdicts(tmp_path, monkeypatch, healthy)
    assert set(judged) == {check.name for check in CHECKS}
    assert failed(judged) == {}
    assert State.NOT_RUN not in {verdict.state for verdict in judged.values()}


def test_a_wrong_answer_in_thousands_fails_its_check_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = failed(verdicts(tmp_path, monkeypatch, one_wrong_answer))
    assert set(wrong) == {"same-answer-every-call"}
    assert "a repeated call gave a wrong answer" in wrong["same-answer-every-call"]


def test_a_leak_fails_its_check_is_named_and_is_not_overstated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = verdicts(tmp_path, monkeypatch, leak)
    assert set(failed(judged)) == {"no-memory-growth"}
    verdict = judged["no-memory-growth"]
    assert "leaks memory" in verdict.sentence
    assert " kB a call in " in verdict.sentence
    # The lower bound: above the limit, and not above the 10 kB that leak.
    assert verdict.value is not None
    assert 1_000 < verdict.value <= 10_500


def test_a_planted_stall_fails_its_check_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with nothing else to run: on a busy one, the kernel may explain what was planted."""
    monkeypatch.setattr(Counters, "scheduling", lambda self: Scheduling(0, 0, 0))
    wrong = failed(verdicts(tmp_path, monkeypatch, stall))
    assert set(wrong) == {"no-stalls"}
    assert "calls stall" in wrong["no-stalls"]
    # A process that a busy machine starves makes too few calls for a second stall.
    seen = r"in [2-4] of 4 processes, for longer than the machine kept the process from"
    assert re.search(seen, wrong["no-stalls"])


def test_a_clock_that_runs_slow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, began = time.perf_counter_ns, time.perf_counter_ns()
    monkeypatch.setattr(time, "perf_counter_ns", lambda: began + int(0.8 * (real() - began)))
    wrong = failed(verdicts(tmp_path, monkeypatch, healthy))
    assert set(wrong) == {"clock-keeps-time"}
    assert "the clock of the calls ran 0.2 slow against the raw monotonic clock" in wrong["clock-keeps-time"]


def test_latency_that_grows_with_uptime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that passes with the calls, and by 1 ns where it is read."""
    now_ns = [10**9]

    def clock() -> int:
        now_ns[0] += 1
        return now_ns[0]

    monkeypatch.setattr(time, "perf_counter_ns", clock)

    def growing(run: Run) -> Run:
        made: dict[int, int] = {}

        def grown(session: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            made[id(session)] = made.get(id(session), 0) + 1
            now_ns[0] += int(10_000 * (1 + 0.05 * made[id(session)] / 1_000))
            return run(session, feeds)

        return grown

    wrong = failed(verdicts(tmp_path, monkeypatch, growing))
    assert wrong.keys() >= {"no-growth-with-uptime"}
    assert "the latency grows with uptime" in wrong["no-growth-with-uptime"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_looks_at_a_declared_metric_and_names_faults_of_the_catalogue(check: Check) -> None:
    assert check.gate.metric in METRICS
    assert check.gate.suite == "performance"
    assert set(check.faults) <= {fault.name for fault in FAULTS}
    # The sentence of a failure names the fault's kind.
    for fault in (fault for fault in FAULTS if fault.name in check.faults):
        assert fault.is_named_in(check.failure)
