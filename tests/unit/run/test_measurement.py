"""A budget holds for planted durations: lanes in parallel, emulated targets up to 700 times slower."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.core.job import Case, DataRef, Event, JobKey, JobResult, Started, Status
from harness.core.plan import HOST, Plan
from harness.core.suite import CaseContext, SetInfo
from harness.data.sets import PreparedSet
from harness.executors.parallel import Together
from harness.run.budget import Deadline
from harness.run.estimate import LARGEST_STEP, Lane, Remaining
from harness.run.measurement import Lanes, Measurement
from harness.run.plan import PlanInputs, make_plan
from harness.run.prepare import Prepared
from harness.store.cache import Cache
from tests.unit.run.test_plan import READY, Suite, data, target
from tests.unit.run.test_plan import given as plan_inputs

FAMILIES = ("fog", "blur", "noise", "contrast", "pixelate")
CELLS = [(family, severity) for family in FAMILIES for severity in (1, 2, 3)]
EMULATED = ("pi3", "pi4", "pi5")
#: The three emulated targets share the machine with the host and run two batches at once.
LANES: tuple[Lane, ...] = ({HOST: 1, "cpu": 1, "pi3": 2, "pi4": 2, "pi5": 2}, {"board": 1})


class Clock:
    """Moved by the executor."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class TimedSuite(Suite):
    """Cases without data, that take so long on a board and on an emulated one."""

    def __init__(self, name: str, typical_s: tuple[float, float], *cases: str) -> None:
        super().__init__()
        self.name, self._typical_s, self._names = name, typical_s, cases

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        typical_s = self._typical_s[context.emulated]
        return () if context.reference else tuple(Case(name, typical_s=typical_s) for name in self._names)


@dataclass
class Simulation:
    """Runs lanes on a clock of its own: every job takes `job_s`, every worker `start_s` to start."""

    clock: Clock
    job_s: Callable[[JobKey, int], float]
    start_s: Callable[[str], float] = lambda target: 0.5
    order: list[JobKey] = field(default_factory=list)

    def __call__(
        self, lanes: Lanes, limit_s: Callable[[], float] | None = None
    ) -> Generator[Event, None, None]:
        kill_s = float("inf") if limit_s is None else self.clock.now_s + limit_s()
        events: list[tuple[float, int, Event]] = []
        for lane in lanes:
            events += self._lane(lane)
        heapq.heapify(events)
        while events:
            at_s, _, event = heapq.heappop(events)
            if at_s > kill_s:
                self.clock.now_s = kill_s
                return
            self.clock.now_s = at_s
            if isinstance(event, JobResult):
                self.order.append(event.key)
            yield event

    def _lane(self, lane: Any) -> Iterator[tuple[float, int, Event]]:
        at_s = self.clock.now_s
        for executor, batches in lane:
            free = [at_s] * executor.parallel_batches
            for batch in batches:
                slot = free.index(min(free))
                now_s = free[slot] + self.start_s(batch.target)
                for job in batch.jobs:
                    yield now_s, id(job.key), Started(job.key)
                    took_s = self.job_s(job.key, job.case.samples)
                    now_s += took_s
                    yield now_s, id(job.key), JobResult(job.key, Status.OK, duration_ns=round(took_s * 1e9))
                free[slot] = now_s
            at_s = max(free)


class Screen:
    """Notes the estimate of the whole duration after every job."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.totals_s: list[tuple[float, float]] = []  # estimated, elapsed
        self.notes: list[str] = []

    def stage(self, text: str) -> None:
        self.notes.append(text)

    note = stage

    def begin(self, remaining: Remaining) -> None:
        self._remaining, self._began_s = remaining, remaining.began_s
        self._total()

    def event(self, event: Event) -> None:
        if isinstance(event, JobResult):
            self._remaining.end(event)
            if self._remaining.seconds():
                self._total()

    def trends(self, key: JobKey, lines: Callable[[], Sequence[str]]) -> None:
        self.notes += lines()

    def _total(self) -> None:
        elapsed_s = self._clock.now_s - self._began_s
        self.totals_s.append((elapsed_s + self._remaining.left_s(), elapsed_s))

    def end(self) -> None:
        pass


@dataclass
class Folder:
    """A run's folder that remembers its plan."""

    plan: Plan | None = None

    def facts(self) -> Any:
        return SimpleNamespace(results={}, parts={})

    def replace_plan(self, plan: Plan) -> None:
        self.plan = plan


@dataclass
class Measured:
    """What a simulated run came to."""

    plan: Plan
    done: list[JobKey]
    seconds: float
    screen: Screen
    stored: Plan | None


def inputs(samples: int = 1000) -> PlanInputs:
    sets = tuple(
        PreparedSet(
            SetInfo(f"{family}_{severity}", family, severity, samples, str),
            DataRef({"x": "0" * 64}, samples, 8 * samples),
            lambda rows: DataRef({"x": "1" * 64}, rows, 8 * rows),
        )
        for family, severity in [("clean", 0), *CELLS]
    )
    targets = (target("cpu", "onnxruntime"), target("board", "onnxruntime"),
               *(replace(target(name, "onnxruntime", max_samples=64), executor={"kind": "emulated"})
                 for name in EMULATED))  # fmt: skip
    return plan_inputs(
        targets=targets,
        suites={
            "performance": TimedSuite("performance", (3.4, 1.0), "single_stream"), "accuracy": Suite(),
            "reliability": TimedSuite("reliability", (0.25, 5.0), "memory", "threads"),
        },
        available={(place, "onnxruntime"): READY for place in (HOST, *(t.name for t in targets))},
        data=replace(data(), sets=sets),
    )  # fmt: skip


def measure(
    tmp_path: Path, budget_s: float, job_s: Callable[[JobKey, int], float], *, samples: int = 1000,
    start_s: Callable[[str], float] = lambda name: 0.5,
) -> Measured:  # fmt: skip
    clock = Clock()
    made = inputs(samples)
    plan = make_plan(made)
    parallel = {name: n for lane in LANES for name, n in lane.items()}
    executors = {name: SimpleNamespace(parallel_batches=n) for name, n in parallel.items()}
    prepared = Prepared(
        plan, {"emulated": list(EMULATED)}, None, {}, (), cast("Any", executors), (), Cache(tmp_path), {},
        LANES, 0.0, made, Deadline.start(budget_s, clock),
    )  # fmt: skip
    simulation, screen, folder, began_s = Simulation(clock, job_s, start_s), Screen(clock), Folder(), clock()
    journal = cast("Any", SimpleNamespace(append=lambda event: None))
    measurement = Measurement(cast("Any", folder), prepared, journal, screen, simulation)
    measured = measurement.measure(plan)
    return Measured(measured, simulation.order, clock() - began_s, screen, folder.plan)


def durations(
    *, sample_s: float = 1e-4, slower: float = 1.0, emulated: float = 200.0
) -> Callable[[JobKey, int], float]:
    """Durations of every job: samples, or a fixed time; `emulated` times longer under emulation."""

    def job_s(key: JobKey, samples: int) -> float:
        fixed = {"performance": 3.0, "reliability": 0.3}.get(key.suite, 0.02)
        if key.target not in EMULATED:
            return slower * (fixed + sample_s * samples)
        variant = 3.0 if key.variant == "float32" else 1.0
        return slower * variant * (fixed / 3 if key.suite == "performance" else emulated * sample_s * samples)

    return job_s


def missing(measured: Measured) -> set[JobKey]:
    return {job.key for batch in measured.plan.batches for job in batch.jobs} - set(measured.done)


def cells_of(plan: Plan, name: str) -> set[tuple[str, int]]:
    jobs = [job.key for batch in plan.batches for job in batch.jobs]
    return {(key.case, key.severity) for key in jobs if key.severity and key.target == name}


@pytest.mark.parametrize("samples", [64, 5000])
@pytest.mark.parametrize("budget_s", [30.0, 240.0])
@pytest.mark.parametrize("slower", [0.3, 5.0])
@pytest.mark.parametrize("emulated", [70, 700])
def test_the_budget_is_kept_and_the_rest_is_reported(
    tmp_path: Path, emulated: float, slower: float, budget_s: float, samples: int
) -> None:
    measured = measure(
        tmp_path, budget_s, durations(slower=slower, emulated=emulated),
        samples=samples, start_s=lambda name: 4.0 if name in EMULATED else 0.5,
    )  # fmt: skip
    assert measured.seconds <= 1.2 * budget_s
    left = missing(measured)
    assert bool(left) == bool(measured.plan.stopped)
    if left:
        assert f"the budget of {budget_s:g} s was used up" in measured.plan.stopped
        assert measured.plan.stopped in measured.screen.notes[-1]
        assert measured.stored == measured.plan
    totals_s = measured.screen.totals_s
    for (before_s, _), (after_s, elapsed_s) in pairwise(totals_s):
        assert before_s / (1.001 * LARGEST_STEP) <= after_s <= max(before_s * 1.001 * LARGEST_STEP, elapsed_s)
    assert max(total_s for total_s, _ in totals_s) <= 1.1 * budget_s


@pytest.mark.parametrize("emulated", [70, 200, 700])
def test_a_budget_that_has_time_for_everything_measures_everything(tmp_path: Path, emulated: float) -> None:
    measured = measure(tmp_path, 7200, durations(emulated=emulated))
    assert not missing(measured)
    assert measured.plan.share == 1.0
    assert cells_of(measured.plan, "pi4") == set(CELLS)


@pytest.mark.parametrize("emulated", [70, 200, 700])
def test_a_budget_is_used_for_the_same_cells_of_every_target(tmp_path: Path, emulated: float) -> None:
    budget_s = {70: 60.0, 200: 120.0, 700: 300.0}[emulated]
    measured = measure(tmp_path, budget_s, durations(emulated=emulated))
    assert not missing(measured)
    assert measured.plan.share < 1.0
    cells = {name: cells_of(measured.plan, name) for name in ("cpu", "board", *EMULATED)}
    assert len(set(map(frozenset, cells.values()))) == 1
    assert 1 <= len(cells["pi4"]) < len(CELLS)
    assert measured.seconds >= 0.5 * budget_s


def test_what_every_suite_needs_comes_first_on_all_targets(tmp_path: Path) -> None:
    measured = measure(tmp_path, 240, durations())
    first_cell = next(index for index, key in enumerate(measured.done) if key.severity)
    assert not any(not key.severity for key in measured.done[first_cell:])
    assert {key.target for key in measured.done[:first_cell]} == {HOST, "cpu", "board", *EMULATED}
    shared = [key for key in measured.done if key.target in EMULATED and not key.severity]
    groups = [(key.target, key.suite) for key in shared]
    assert len(list(groupby(groups))) == len(set(groups)) == 9


def test_a_budget_that_is_far_too_short_ends_in_time_with_something_of_every_target(tmp_path: Path) -> None:
    measured = measure(tmp_path, 60, durations(slower=5, emulated=700))
    assert 60 <= measured.seconds <= 72
    assert measured.plan.stopped == "the budget of 60 s was used up"
    assert {key.target for key in measured.done} == {HOST, "cpu", "board", *EMULATED}


def test_large_cases_that_never_ran_are_tried_first(tmp_path: Path) -> None:
    """A sample takes 20 ms where 0.1 ms is guessed: 50 000 of them would take a quarter of an hour."""
    measured = measure(tmp_path, 240, durations(sample_s=0.02, emulated=2), samples=50_000)
    assert not missing(measured)
    assert measured.seconds <= 240
    samples = {job.case.samples for b in measured.plan.batches for job in b.jobs if b.target == "cpu"} - {0}
    assert len(samples) == 1
    assert 64 < samples.pop() < 10_000


def test_the_trial_of_a_case_is_not_journaled(tmp_path: Path) -> None:
    measured = measure(tmp_path, 240, durations(sample_s=0.02, emulated=2), samples=50_000)
    keys = [key for key in measured.done if key.target == "cpu" and key.suite == "accuracy"]
    tried = [key for key in keys if keys.count(key) == 2]
    assert tried
    assert measured.screen.notes[0].startswith("trying ")


def test_without_a_budget_everything_runs_in_one_pass(tmp_path: Path) -> None:
    clock = Clock()
    made = inputs()
    plan = make_plan(made)
    executors = {name: SimpleNamespace(parallel_batches=n) for lane in LANES for name, n in lane.items()}
    prepared = Prepared(
        plan, {"emulated": []}, None, {}, (), cast("Any", executors), (), Cache(tmp_path), {}, LANES, 0.0
    )
    simulation, folder = Simulation(clock, durations()), Folder()
    journal = cast("Any", SimpleNamespace(append=lambda event: None))
    measured = Measurement(cast("Any", folder), prepared, journal, Screen(clock), simulation).measure(plan)
    assert measured == plan
    assert folder.plan is None
    assert {job.key for b in plan.batches for job in b.jobs} == set(simulation.order)


def test_a_resumed_run_is_no_longer_stopped(tmp_path: Path) -> None:
    made = inputs()
    plan = replace(make_plan(made), stopped="the budget of 60 s was used up")
    executors = {name: SimpleNamespace(parallel_batches=n) for lane in LANES for name, n in lane.items()}
    prepared = Prepared(
        plan, {"emulated": []}, None, {}, (), cast("Any", executors), (), Cache(tmp_path), {}, LANES, 0.0
    )
    clock, folder = Clock(), Folder()
    journal = cast("Any", SimpleNamespace(append=lambda event: None))
    simulation = Simulation(clock, durations())
    measured = Measurement(cast("Any", folder), prepared, journal, Screen(clock), simulation).measure(plan)
    assert measured.stopped == ""
    assert folder.plan == measured


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_what_is_not_timed_runs_first_on_all_cores_and_nothing_timed_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("harness.run.measurement.CORES", cores)
    plan = make_plan(inputs())
    plan = replace(plan, batches=tuple(
        replace(batch, cases=tuple(replace(case, timed=batch.suite != "accuracy") for case in batch.cases))
        for batch in plan.batches
    ))  # fmt: skip
    parallel = {name: n for lane in LANES for name, n in lane.items()}
    executors = {name: SimpleNamespace(parallel_batches=n, name=name) for name, n in parallel.items()}
    prepared = SimpleNamespace(executors=executors, lanes=LANES)
    shared, board = Measurement(cast("Any", None), cast("Any", prepared), *[cast("Any", None)] * 2).lanes(
        plan
    )
    (first, together), *rest = shared
    keys = [(batch.target, batch.variant, batch.suite) for _, batches in shared for batch in batches]
    assert sorted(keys) == sorted(
        (batch.target, batch.variant, batch.suite) for batch in plan.batches if batch.target != "board"
    )
    assert together[0].target == HOST, "what is interrupted has been compared with the reference"
    if cores == 1:
        assert {batch.target for batch in together} == {first.name}  # type: ignore[attr-defined]
    else:
        assert isinstance(first, Together)
        assert {batch.target for batch in together} == {HOST, "cpu"}
        assert first.parallel_batches == 2
        assert not any(case.timed for batch in together for case in batch.cases)
        # An emulated target, which runs two batches at once, has the cores for itself.
        assert {batch.target for _, batches in rest for batch in batches} == {"cpu", *EMULATED}
        assert all(case.timed for e, bs in rest if e.name == "cpu" for b in bs for case in b.cases)  # type: ignore[attr-defined]
    assert [executor.name for executor, _ in board] == ["board"]  # type: ignore[attr-defined]
