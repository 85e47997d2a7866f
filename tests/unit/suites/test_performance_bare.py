"""A backend beside the runtime that it loads: on a clock and a memory that only calls move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.cause import Cause, Reason
from harness.core.contracts import BareModel, Unsupported
from harness.core.job import Case, Samples, Status, merge
from harness.core.measurement import Measurement
from harness.core.preprocess import Feeds
from harness.device import environment
from suites.performance import over_bare
from suites.performance.bare import BLOCK_NS, FEWEST_TURNS, Opened, alternate
from suites.performance.checks import CHECKS
from suites.performance.measure import measure
from tests.unit.suites.planted import ROWS, InProcessBench, PlantedSession, StepClock, batch

PARAMS = {
    "warm_up_seconds": 1e-6, "seconds": 1e-5, "max_seconds": 1.0, "processes": 4, "requests": 10,
    "bare_processes": 3, "bare_seconds": 0.005,
}  # fmt: skip
CALL_NS, LOAD_NS, FIRST_NS, MEMORY_BYTE = 100_000, 8_000_000, 1_000_000, 3_000_000
LIMITS = {check.gate.metric: check.gate.maximum for check in CHECKS if "over_bare" in check.gate.metric}


@dataclass
class Machine:
    """What a call, a load and a first call add: time on the clock, the wait for a core in it, memory."""

    clock: StepClock = field(default_factory=StepClock)
    peak_byte: int = 50_000_000
    waited_ns: int = 0

    def spend(self, time_ns: float, memory_byte: float = 0.0, waited_ns: float = 0.0) -> None:
        self.clock.now_ns += int(time_ns)
        self.waited_ns += int(waited_ns)
        self.peak_byte += int(memory_byte)


@dataclass
class Slower:
    """What the backend takes beyond the runtime; the wait is part of the load."""

    call: float = 0.0
    batch: float = 0.0
    load_ns: float = 0.0
    first_ns: float = 0.0
    memory_byte: float = 0.0
    waited_ns: float = 0.0


@dataclass
class Bare:
    """The runtime itself."""

    machine: Machine
    opened_calls: int = 0

    def run(self, feeds: Feeds) -> list[Any]:
        self.machine.spend(CALL_NS + (FIRST_NS if not self.opened_calls else 0))
        self.opened_calls += 1
        return [feeds["x"]]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        return lambda: self.run(feeds)


def measured(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    slower: Slower,
    open_bare: Callable[[], BareModel] | None = None,
    extra: dict[str, str] | None = None,
    **params: Any,
) -> Samples:
    machine = Machine()
    case = Case("single_stream", data="clean", samples=ROWS, params={**PARAMS, **params})
    bench = InProcessBench(
        batch(folder, "performance", (case,), {"binds": "1", **(extra or {})}), case, folder, measure
    )
    bench.clock = machine.clock
    honest, plain_open, calls = PlantedSession.run, InProcessBench.open, dict[int, int]()

    def run(session: PlantedSession, feeds: Feeds) -> Any:
        calls[id(session)] = calls.get(id(session), 0) + 1
        first_ns = FIRST_NS + slower.first_ns if calls[id(session)] == 1 else 0.0
        more = slower.call if len(feeds["x"]) == 1 else slower.batch
        machine.spend(CALL_NS * (1 + more) + first_ns)
        return honest(session, feeds)

    def opened(*arguments: Any, **options: Any) -> Any:
        machine.spend(LOAD_NS + slower.load_ns, MEMORY_BYTE + slower.memory_byte, slower.waited_ns)
        session = plain_open(*arguments, **options)
        calls.pop(id(session), None)
        return session

    def alone() -> Bare:
        machine.spend(LOAD_NS, MEMORY_BYTE)
        return Bare(machine)

    monkeypatch.setattr(PlantedSession, "run", run)
    monkeypatch.setattr(InProcessBench, "open", opened)
    monkeypatch.setattr(bench, "open_bare", open_bare or alone)
    monkeypatch.setattr(environment, "reset_peak_memory", lambda: True)
    monkeypatch.setattr(environment, "peak_memory_byte", lambda: machine.peak_byte)
    monkeypatch.setattr(environment, "thread_waited_ns", lambda: machine.waited_ns)
    monkeypatch.setattr(environment, "scheduling", lambda: {"ran_ns": 1, "waited_ns": machine.waited_ns})
    return merge(measure(bench, case))


def rows(samples: Samples, untimely: Reason | None = None) -> dict[str, Measurement]:
    return {row.metric: row for row in over_bare.over_bare_rows(samples, 1_000, untimely)}


def beyond(made: dict[str, Measurement]) -> set[str]:
    return {name for name, maximum in LIMITS.items() if made[name].value > maximum}


def test_a_backend_that_adds_nothing_is_at_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = measured(tmp_path, monkeypatch, Slower())
    assert samples.arrays["bare_calls"].shape == (3,)
    assert samples.arrays["backend_opened"].shape == (3, 7)
    made = rows(samples)
    assert set(made) == {f"{what}_over_bare{end}" for what in over_bare.UNITS for end in over_bare.ENDS}
    assert made["latency_over_bare_at_least"].value == pytest.approx(1.0, abs=1e-3)
    assert made["load_over_bare_at_least"].value == pytest.approx(-0.25 * LOAD_NS)
    assert made["first_call_over_bare_at_least"].value == pytest.approx(-0.25 * (FIRST_NS + CALL_NS))
    assert made["peak_over_bare_at_least"].value == pytest.approx(-0.25 * MEMORY_BYTE - 1_000)
    assert beyond(made) == set()


@pytest.mark.parametrize(
    ("slower", "metric", "value"),
    [
        (Slower(call=0.1), "latency_over_bare_at_least", 1.1),
        (Slower(batch=0.1), "batch_latency_over_bare_at_least", 1.1),
        (Slower(load_ns=3e8), "load_over_bare_at_least", 3e8 - 0.25 * LOAD_NS),
        (Slower(first_ns=2e8), "first_call_over_bare_at_least", 2e8 - 0.25 * (FIRST_NS + CALL_NS)),
        (Slower(memory_byte=1e8), "peak_over_bare_at_least", 1e8 - 0.25 * MEMORY_BYTE - 1_000),
    ],
)
def test_what_a_backend_adds_is_measured_and_above_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: Slower, metric: str, value: float
) -> None:
    made = rows(measured(tmp_path, monkeypatch, slower))
    assert made[metric].value == pytest.approx(value, rel=2e-3)
    assert beyond(made) == {metric}
    assert "in the runtime alone, in 3 processes" in made[metric].reason


def test_a_file_with_a_fixed_batch_has_no_larger_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = measured(tmp_path, monkeypatch, Slower(), extra={"batch": "4"})
    made = rows(samples)
    assert made["latency_over_bare_at_least"].value == pytest.approx(1.0, abs=1e-3)
    assert made["batch_latency_over_bare_at_least"].status is Status.SKIPPED
    assert made["batch_latency_over_bare_at_least"].reason == "the file takes one number of rows"


def test_a_runtime_that_refuses_a_batch_leaves_out_that_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Bare.run

    def one_row(bare: Bare, feeds: Feeds) -> list[Any]:
        if len(feeds["x"]) > 1:
            raise RuntimeError("one row only")
        return plain(bare, feeds)

    monkeypatch.setattr(Bare, "run", one_row)
    made = rows(measured(tmp_path, monkeypatch, Slower()))
    assert made["latency_over_bare_at_least"].status is Status.OK
    assert made["batch_latency_over_bare"].reason.startswith("8 rows are refused: RuntimeError: one row only")


def test_a_wait_for_a_core_is_not_the_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows(measured(tmp_path, monkeypatch, Slower(load_ns=3e8, waited_ns=3e8)))
    assert beyond(made) == set()


def test_what_the_runtime_waited_for_a_core_is_not_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = measured(tmp_path, monkeypatch, Slower(load_ns=1e8))
    load_ns, waited_here_ns = (Opened._fields.index(name) for name in ("load_ns", "load_waited_here_ns"))
    samples.arrays["bare_opened"][:, load_ns] += 10**9
    assert beyond(rows(samples)) == set()
    samples.arrays["bare_opened"][:, waited_here_ns] += 10**9
    assert beyond(rows(samples)) == {"load_over_bare_at_least"}


def test_one_process_that_was_slow_by_chance_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = measured(tmp_path, monkeypatch, Slower())
    count = int(samples.arrays["bare_calls"][0])
    samples.arrays["beside_bare_ns"][:count] *= 2
    samples.arrays["backend_opened"][1, 0] += 10**9
    made = rows(samples)
    assert beyond(made) == set()
    assert made["latency_over_bare"].ci_high == pytest.approx(2.0, abs=1e-2)
    assert made["load_over_bare"].ci_high > 9e8


def test_an_empty_python_call_counts_as_the_runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = measured(tmp_path, monkeypatch, Slower(call=0.1))
    samples.arrays["bare_empty_ns"][:] = 0.1 * CALL_NS / over_bare.EMPTY_CALLS
    assert rows(samples)["latency_over_bare_at_least"].value == pytest.approx(1.0, rel=2e-3)


def _unknown() -> BareModel:
    raise Unsupported("nothing tells what it loads")


def _broken() -> BareModel:
    raise RuntimeError("no such operator")


@pytest.mark.parametrize(
    ("open_bare", "why"),
    [
        (_unknown, "not compared with the runtime alone: nothing tells what it loads"),
        (_broken, "the runtime alone cannot run it: RuntimeError: no such operator"),
    ],
)
def test_without_a_runtime_the_rows_say_why_and_the_times_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_bare: Callable[[], BareModel], why: str
) -> None:
    samples = measured(tmp_path, monkeypatch, Slower(), open_bare)
    assert len(samples.arrays["load_ns"]) == 4
    made = rows(samples)
    assert {row.status for row in made.values()} == {Status.SKIPPED}
    assert {row.cause for row in made.values()} == {Cause.MISSING_ABILITY}
    assert all(why in row.reason for row in made.values())


def test_outputs_that_a_backend_has_to_convert_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Maps(Bare):
        def run(self, feeds: Feeds) -> list[Any]:
            return [[{"cat": 1.0}]]

    samples = measured(tmp_path, monkeypatch, Slower(), lambda: Maps(Machine()))
    assert "the backend converts them" in samples.values["bare_na"]


def test_nothing_is_compared_where_two_more_copies_have_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "available_memory_byte", lambda: 100_000_000)
    samples = measured(tmp_path, monkeypatch, Slower())
    assert samples.values["bare_na"] == "there is no memory for two more copies of the model"


def test_a_kernel_that_resets_no_peak_leaves_out_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = measured(tmp_path, monkeypatch, Slower())
    samples.arrays["bare_opened"][:, -1] = -1
    made = rows(samples)
    assert made["peak_over_bare_at_least"].status is Status.SKIPPED
    assert made["load_over_bare_at_least"].status is Status.OK


def test_a_run_that_compared_nothing_has_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(measured(tmp_path, monkeypatch, Slower(), bare_processes=0)) == {}


def test_a_busy_machine_leaves_the_bounds_and_takes_the_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rows(measured(tmp_path, monkeypatch, Slower()), Reason(Cause.OVERLOAD, "overloaded"))
    assert made["latency_over_bare"].status is Status.INVALID
    assert made["latency_over_bare_at_least"].status is Status.OK


def test_calls_alternate_in_an_order_that_a_drift_does_not_favour() -> None:
    clock, order = StepClock(), []

    def call(name: str) -> None:
        order.append(name)
        clock.now_ns += BLOCK_NS

    one, other = alternate(lambda: call("a"), lambda: call("b"), clock, 0.0)
    assert len(one) == len(other) == 2 * FEWEST_TURNS
    turns = "".join(order).lstrip("b") if order[0] == "b" else "".join(order)
    assert turns == "aabbbbaa" * FEWEST_TURNS  # each block begins with a call that is not timed
    assert set(np.concatenate([one, other]).tolist()) == {BLOCK_NS}
