"""Answers that depend on what they must not depend on: each planted fault shows in its own row."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.contracts import Unsupported
from harness.core.job import merge
from harness.device.worker import run_case
from suites.reliability.invariance import default_threads
from suites.reliability.measure import measure
from tests.unit.suites.planted import InProcessBench, batch
from tests.unit.suites.reliability_bench import bench_of, case_named, measured, results, rows_of

EVERY_WAY = {
    "deterministic_repeat": 1,
    "deterministic_order": 1,
    "deterministic_interleaved": 1,
    "deterministic_session": 1,
    "deterministic_process": 1,
    "deterministic_idle": 1,
    "result_unchanged": 1,
    "input_unchanged": 1,
    "artifact_hash_equal": 1,
    "process_exit_clean": 1,
    "process_state_unchanged": 1,
}
#: Rows in all batches of the default sizes.
TRIED = sum(range(2, 67)) + 100 + 128 + 129 + 200 + 256
SIZES = "2 to 66, 100, 128, 129, 200, 256"


@pytest.mark.parametrize(
    ("fault", "differs"),
    [
        ("", ()),
        ("each_run", ("repeat", "order", "interleaved", "idle")),
        ("each_session", ("interleaved", "session", "process")),
        ("stale", ("repeat", "order", "interleaved", "idle")),
        ("two sessions", ("interleaved", "session", "process")),
    ],
)
def test_determinism(tmp_path: Path, fault: str, differs: tuple[str, ...]) -> None:
    rows = measured(tmp_path, case_named("determinism"), fault)
    assert rows.keys() == EVERY_WAY.keys()
    assert {metric for metric, row in rows.items() if row.value < 1} == {
        f"deterministic_{way}" for way in differs
    }
    # 8 rows and all at once: 5 repeats, 2 orders, 2 sessions that take turns, 2 fresh ones, 2 processes.
    assert [rows[metric].n for metric in EVERY_WAY] == [45, 18, 18, 18, 18, 9, 108, 135, 2, 2, 3]


@pytest.mark.parametrize(
    ("fault", "metric", "value"),
    # A buffer holds the answer that was written last.
    [("buffer", "result_unchanged", pytest.approx(23 / 108)), ("writes", "input_unchanged", 0.0)],
)
def test_memory_that_is_not_the_backends(tmp_path: Path, fault: str, metric: str, value: float) -> None:
    """Each fault shows in its own row alone: a call gets a copy, and an answer is hashed before the next."""
    rows = measured(tmp_path, case_named("determinism"), fault)
    wrong = {name: row.value for name, row in rows.items() if row.value < 1}
    assert wrong == {metric: value}


def test_a_process_that_crashes_at_exit_and_one_that_found_another_file(
    tmp_path: Path, installed_planted: None
) -> None:
    case = case_named("determinism", processes=1)
    facts = batch(tmp_path, "reliability", (case,), {"fault": "exit"})
    (result,) = results(facts, tmp_path)
    assert result.samples.values["exit"] == ["was killed by SIGKILL (out of memory?)"]
    bench = InProcessBench(facts, case, tmp_path)
    rows = rows_of(bench, result.samples)
    assert rows["deterministic_process"].value == 1  # the answers had arrived before
    assert rows["process_exit_clean"].value == 0
    assert rows["process_exit_clean"].reason == "a process was killed by SIGKILL (out of memory?)"
    assert rows["artifact_hash_equal"].value == 1
    changed = replace(result.samples, values={"sha256": [{"model.bin": "0" * 64}], "exit": []})
    rows = rows_of(bench, changed)
    assert rows["artifact_hash_equal"].value == 0
    assert "process_exit_clean" not in rows  # as in runs from before


def test_another_answer_in_another_process(tmp_path: Path, installed_planted: None) -> None:
    case = case_named("determinism", processes=1)
    facts = batch(tmp_path, "reliability", (case,), {"fault": "each_process"})
    (result,) = results(facts, tmp_path)
    bench = InProcessBench(facts, case, tmp_path)
    rows = rows_of(bench, result.samples)
    assert rows["deterministic_repeat"].value == rows["deterministic_session"].value == 1
    assert rows["deterministic_process"].value == 0


@pytest.mark.parametrize(
    ("fault", "different", "largest", "says"),
    [
        ("", 0, 0, f"batch {SIZES} against 1"),
        ("batch", TRIED, 255 * 2.0**-10, "with batch 256 the output y differs by"),
        ("batch 7", 7, 2.0**-10, "with batch 7 the output y differs by"),
        ("batch 21", 21, 2.0**-10, "with batch 21 the output y differs by"),
        ("above 32", TRIED - sum(range(2, 33)), 2.0**-10, "with batch 33 the output y differs by"),
        ("position", TRIED - 70, 255 * 2.0**-10, "with batch 256 the output y differs by"),
    ],
)
def test_batch_invariance(tmp_path: Path, fault: str, different: int, largest: float, says: str) -> None:
    rows = measured(tmp_path, case_named("batch_invariance"), fault)
    assert rows["batch_bit_equal"].value == pytest.approx(1 - different / TRIED)
    assert rows["batch_max_difference"].value == pytest.approx(largest, rel=1e-3)
    assert (rows["batch_max_relative_difference"].value > 0) == (different > 0)
    assert (rows["batch_max_over_rounding"].value > 1) == (different > 0)
    assert rows["batch_max_over_rounding"].reason.startswith(says)
    assert rows["batch_bit_equal"].n == TRIED
    assert rows["batch_bit_equal"].reason == f"batch {SIZES} against 1"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("twice", "planted returned 2 rows of the output y for 1 sample"),
        ("short", "planted returned 0 rows of the output y for 1 sample"),
        ("float64", "planted returned float64 for the output y, which is float32"),
        ("complex", "planted returned complex64 for the output y, which is float32"),
        ("objects", "planted returned object for the output y, which is float32"),
    ],
)
def test_outputs_of_another_form_are_an_error_of_the_backend(tmp_path: Path, fault: str, says: str) -> None:
    case = case_named("batch_invariance")
    header, _ = run_case(bench_of(tmp_path, case, fault), measure)
    assert header["status"] == "ERROR"
    assert header["reason"].startswith(says)


def test_no_further_size_is_tried_when_the_time_is_over(tmp_path: Path) -> None:
    case = case_named("batch_invariance")
    bench = bench_of(tmp_path, case)
    ticks = itertools.count(0, 10**9)
    bench.clock = lambda: next(ticks)
    row = rows_of(bench, merge(measure(bench, case)))["batch_bit_equal"]
    assert row.n == 8 + 2 + 3  # the sizes up to the number of rows have 6 times the time
    assert row.reason.startswith("batch 2, 3, 8 against 1; not 4 to 7, 9 to ")
    assert row.reason.endswith(": 0.5 s were over")


def test_batch_invariance_of_a_fixed_batch_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="fixed batch of 4"):
        measured(tmp_path, case_named("batch_invariance"), batch="4")


@pytest.mark.parametrize(("fault", "equal", "largest"), [("", 1, 0), ("threads", 0, 2.0**-10)])
@pytest.mark.parametrize("fixed", ["", "3"])
def test_thread_invariance(tmp_path: Path, fault: str, equal: float, largest: float, fixed: str) -> None:
    rows = measured(tmp_path, case_named("thread_invariance", threads=[1, 2, 10_000]), fault, batch=fixed)
    assert rows["thread_bit_equal"].value == equal
    assert rows["thread_max_difference"].value == pytest.approx(largest, rel=1e-3)
    assert (rows["thread_max_over_rounding"].value > 1) == (equal == 0)
    assert rows["thread_bit_equal"].n == (9 if fixed else 8)  # three batches of three
    assert rows["thread_bit_equal"].reason.startswith("threads 2 against 1; not 10000: there are ")


def test_three_threads_are_tried_on_any_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suites.reliability.invariance._cpus", lambda: 2)
    rows = measured(tmp_path, case_named("thread_invariance"), "3 threads")
    assert rows["thread_bit_equal"].value == 0.5
    assert rows["thread_max_over_rounding"].reason.startswith("with threads 3 the output y differs")


@pytest.mark.parametrize(
    ("cpus", "counts"), [(1, [1, 2, 3]), (2, [1, 2, 3]), (4, [1, 2, 3, 5, 4]), (6, [1, 2, 3, 7, 6, 4, 5])]
)
def test_thread_counts_go_to_one_more_than_there_are_cpus(cpus: int, counts: list[int]) -> None:
    assert default_threads(cpus) == counts


def test_no_other_number_of_threads_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="2 threads cannot be had"):
        measured(tmp_path, case_named("thread_invariance", threads=[1, 2]), not_threads="2")
