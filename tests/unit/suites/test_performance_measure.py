from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.contracts import Footprint, Unsupported
from harness.core.job import Case, Samples, merge
from harness.device import gpu
from suites.performance.measure import PROFILED_CALLS, measure
from tests.unit.suites import planted
from tests.unit.suites.planted import ROWS, InProcessBench, PlantedSession, StepClock, batch, rows

#: Arrays of every timed loop.
FACTS = {"answers", "wrong_calls", "wrong_difference", "clocks", "slow_calls", "memory", "handles"}
LOOP = {"warm_up_seconds": 1e-6, "seconds": 1e-5, "max_seconds": 1.0}


def case_of(params: dict[str, object], name: str = "single_stream") -> Case:
    return Case(name, data="clean", samples=ROWS, params=params)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StepClock:
    """Each run of a planted session takes 100 ns and 10 ns a row."""
    clock = StepClock()
    honest = PlantedSession.run

    def run(self: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        clock.now_ns += 100 + 10 * len(feeds["x"])
        return honest(self, feeds)

    monkeypatch.setattr(PlantedSession, "run", run)
    return clock


def run_here(
    folder: Path, case: Case, clock: StepClock, extra: dict[str, str] | None = None
) -> tuple[Samples, InProcessBench]:
    bench = InProcessBench(batch(folder, "performance", (case,), extra), case, folder, measure)
    bench.clock = clock
    return merge(measure(bench, case)), bench


SINGLE = {**LOOP, "processes": 3, "requests": 200}


def test_single_stream_joins_its_processes(tmp_path: Path, clock: StepClock) -> None:
    samples, bench = run_here(tmp_path, case_of(SINGLE), clock)
    assert [case.params["index"] for case in bench.spawned] == [0, 1, 2]
    assert {case.deadline_s for case in bench.spawned} == {20.0}
    a = samples.arrays
    assert a["requests"].tolist() == [200] * 3
    assert a["latency_ns"].tolist() == [110] * 600
    assert a["first_ns"].tolist() == [110] * 3
    assert a["load_ns"].shape == a["memory_peak_byte"].shape == (3,)
    assert (a["memory_peak_byte"] > 2**20).all()
    assert samples.values == {"batch": 1, "call": "run"}
    assert not {"arena_byte", "flash_byte"} & a.keys()


def test_single_stream_uses_binding_where_the_session_has_it(tmp_path: Path, clock: StepClock) -> None:
    samples, _ = run_here(tmp_path, case_of(SINGLE), clock, {"binds": "1"})
    assert samples.values["call"] == "bound"
    assert samples.arrays["latency_ns"].tolist() == [110] * 600


def test_each_process_times_another_row(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    timed = PlantedSession.run
    monkeypatch.setattr(
        PlantedSession, "run", lambda self, feeds: seen.append(feeds["x"][0]) or timed(self, feeds)
    )
    run_here(tmp_path, case_of(SINGLE), clock)
    distinct = np.unique(np.array(seen), axis=0)
    assert np.array_equal(distinct, np.unique(rows()[:3], axis=0))


def test_fixed_batch_is_timed_whole_and_noted(tmp_path: Path, clock: StepClock) -> None:
    samples, _ = run_here(tmp_path, case_of(SINGLE), clock, {"batch": "5"})
    assert samples.values["batch"] == 5
    assert set(samples.arrays["latency_ns"].tolist()) == {150}


def test_device_buffers_time_the_call_on_the_device(tmp_path: Path, clock: StepClock) -> None:
    samples, bench = run_here(tmp_path, case_of(SINGLE, "device_buffers"), clock, {"binds": "device"})
    assert [case.params["index"] for case in bench.spawned] == [0, 1, 2]
    assert set(samples.arrays) == {"latency_ns", "requests"} | FACTS
    assert samples.arrays["latency_ns"].tolist() == [110] * 600
    assert samples.values == {"batch": 1, "call": "device-bound"}


def test_a_session_without_device_memory_says_so(tmp_path: Path, clock: StepClock) -> None:
    with pytest.raises(Unsupported, match="numpy has no memory of its own"):
        run_here(tmp_path, case_of(SINGLE, "device_buffers"), clock)


def test_a_profile_tells_of_each_kernel(tmp_path: Path, clock: StepClock) -> None:
    params = {**LOOP, "index": 0, "seconds": 110 * 25 / 1e9}  # 110 ns a call
    samples, bench = run_here(tmp_path, case_of(params, "profile"), clock, {"binds": "profile"})
    assert bench.spawned == []
    assert samples.values == {"calls": 25, "kernels": [["n0", "MatMul"], ["n1", "Loop"]]}
    assert samples.arrays["kernel0_ns"].tolist() == [700] * 25
    assert samples.arrays["kernel1_ns"].tolist() == [1] * 75
    calls = []
    for name, seconds in (("short", 1e-9), ("long", 10.0)):
        (tmp_path / name).mkdir()
        case = case_of({**params, "seconds": seconds}, "profile")
        calls.append(run_here(tmp_path / name, case, clock, {"binds": "profile"})[0].values["calls"])
    assert tuple(calls) == PROFILED_CALLS


def test_a_session_without_a_profile_says_so(tmp_path: Path, clock: StepClock) -> None:
    with pytest.raises(Unsupported, match="tells no times of its kernels"):
        run_here(tmp_path, case_of({**LOOP, "index": 0}, "profile"), clock)


def test_footprint_is_read_where_the_session_tells_it(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A class of its own: isinstance of a Protocol remembers each class that it has seen.
    class Tells(PlantedSession):
        def footprint(self) -> Footprint:
            return Footprint(7, 9)

    monkeypatch.setattr(planted, "PlantedSession", Tells)
    samples, _ = run_here(tmp_path, case_of(SINGLE), clock)
    assert samples.arrays["arena_byte"].tolist() == [7] * 3
    assert samples.arrays["flash_byte"].tolist() == [9] * 3


class HeldMemory:
    """A GPU whose memory readings are given one after the other."""

    def __init__(self, *readings: int | dict[str, str]) -> None:
        self.readings = itertools.cycle(readings)

    def process_memory_byte(self) -> int | dict[str, str]:
        return next(self.readings)


def test_gpu_memory_of_each_process(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = HeldMemory(100, 300, 200)
    pids = []
    monkeypatch.setattr(gpu, "find", lambda *which: pids.append(which) or memory)
    samples, _ = run_here(tmp_path, case_of(SINGLE), clock)
    assert samples.arrays["gpu_memory_peak_byte"].tolist() == [100, 300, 200]
    assert "gpu_memory_na" not in samples.values
    assert pids == [("numpy", "0")] * 3


def test_failed_reading_of_the_gpu_is_noted_with_the_reason(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = HeldMemory({"na": "a container"})
    monkeypatch.setattr(gpu, "find", lambda provider, device_id: memory)
    samples, _ = run_here(tmp_path, case_of(SINGLE), clock)
    assert "gpu_memory_peak_byte" not in samples.arrays
    assert samples.values["gpu_memory_na"] == "a container"


OFFLINE = {**LOOP, "processes": 3, "batch_sizes": [1, 8, 12], "left_out": {"32": "too few"}}


def test_offline_keeps_every_call_of_every_size(tmp_path: Path, clock: StepClock) -> None:
    samples, _ = run_here(tmp_path, case_of(OFFLINE, "offline"), clock)
    for size, call_ns in ((1, 110), (8, 180), (12, 220)):
        calls = samples.arrays[f"batch{size}_calls"]
        assert calls.tolist() == [-(-10_000 // call_ns)] * 3
        assert samples.arrays[f"batch{size}_ns"].tolist() == [call_ns] * calls.sum()
    assert samples.values == {"batch_sizes": [1, 8, 12], "left_out": {"32": "too few"}}


def test_each_offline_round_begins_with_another_size(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    timed = PlantedSession.run

    def run(self: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if sizes[-1:] != [len(feeds["x"])]:
            sizes.append(len(feeds["x"]))
        return timed(self, feeds)

    monkeypatch.setattr(PlantedSession, "run", run)
    run_here(tmp_path, case_of(OFFLINE, "offline"), clock)
    assert sizes == [1, 8, 12, 8, 12, 1, 12, 1, 8]


def test_file_with_a_fixed_batch_leaves_out_the_other_sizes(tmp_path: Path, clock: StepClock) -> None:
    samples, _ = run_here(tmp_path, case_of(OFFLINE, "offline"), clock, {"batch": "8"})
    assert samples.values["batch_sizes"] == [8]
    assert set(samples.values["left_out"]) == {"1", "12", "32"}
    assert "fixed batch of 8" in samples.values["left_out"]["1"]


def test_row_of_a_process_begins_anew_where_the_set_ends(tmp_path: Path, clock: StepClock) -> None:
    case = replace(case_of({**SINGLE, "index": ROWS + 1}), samples=ROWS)
    samples, bench = run_here(tmp_path, case, clock)
    assert bench.spawned == []
    assert len(samples.arrays["latency_ns"]) == 200
