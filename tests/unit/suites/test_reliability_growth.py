"""Slopes over reloads: numpy is the oracle, and a bench whose sessions leave something behind the fault."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.cause import Cause
from harness.core.contracts import Unsupported
from harness.core.job import Status, merge
from suites.reliability import growth, reload
from suites.reliability.measure import measure
from tests.unit.suites.planted import Leftovers, PlantedSession
from tests.unit.suites.reliability_bench import bench_of, case_named, rows_of


def counted(n: int, **arrays: Any) -> dict[str, Any]:
    return {
        name: np.asarray(arrays.get(name, [100] * n))
        for name in ("memory_byte", "descriptors", "threads", "files")
    }


@given(st.lists(st.integers(-(10**6), 10**6), min_size=5, max_size=40))
def test_the_slope_is_the_median_of_those_of_all_pairs(values: list[int]) -> None:
    pairs = itertools.combinations(range(len(values)), 2)
    expected = float(np.median([(values[j] - values[i]) / (j - i) for i, j in pairs]))
    slope, low, high = growth.theil_sen(np.array(values))
    assert slope == pytest.approx(expected, abs=1e-6)
    assert low <= slope <= high


def test_a_leak_is_a_slope_and_a_single_jump_is_none() -> None:
    n = 40
    noise = np.random.default_rng(0).integers(-3, 4, n) * 4096
    jump = np.where(np.arange(n) < 25, 0, 50_000_000)
    arrays = counted(n, memory_byte=10**8 + noise + 2_000_000 * np.arange(n), descriptors=np.arange(n))
    memory, descriptors, threads, files = growth.rows(arrays, 7, emulated=False)
    assert files.value == 0
    assert memory.ci_low > 1_900_000
    assert memory.value == pytest.approx(2_000_000, rel=0.01)
    assert (descriptors.value, threads.value, memory.n) == (1.0, 0.0, 30)
    assert memory.reason == "a reload, over 30 after 10 to warm up; the file has 7 bytes"
    memory, *_ = growth.rows(counted(n, memory_byte=10**8 + noise + jump), 7, emulated=False)
    assert memory.ci_low < 256 * 1024  # undecided at most, and no failed check


def test_what_the_first_reloads_take_is_not_growth() -> None:
    caches = np.minimum(np.arange(40), 9)
    _, descriptors, threads, _ = growth.rows(
        counted(40, descriptors=caches, threads=caches), 7, emulated=False
    )
    assert descriptors.value == threads.value == 0


@pytest.mark.parametrize(
    ("n", "measured"), [(1, (False, False)), (3, (False, False)), (4, (False, True)), (7, (True, True))]
)
def test_too_few_reloads_are_skipped_with_their_number(n: int, measured: tuple[bool, bool]) -> None:
    memory, descriptors, threads, _ = growth.rows(counted(n), 7, emulated=False)
    for row, is_measured in zip((memory, descriptors, threads), (*measured, measured[1]), strict=True):
        assert (row.status is Status.OK) == is_measured
        assert math.isnan(row.value) != is_measured
        assert is_measured or row.reason.startswith(f"{n} reloads in the planned time, ")


@pytest.mark.parametrize(
    ("fault", "growths"),
    [("", (0, 0, 0)), ("descriptors", (1, 0, 0)), ("leftover threads", (0, 1, 0)), ("files", (0, 0, 1))],
)
def test_sessions_that_leave_something_behind(
    tmp_path: Path, fault: str, growths: tuple[int, int, int]
) -> None:
    case = case_named("reload", reloads=12, reload_seconds=60)
    bench = bench_of(tmp_path, case, fault)
    try:
        rows = rows_of(bench, merge(measure(bench, case)))
    finally:
        Leftovers.clear()
        bench.close()
    assert rows["reload_file_growth"].value == growths[2]
    assert rows["deterministic_reload"].value == 1
    assert rows["reload_descriptor_growth"].value == growths[0]
    assert rows["reload_thread_growth"].value == growths[1]
    assert rows["reload_memory_growth"].n == 9


def test_a_leak_of_memory_shows(tmp_path: Path) -> None:
    case = case_named("reload", reloads=16, reload_seconds=60)
    bench = bench_of(tmp_path, case, "leaks")
    try:
        row = rows_of(bench, merge(measure(bench, case)))["reload_memory_growth"]
    finally:
        Leftovers.clear()
    assert row.value == pytest.approx(Leftovers.BYTE, rel=0.5)
    assert row.ci_low > 256 * 1024


def test_another_answer_after_some_reloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlantedSession, "opened", 0)
    case = case_named("reload", reloads=12, reload_seconds=60)
    row = rows_of(bench := bench_of(tmp_path, case, "after reloads"), merge(measure(bench, case)))
    assert row["deterministic_reload"].value == pytest.approx(5 / 12)
    assert row["deterministic_reload"].reason == "the first in session 6"
    bench.close()


def test_a_slow_runtime_gets_more_time_for_the_reloads_that_a_slope_needs(tmp_path: Path) -> None:
    case = case_named("reload", reload_seconds=0.7)
    bench = bench_of(tmp_path, case)
    ticks = itertools.count(0, 290_000_000)
    bench.clock = lambda: next(ticks)
    assert len(merge(measure(bench, case)).arrays["threads"]) == 7
    ticks = itertools.count(0, 5_000_000_000)
    assert len(merge(measure(bench, case)).arrays["threads"]) == 2


def test_without_proc_nothing_is_reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "ROOT", tmp_path)
    case = case_named("reload")
    with pytest.raises(Unsupported, match="/proc/self/statm"):
        list(measure(bench_of(tmp_path, case), case))


def test_memory_of_an_emulator_is_no_figure() -> None:
    memory, descriptors, *_ = growth.rows(counted(40), 7, emulated=True)
    assert (memory.status, memory.cause) == (Status.INVALID, Cause.EMULATED_MEMORY)
    assert "emulator" in memory.reason
    assert descriptors.status is Status.OK
