"""The order of a live comparison, when it stops, what it does not believe; on planted executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.errors import WorkerError
from harness.core.job import Batch, Case, EnvironmentRecord, Event, JobResult, Options, Samples, Status
from harness.core.verdict import State
from harness.report import live_text
from harness.timing import timing_files
from harness.timing.interleave import Arm, Demand, Interleaved, interleave


@dataclass
class Timed:
    """Every process of it takes so long, give or take `spread`; it notes whose turn it was."""

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
        of = (batch.target, batch.backend, batch.variant, batch.suite)
        yield EnvironmentRecord(*of, phase="before", facts={"throttled": 0})
        centre = self.p50_ns * np.exp(self.rng.normal(0, self.spread))
        times = np.full(100, int(centre), np.int64)
        effective = {"provider": "p"}
        samples = Samples({"latency_ns": times, "memory_peak_byte": np.array([10**8])})
        yield JobResult(batch.jobs[0].key, self.status, "it broke", samples, effective)
        mine = sum(entry.startswith(self.name) for entry in self.log)
        after = {"throttled": (mine in self.disturbs) << 18, **self.after}
        yield EnvironmentRecord(*of, phase="after", facts=after)

    def probe(self, backends: Any) -> Any:
        raise AssertionError("nothing is probed: that was done when the side was prepared")

    def close(self) -> None:
        pass


def comparison(
    base: Timed, new: Timed, told: Callable[[str], None], *, within_s: float = 60.0
) -> Interleaved:
    artifact = Artifact("int8", "onnx", (File("m.onnx", "0" * 64, 1),), Path())
    case = Case("single_stream", params={"processes": 5, "seconds": 1.0, "requests": 133})
    batch = Batch(
        "cpu", "onnxruntime", "int8", "performance", artifact, {"deploy": Options()}, {}, {}, (case,)
    )
    arms = (Arm("old", base, batch), Arm("new", new, batch))
    return interleave(Demand(within_s=within_s), arms, told)


def measured(
    log: list[str], base: Timed, new: Timed, *, within_s: float = 60.0
) -> tuple[Interleaved, list[str]]:
    told: list[str] = []
    return comparison(base, new, told.append, within_s=within_s), told


def test_rounds_are_palindromes_that_begin_by_turns() -> None:
    log: list[str] = []
    found, told = measured(log, Timed("base", log), Timed("new", log))
    assert found.state is State.PASS
    assert not told
    names = [entry.split()[0] for entry in log]
    assert len(names) == 24
    for start in range(0, 24, 6):
        assert names[start : start + 6] == names[start : start + 6][::-1]
        assert names[start : start + 6].count("new") == 2  # and four of the base: its control too
    assert {names[start] for start in range(0, 24, 6)} == {"base", "new"}
    assert {arm: len(times) for arm, times in found.times_ns.items()} == {"base": 8, "new": 8, "control": 8}


def test_a_slowdown_fails() -> None:
    log: list[str] = []
    found, _ = measured(log, Timed("base", log), Timed("new", log, 1.1e5))
    assert found.state is State.FAIL
    assert "latency_p50 of new against old is 1.1" in timing_files.finding(found).sentence()
    assert live_text.EXIT_CODES[found.state] == 1


def test_it_goes_on_while_it_is_undecided_and_there_is_time() -> None:
    log: list[str] = []
    found, told = measured(log, Timed("base", log, spread=0.05), Timed("new", log, 1.0e5, spread=0.05))
    assert len(found.looks) > 1
    assert len(told) == len(found.looks) - 1
    assert len(found.times_ns["new"]) == 8 * 2 ** (len(found.looks) - 1)
    log.clear()
    found, told = measured(
        log, Timed("base", log, spread=0.05), Timed("new", log, spread=0.05), within_s=1e-9
    )
    assert (len(found.looks), told) == (1, [])
    assert found.state is State.INCONCLUSIVE
    assert "--decide-within" in timing_files.finding(found).sentence()


def test_times_of_a_disturbed_machine_are_not_believed(tmp_path: Path) -> None:
    log: list[str] = []
    found, _ = measured(log, Timed("base", log), Timed("new", log, 1.5e5, after={"throttled": 1 << 18}))
    assert found.state is State.INVALID
    assert "9 processes were disturbed, more than were not" in live_text.text(found)
    assert "new: the board reported throttling" in timing_files.finding(found).sentence()
    assert live_text.EXIT_CODES[found.state] == 3
    assert not found.times_ns["new"]
    assert live_text.write(found, tmp_path).is_dir()


def test_a_disturbed_process_is_set_aside_and_begun_again() -> None:
    log: list[str] = []
    base, new = Timed("base", log), Timed("new", log, 1.2e5)
    new.disturbs = {3, 5}
    found, _ = measured(log, base, new)
    assert found.state is State.FAIL
    assert len(found.disturbed) == 2
    assert "8 processes a side (2 disturbed ones set aside)" in timing_files.finding(found).sentence()
    assert {len(times) for times in found.times_ns.values()} == {8}
    assert len(log) == 26


def test_a_process_that_fails_ends_it() -> None:
    log: list[str] = []
    with pytest.raises(WorkerError, match="new cannot be timed: it broke"):
        measured(log, Timed("base", log), Timed("new", log, status=Status.ERROR))


def test_the_facts_are_kept(tmp_path: Path) -> None:
    import json

    log: list[str] = []
    found, _ = measured(log, Timed("base", log), Timed("new", log, 1.1e5))
    folder = live_text.write(found, tmp_path)
    told = json.loads((folder / "live.json").read_text())
    assert timing_files.read(folder)[1] == timing_files.finding(found)
    assert told["state"] == "FAIL"
    assert told["sides"]["new"]["artifact_sha256"] == "0" * 64
    with np.load(folder / "samples.npz") as arrays:
        assert len(arrays.files) == 24
        assert np.array_equal(arrays["new_7"], found.times_ns["new"][7])
    assert "1.1" in live_text.text(found)
