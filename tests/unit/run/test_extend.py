"""What an undecided gate has measured again, and what that makes of the samples and the interval."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobResult, Options, Samples, Status, looks_of
from harness.core.suite import SupportsRounds
from harness.core.verdict import Gate, State, Verdict
from harness.run import extend
from harness.stats.intervals import over_processes
from harness.stats.side_by_side import level
from suites.accuracy.summarise import AccuracySuite
from suites.performance.summarise import PerformanceSuite

NAN = float("nan")
SUITES = {"performance": PerformanceSuite(), "accuracy": AccuracySuite()}
CASES = (
    Case("single_stream", params={"processes": 5}, deadline_s=10.0),
    Case("offline", params={"processes": 3}, deadline_s=30.0),
)
BATCH = Batch(
    "cpu", "ort", "int8", "performance", Artifact("int8", "onnx", (File("m", "1" * 64, 1),), Path()),
    {"deploy": Options()}, {}, {}, CASES,
)  # fmt: skip
P99 = Gate("p99", "performance", "latency_p99", cases=("single_stream",), maximum=1.0)
THROUGHPUT = Gate("rate", "performance", "throughput", cases=("offline_b8",), minimum=1.0)
SIDE = Gate("side", "performance", "latency_p50", of="ratio", design="side-by-side", maximum=1.1)


def verdict(gate: Gate, state: State, *, target: str = "cpu", variant: str = "int8") -> Verdict:
    return Verdict(
        gate.name, target, "ort", variant, gate.suite, gate.metric, state, "block", "block", "",
        NAN, NAN, NAN, NAN, "ns", 0,
    )  # fmt: skip


def results(batch: Batch = BATCH, status: Status = Status.OK, looks: int = 1) -> dict[object, JobResult]:
    samples = Samples({"latency_ns": np.arange(4)}, {"looks": looks} if looks > 1 else {})
    return {job.key: JobResult(job.key, status, samples=samples, duration_ns=2 * 10**9) for job in batch.jobs}


def again(*verdicts: Verdict, batch: Batch = BATCH, **more: object) -> list[Batch]:
    stored = results(batch, **more)  # type: ignore[arg-type]
    return extend.undecided([batch], [P99, THROUGHPUT, SIDE], verdicts, SUITES, stored)  # type: ignore[arg-type]


def test_only_what_an_undecided_gate_looks_at_is_measured_again() -> None:
    (extended,) = again(verdict(P99, State.INCONCLUSIVE), verdict(THROUGHPUT, State.PASS))
    assert [case.name for case in extended.cases] == ["single_stream"]
    (extended,) = again(verdict(THROUGHPUT, State.INCONCLUSIVE))  # its rows are named after their job
    assert [case.name for case in extended.cases] == ["offline"]
    assert extend.seconds([extended], results()) == 2.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "inconclusive",
    [
        verdict(P99, State.PASS), verdict(P99, State.FAIL), verdict(P99, State.INVALID),
        verdict(SIDE, State.INCONCLUSIVE),  # it has rounds of its own
        verdict(P99, State.INCONCLUSIVE, target="pi"), verdict(P99, State.INCONCLUSIVE, variant="float32"),
    ],
)  # fmt: skip
def test_what_more_of_this_would_not_decide_is_left(inconclusive: Verdict) -> None:
    assert not again(inconclusive)


def test_what_ended_badly_and_what_has_all_its_samples_is_left() -> None:
    assert not again(verdict(P99, State.INCONCLUSIVE), status=Status.ERROR)
    gate = replace(P99, name="a", suite="accuracy", metric="accuracy", cases=("*",))
    batch = replace(BATCH, suite="accuracy")
    inconclusive = [verdict(gate, State.INCONCLUSIVE)]
    assert not isinstance(SUITES["accuracy"], SupportsRounds)
    assert not extend.undecided([batch], [gate], inconclusive, SUITES, results(batch))  # type: ignore[arg-type]


@pytest.mark.parametrize("looks", [NAN, "two", -1, None])
def test_what_a_device_did_not_count_is_left(looks: object) -> None:
    stored = {
        key: replace(result, samples=Samples(values={"looks": looks})) for key, result in results().items()
    }
    inconclusive = [verdict(P99, State.INCONCLUSIVE)]
    assert not extend.undecided([BATCH], [P99], inconclusive, SUITES, stored)  # type: ignore[arg-type]


@pytest.mark.parametrize(("looks", "processes"), [(1, 5), (2, 10), (3, 20)])
def test_a_round_measures_as_much_as_all_before_it(looks: int, processes: int) -> None:
    (extended,) = again(verdict(P99, State.INCONCLUSIVE), looks=looks)
    (case,) = extended.cases
    assert case.params["processes"] == processes
    assert case.deadline_s == 10.0 * processes / 5


def test_results_are_joined_and_a_failed_one_counts() -> None:
    first, *_ = results().values()
    more = replace(first, samples=Samples({"latency_ns": np.arange(4, 8)}), duration_ns=10**9)
    first, more = replace(first, host_ns=5), replace(more, host_ns=7)
    both = extend.joined(first, more)
    assert both.samples.arrays["latency_ns"].tolist() == list(range(8))
    assert (looks_of(first.samples), looks_of(both.samples), both.duration_ns) == (1, 2, 3 * 10**9)
    assert both.host_ns == 12
    assert extend.joined(first, replace(more, host_ns=0)).host_ns == 0
    assert looks_of(extend.joined(both, more).samples) == 3
    other = extend.joined(first, replace(more, samples=Samples({"latency_ns": np.zeros((2, 2))})))
    assert other.status is Status.ERROR
    assert "the samples of a further round do not fit the others: ValueError" in other.reason
    dead = replace(more, status=Status.ERROR, reason="it crashed")
    assert extend.joined(first, dead) is dead


def test_all_looks_err_no_more_than_one() -> None:
    assert sum(level(look) for look in range(1, 60)) == pytest.approx(0.05)
    values = np.random.default_rng(0).lognormal(0, 0.1, 10)
    widths = [np.ptp([i.low, i.high]) for i in (over_processes(values, alpha=level(k)) for k in (1, 2, 3))]
    assert widths == sorted(widths)
