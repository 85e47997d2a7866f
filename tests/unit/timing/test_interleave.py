"""The order of a side-by-side timing, when it stops, and which times it discards; on fake executors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core import metric
from harness.core.artifact import Artifact, File
from harness.core.errors import WorkerError
from harness.core.job import Batch, Case, EnvironmentRecord, Event, JobResult, Options, Samples, Status
from harness.core.verdict import State
from harness.report import side_by_side_text
from harness.timing import records
from harness.timing.interleave import Criterion, InterleavedTiming, TimedSide, interleave

MEDIAN = metric.Timed("performance", "latency_p50", "single_stream", 0.5)


@dataclass
class Timed:
    """An executor whose processes take `p50_ns` each, with a relative `spread`; it logs every process."""

    name: str
    log: list[str]
    p50_ns: float = 1e5
    spread: float = 0.005
    status: Status = Status.OK
    after: dict[str, Any] = field(default_factory=dict)
    disturbs: set[int] = field(default_factory=set)
    here: bool = True
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def run(self, batches: Iterable[Batch]) -> Iterator[Event]:
        (batch,) = batches
        (case,) = batch.cases
        self.log.append(f"{self.name} {case.params['index']}")
        key = (batch.target, batch.backend, batch.variant, batch.suite)
        yield EnvironmentRecord(*key, phase="before", facts={"throttled": 0})
        centre = self.p50_ns * np.exp(self.rng.normal(0, self.spread))
        times = np.full(100, int(centre), np.int64)
        effective = {"provider": "p"}
        samples = Samples({"latency_ns": times, "memory_peak_byte": np.array([10**8])})
        yield JobResult(batch.jobs[0].key, self.status, "it broke", samples, effective)
        processes = sum(entry.startswith(self.name) for entry in self.log)
        after = {"throttled": (processes in self.disturbs) << 18, **self.after}
        yield EnvironmentRecord(*key, phase="after", facts=after)

    def probe(self, backends: Any) -> Any:
        raise AssertionError("probed again; that was done when the side was prepared")

    def close(self) -> None:
        pass


def comparison(
    base: Timed, new: Timed, notify: Callable[[str], None], *, within_s: float = 60.0
) -> InterleavedTiming:
    artifact = Artifact("int8", "onnx", (File("m.onnx", "0" * 64, 1),), Path())
    case = Case("single_stream", params={"processes": 5, "seconds": 1.0, "requests": 133})
    batch = Batch(
        "cpu", "onnxruntime", "int8", "performance", artifact, {"deploy": Options()}, {}, {}, (case,)
    )
    sides = (TimedSide("old", base, batch), TimedSide("new", new, batch))
    return interleave(Criterion(MEDIAN, within_s=within_s), sides, notify)


def measured(
    log: list[str], base: Timed, new: Timed, *, within_s: float = 60.0
) -> tuple[InterleavedTiming, list[str]]:
    notes: list[str] = []
    return comparison(base, new, notes.append, within_s=within_s), notes


def test_a_round_is_a_palindrome_and_the_series_take_turns() -> None:
    log: list[str] = []
    timing, notes = measured(log, Timed("base", log), Timed("new", log))
    assert timing.state is State.PASS
    assert not notes
    names = [entry.split()[0] for entry in log]
    assert len(names) == 24
    for start in range(0, 24, 6):
        assert names[start : start + 6] == names[start : start + 6][::-1]
        assert names[start : start + 6].count("new") == 2  # and four of the base: its control too
    assert {names[start] for start in range(0, 24, 6)} == {"base", "new"}
    assert {series: len(times) for series, times in timing.times_ns.items()} == {
        "base": 8,
        "new": 8,
        "control": 8,
    }


def test_a_slowdown_fails() -> None:
    log: list[str] = []
    timing, _ = measured(log, Timed("base", log), Timed("new", log, 1.1e5))
    assert timing.state is State.FAIL
    assert "latency_p50 of new against old is 1.1" in records.summary(timing).sentence()
    assert timing.state.exit_code == 1


def test_more_is_measured_while_it_is_undecided_and_there_is_time() -> None:
    log: list[str] = []
    timing, notes = measured(log, Timed("base", log, spread=0.05), Timed("new", log, 1.0e5, spread=0.05))
    assert len(timing.looks) > 1
    assert len(notes) == len(timing.looks) - 1
    assert len(timing.times_ns["new"]) == 8 * 2 ** (len(timing.looks) - 1)
    log.clear()
    timing, notes = measured(
        log, Timed("base", log, spread=0.05), Timed("new", log, spread=0.05), within_s=1e-9
    )
    assert (len(timing.looks), notes) == (1, [])
    assert timing.state is State.INCONCLUSIVE
    assert "--decide-within" in records.summary(timing).sentence()


def test_times_of_a_disturbed_machine_are_invalid(tmp_path: Path) -> None:
    log: list[str] = []
    timing, _ = measured(log, Timed("base", log), Timed("new", log, 1.5e5, after={"throttled": 1 << 18}))
    assert timing.state is State.INVALID
    assert "9 processes were disturbed, more than were not" in side_by_side_text.text(timing)
    assert "new: the board reported throttling" in records.summary(timing).sentence()
    assert timing.state.exit_code == 3
    assert not timing.times_ns["new"]
    assert records.write_new(timing, tmp_path).is_dir()


def test_a_disturbed_process_is_repeated() -> None:
    log: list[str] = []
    base, new = Timed("base", log), Timed("new", log, 1.2e5)
    new.disturbs = {3, 5}
    timing, _ = measured(log, base, new)
    assert timing.state is State.FAIL
    assert len(timing.disturbances) == 2
    assert "8 processes a side (2 disturbed ones repeated)" in records.summary(timing).sentence()
    assert {len(times) for times in timing.times_ns.values()} == {8}
    assert len(log) == 26


def test_a_process_that_fails_ends_it() -> None:
    log: list[str] = []
    with pytest.raises(WorkerError, match="new cannot be timed: it broke"):
        measured(log, Timed("base", log), Timed("new", log, status=Status.ERROR))


def test_the_times_are_stored_and_read_back(tmp_path: Path) -> None:
    log: list[str] = []
    timing, _ = measured(log, Timed("base", log), Timed("new", log, 1.1e5))
    folder = records.write_new(timing, tmp_path)
    facts = json.loads((folder / "side_by_side.json").read_text())
    assert records.read(folder)[1] == records.summary(timing)
    assert facts["state"] == "FAIL"
    assert facts["sides"]["new"]["artifact_sha256"] == "0" * 64
    with np.load(folder / "samples.npz") as arrays:
        assert len(arrays.files) == 24
        assert np.array_equal(arrays["new_7"], timing.times_ns["new"][7])
    assert "1.1" in side_by_side_text.text(timing)


def test_the_old_name_of_the_file_is_read(tmp_path: Path) -> None:
    log: list[str] = []
    timing, _ = measured(log, Timed("base", log), Timed("new", log))
    folder = records.write_new(timing, tmp_path)
    (folder / records.FACTS).rename(folder / records.OLD_FACTS)
    assert records.read(folder)[1] == records.summary(timing)
