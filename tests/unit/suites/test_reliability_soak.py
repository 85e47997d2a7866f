"""A soak on a planted clock: each fault is named by its check, and a healthy one raises nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import TensorSpec
from harness.core.errors import BackendError
from harness.core.job import Case, Samples, Status, merge
from harness.core.measurement import Measurement
from harness.core.profile import Profile
from harness.core.suite import CaseContext, SetInfo
from harness.device import sensors
from suites.reliability import cases as plan
from suites.reliability import soak, soak_crashes, soak_parts, soak_rows
from suites.reliability.checks import CHECKS
from suites.reliability.soak_slices import Slices
from tests.unit.suites.planted import ROWS, InProcessBench, StepClock, batch

SECONDS = 20.0
CALL_NS = 8_000_000
SOAK_CHECKS = {check.name: check.gate for check in CHECKS if check.gate.cases == ("soak",)}


def case_of(seconds: float = SECONDS, *, emulated: bool = False) -> Case:
    sets = (SetInfo("clean", "clean", 0, ROWS, lambda n: ""),)
    context = CaseContext(
        "float32", False, False, "regression", {}, sets, None, (TensorSpec("x", (None, 4), "float32"),),
        emulated=emulated, profile=Profile.SOAK, soak_s=seconds,
    )  # fmt: skip
    (case,) = [case for case in plan.cases(context) if case.name == plan.SOAK]
    return case


class Machine:
    """Time passes in calls alone; memory and open files are what a fault makes of them."""

    def __init__(self, fault: str = "") -> None:
        self.clock, self.fault = StepClock(), fault
        self.calls = self.opened = 0
        self.random = np.random.default_rng(0)

    def after_call(self, of_session: int) -> bool:
        """Let the time of a call pass; returns whether its answer is wrong."""
        self.calls += 1
        took_ns = CALL_NS * self.random.normal(1, 0.02)
        if self.fault == "uptime":
            took_ns *= 1 + 0.2 * of_session * CALL_NS / (SECONDS * 1e9)
        if self.fault == "heat":
            took_ns *= 1 + 0.5 * self.clock.now_ns / (SECONDS * 1e9)
        if self.fault == "stall" and self.calls % 100 == 0:
            took_ns += 15 * CALL_NS
        self.clock.now_ns += int(took_ns)
        if self.fault == "fails" and self.calls % 300 == 0:
            raise BackendError("planted: out of handles")
        return self.fault == "wrong" and self.calls % 100 == 0

    def memory_byte(self) -> float:
        noise = float(self.random.integers(0, 20)) * 4096
        return 1e8 + noise + (10_000.0 * self.calls if self.fault == "leak" else 0.0)


class Session:
    def __init__(self, real: Any, machine: Machine) -> None:
        self.real, self.machine, self.calls = real, machine, 0

    def run(self, feeds: Any) -> Any:
        self.calls += 1
        outputs = self.real.run(feeds)
        is_wrong = self.machine.after_call(self.calls)
        return {name: y + np.float32(1) for name, y in outputs.items()} if is_wrong else outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __enter__(self) -> Session:
        self.real.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.real.__exit__(*exc)


Measure = Callable[[Machine, Case], list[Samples]]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measure]:
    benches: list[InProcessBench] = []

    def measure(machine: Machine, case: Case) -> list[Samples]:
        folder = tmp_path / str(len(benches))
        folder.mkdir()
        bench = InProcessBench(batch(folder, "reliability", (case,)), case, folder)
        benches.append(bench)
        bench.clock = machine.clock
        opens = bench.open

        def open_session(*arguments: Any, **options: Any) -> Any:
            machine.opened += 1
            return Session(opens(*arguments, **options), machine)

        bench.open = open_session  # type: ignore[method-assign]
        files = {"descriptors": lambda: 10.0 + machine.opened * (machine.fault == "descriptors")}
        planted = {**files, "rss_byte": machine.memory_byte, "threads": lambda: 3.0}
        for name, source in planted.items():
            monkeypatch.setitem(sensors.PROCESS, name, source)
        monkeypatch.setattr(time, "time_ns", lambda: 10**18 + machine.clock.now_ns)
        return list(soak.soak(bench, case))

    yield measure
    for bench in benches:
        bench.close()


def rows_of(parts: list[Samples], *, emulated: bool = False) -> dict[str, Measurement]:
    samples = merge(parts)
    rows = [*soak_rows.rows(samples, 0.05, emulated=emulated), soak_crashes.row(samples)]
    return {row.metric: row for row in rows}


def failed(rows: dict[str, Measurement]) -> set[str]:
    for gate in SOAK_CHECKS.values():
        assert rows[gate.metric].status is Status.OK, rows[gate.metric].reason
    return {
        name for name, gate in SOAK_CHECKS.items() if not rows[gate.metric].value <= float(gate.maximum or 0)
    }


@pytest.mark.parametrize(
    ("fault", "check", "says"),
    [
        ("leak", "soak-no-memory-growth", "memory grows by"),
        ("stall", "soak-no-stalls", "about one in"),
        ("uptime", "soak-no-growth-with-uptime", "with uptime at least"),
        ("wrong", "soak-same-answer", "answers that were compared are wrong, as in calls"),
        ("fails", "soak-no-error", "planted: out of handles"),
        ("descriptors", "soak-no-descriptor-growth", "leaves 1 open files behind"),
    ],
)
def test_a_planted_fault_is_named_by_its_check_alone(
    measured: Measure, fault: str, check: str, says: str
) -> None:
    rows = rows_of(measured(Machine(fault), case_of()))
    assert failed(rows) == {check}
    assert says in rows[SOAK_CHECKS[check].metric].reason


def test_a_healthy_soak_raises_nothing_and_says_what_no_failure_proves(measured: Measure) -> None:
    rows = rows_of(measured(Machine(), case_of()))
    assert not failed(rows)
    calls = rows["soak_errors"].n
    assert calls > 1_500
    assert rows["soak_error_share"].ci_high == pytest.approx(1 - 0.05 ** (1 / calls))
    assert f"no error in {calls:,}: at most one in" in rows["soak_errors"].reason
    assert "a leak of less than" in rows["soak_memory_growth_at_least"].reason
    for name in ("soak_latency_p50_trend", "soak_memory_trend"):
        assert abs(rows[name].value) < rows[name].ci_high - rows[name].ci_low


def test_a_machine_that_becomes_slower_is_no_growth_with_uptime(measured: Measure) -> None:
    rows = rows_of(measured(Machine("heat"), case_of()))
    assert not failed(rows)
    assert rows["soak_time_growth"].value == pytest.approx(0.5, abs=0.1)
    assert rows["soak_latency_p50_trend"].ci_low > 0


def test_what_is_left_makes_one_series_with_the_gap_and_the_uptime_of_each_process(
    measured: Measure,
) -> None:
    case, machine = case_of(), Machine()
    before = measured(machine, case)[:17]  # the rest was lost
    machine.clock.now_ns += 60_000_000_000
    rest = soak_parts.rest(case, merge(before))
    after = measured(machine, rest)
    whole = Slices.read(merge([*before, *after]))
    assert whole["elapsed_ns"].sum() / 1e9 == pytest.approx(SECONDS, rel=0.02)
    assert (np.diff(whole.hours) > 0).all()
    assert len(whole.processes) == 2
    assert whole["uptime_ns"][17] < whole["uptime_ns"][16]
    assert whole.gaps_s[0] > 60
    rows = rows_of([*before, *after])
    assert not failed(rows)
    assert "in 2 processes, with gaps of" in rows["soak_time"].reason
    assert rest.params["seconds"] == pytest.approx(SECONDS - 17 * 0.5, rel=0.05)
    done = soak_parts.rest(case, merge([*before, *after]))
    assert done.params["seconds"] == 0
    assert measured(machine, done) == []


def test_answers_of_two_processes_are_compared(measured: Measure) -> None:
    parts = measured(Machine(), case_of(2.0))
    slices = parts[0].arrays["slices"] + np.eye(1, parts[0].arrays["slices"].shape[1])  # another process
    golden = parts[0].arrays["golden"] + np.uint64(1)
    other = replace(parts[0], arrays={**parts[0].arrays, "slices": slices, "golden": golden})
    rows = rows_of([*parts, other])
    assert rows["soak_wrong_answers"].value == 1
    assert rows["soak_wrong_answers"].reason.startswith("the first answers of 2 processes differ")


def test_an_emulated_device_is_asked_for_answers_alone(measured: Measure) -> None:
    rows = rows_of(measured(Machine("leak"), case_of(emulated=True)), emulated=True)
    assert rows["soak_errors"].status is rows["soak_wrong_answers"].status is Status.OK
    for name in ("soak_latency_p50", "soak_memory_growth_at_least", "soak_stalls_at_least"):
        assert rows[name].status is Status.INVALID
        assert rows[name].reason.startswith("emulated")


def test_a_short_soak_says_that_it_is_too_short(measured: Measure) -> None:
    rows = rows_of(measured(Machine(), case_of(1.0)))
    assert rows["soak_latency_p50_trend"].status is Status.SKIPPED
    assert rows["soak_latency_p50_trend"].reason == "4 slices, a trend needs 8: give a longer --duration"
    (nothing,) = soak_rows.rows(Samples(), 0.05, emulated=False)
    assert nothing.status is Status.SKIPPED


def test_a_line_a_metric_with_its_trend_and_the_time_left(measured: Measure) -> None:
    case = case_of()
    lines = soak_parts.progress(case, merge(measured(Machine(), case)[:20]))
    assert lines[0].startswith("10 s left of 20 s; ")
    assert [line.split("  ")[0].strip() for line in lines[1:4]] == ["latency p50", "latency p99", "memory"]
    assert "%/h [" in lines[1]


def test_other_profiles_have_no_soak() -> None:
    sets = (SetInfo("clean", "clean", 0, ROWS, lambda n: ""),)
    inputs = (TensorSpec("x", (None, 4), "float32"),)
    for profile in (Profile.QUICK, Profile.STANDARD):
        context = CaseContext("f", False, False, "regression", {}, sets, None, inputs, profile=profile)
        assert plan.SOAK not in {case.name for case in plan.cases(context)}
