"""One file in two versions: what is compared, against numpy; on planted executors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core import metric
from harness.core.artifact import Artifact, File
from harness.core.job import (
    DEPLOY,
    PARITY,
    Batch,
    Case,
    EnvironmentRecord,
    Event,
    JobResult,
    Options,
    Samples,
    Status,
)
from harness.core.plan import Plan
from harness.core.target import Target
from harness.core.verdict import State
from harness.run.prepare import Prepared
from harness.stats import paired
from harness.store.cache import Cache
from harness.timing.interleave import Criterion
from harness.upgrade.decision import Decision, decide
from harness.upgrade.run_both import PROFILED, Comparison, UpgradeRequest, compare
from harness.upgrade.targets import NEW, OLD, SIDES, TargetPair

MEDIAN = metric.Timed("performance", "latency_p50", "single_stream", 0.5)

ARTIFACT = Artifact("int8", "onnx", (File("m.onnx", "0" * 64, 1),), Path())
N = 300


@dataclass
class Planted:
    """A version of a runtime that gives these outputs and takes so long."""

    outputs: NDArray[np.float32]
    p50_ns: float = 1e5
    memory_byte: int = 10**8
    kernel_ns: int = 50_000
    operators: tuple[str, ...] = ("Conv", "Gemm")
    fails: dict[str, str] = field(default_factory=dict)
    digest: str = "d"
    jitter: int = 0  # so many samples are off by a bit, the first time
    log: list[str] = field(default_factory=list)
    here: bool = True
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def run(self, batches: Iterable[Batch]) -> Iterator[Event]:
        (batch,) = batches
        (case,) = batch.cases
        assert batch.artifact.sha256 == ARTIFACT.sha256
        self.log.append(case.name)
        place = (batch.target, batch.backend, batch.variant, batch.suite)
        yield EnvironmentRecord(*place, phase="before", facts={"numpy": "2.0"})
        status = Status.ERROR if case.name in self.fails else Status.OK
        samples = getattr(self, f"_{case.name}")() if status is Status.OK else Samples()
        yield JobResult(batch.jobs[0].key, status, self.fails.get(case.name, ""), samples, {"provider": "p"})
        yield EnvironmentRecord(*place, phase="after", facts={})

    def _clean(self) -> Samples:
        values = {"outputs": [["y", [self.outputs.shape[1]]]], "input_sha256": self.digest}
        outputs = self.outputs.copy()
        if self.log.count("clean") == 1:
            outputs[: self.jitter] = np.nextafter(outputs[: self.jitter], np.float32(9))
        return Samples({"output:0": outputs, "run_ns": np.ones(3, np.int64)}, values)

    def _single_stream(self) -> Samples:
        times = np.full(100, int(self.p50_ns * np.exp(self.rng.normal(0, 0.003))), np.int64)
        return Samples({"latency_ns": times, "memory_peak_byte": np.array([self.memory_byte])})

    def _profile(self) -> Samples:
        arrays = {
            f"kernel{i}_ns": np.floor(self.kernel_ns * np.exp(self.rng.normal(0, 0.01, 50))).astype(np.int64)
            for i in range(len(self.operators))
        }
        return Samples(
            arrays, {"calls": 50, "kernels": [[f"n{i}", op] for i, op in enumerate(self.operators)]}
        )

    def probe(self, names: Any) -> Any:
        raise AssertionError("nothing is probed: that was done before")

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def compared(
    old: Planted,
    new: Planted,
    labels: NDArray[np.int64] | None,
    *,
    kind: str = "local",
) -> Comparison:
    """What comes of it; the names are those that ``pinned`` gives."""
    names = {OLD: "cpu@1.0", NEW: "cpu@2.0"}
    executor = {"kind": kind}
    pair = TargetPair("cpu", "toy", {side: Target(names[side], "", ("toy",), executor) for side in SIDES})
    clean = {"batch": 8, "keep": "outputs", "task": "classification", "reference": False, "input_sha256": "d"}
    cases = {
        "accuracy": (
            Case("clean", data="clean", samples=N, params=clean),
            Case("clean", setting=PARITY, data="clean", samples=N, params=clean),
        ),
        "performance": (Case("single_stream", params={"processes": 5, "seconds": 1.0, "requests": 9}),),
    }
    options = {DEPLOY: Options(), PARITY: Options()}
    plan = Plan(
        tuple(
            Batch(name, "toy", "int8", suite, ARTIFACT, options, {}, {}, cases[suite])
            for name in names.values()
            for suite in cases
        )
    )
    run = {"model": {"task": "classification"}, "validation": {"suites": {}}}
    executors: Any = {names[OLD]: old, names[NEW]: new}
    prepared = Prepared(plan, run, labels, {}, (), executors, (), Cache(Path()), {}, (), 0.0)
    comparison = Comparison("cpu", "int8", artifact=ARTIFACT)
    request = UpgradeRequest("toy", "1.0", "2.0", Path(), Path(), criterion=Criterion(MEDIAN, within_s=1e-9))
    compare(comparison, request, pair, prepared, lambda text: None)
    return comparison


@pytest.fixture
def scores() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)


def test_equal_outputs_and_times_are_the_same(scores: NDArray[np.float32]) -> None:
    old, new = Planted(scores), Planted(scores.copy(), memory_byte=2 * 10**8)
    comparison = compared(old, new, scores.argmax(axis=1))
    f = comparison.findings
    assert (f.bit_exact, f.samples, f.flips, f.harmful, f.beneficial) == (1.0, N, 0, 0, 0)
    assert f.latency is State.PASS
    assert decide(f, 0.5)[0] is Decision.SAME
    assert comparison.timed is not None
    assert comparison.timed.memory_byte == {
        "base": [10**8] * 8, "control": [10**8] * 8, "new": [2 * 10**8] * 8,
    }  # fmt: skip
    assert comparison.environments[NEW] == {"numpy": "2.0"}
    assert "profile" not in old.log + new.log


def test_what_differs_is_counted_as_numpy_counts_it(scores: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(N) < 0.9, scores.argmax(axis=1), rng.integers(0, 4, N))
    other = scores.copy()
    other[:40, 0] += 0.5
    other[40, 2] = np.nextafter(other[40, 2], np.float32(9))  # one bit
    findings = compared(Planted(scores), Planted(other), labels).findings
    before, after = scores.argmax(axis=1), other.argmax(axis=1)
    assert findings.bit_exact == pytest.approx((scores == other).all(axis=1).mean())
    assert findings.flips == int((before != after).sum()) > 0
    flips = paired.flips(before == labels, after == labels)
    assert (findings.harmful, findings.beneficial) == (flips.c, flips.b)
    assert findings.loss_pt is not None
    assert findings.loss_pt.high == pytest.approx(100 * flips.loss.high)


def test_an_old_version_that_does_not_repeat_itself_is_reported(scores: NDArray[np.float32]) -> None:
    old = Planted(scores, jitter=30)
    findings = compared(old, Planted(scores), None, kind="emulated").findings
    assert findings.bit_exact == pytest.approx(1 - 30 / N)
    assert findings.repeats == pytest.approx(1 - 30 / N)


def test_without_labels_every_flip_may_be_a_loss(scores: NDArray[np.float32]) -> None:
    other = scores.copy()
    other[:30] = -other[:30]
    findings = compared(Planted(scores), Planted(other), None).findings
    changed = (scores.argmax(axis=1) != other.argmax(axis=1)).sum()
    assert findings.flips == changed
    assert findings.harmful is None
    assert findings.loss_pt is not None
    assert findings.loss_pt.value == pytest.approx(100 * changed / N)
    assert decide(findings, 0.5)[0] is Decision.WORSE


def test_a_slower_version_is_profiled(scores: NDArray[np.float32]) -> None:
    old, new = Planted(scores), Planted(scores, p50_ns=1.2e5, kernel_ns=60_000)
    comparison = compared(old, new, None)
    assert comparison.findings.latency is State.FAIL
    assert decide(comparison.findings, 0.5)[0] is Decision.SLOWER
    assert {side: len(comparison.profiles[side]) for side in SIDES} == {OLD: PROFILED, NEW: PROFILED}
    assert old.log.count("single_stream") == 2 * new.log.count("single_stream") == 16


def test_an_emulated_clock_is_not_asked(scores: NDArray[np.float32]) -> None:
    other = scores + np.float32(1e-6)
    old, new = Planted(scores), Planted(other, operators=("FusedConv",))
    comparison = compared(old, new, None, kind="emulated")
    assert comparison.findings.latency is None
    assert (old.log, new.log) == (["clean", "clean", "profile"], ["clean", "profile"])
    assert (comparison.findings.bit_exact, comparison.findings.repeats) == (0.0, 1.0)
    assert comparison.profiles[NEW][0].nodes == (("n0", "FusedConv"),)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", ["clean", "single_stream"])
def test_a_crash_belongs_to_its_side(scores: NDArray[np.float32], side: str, case: str) -> None:
    old, new = Planted(scores), Planted(scores)
    {OLD: old, NEW: new}[side].fails = {case: "the worker was killed by SIGSEGV"}
    comparison = compared(old, new, None)
    (failure,) = comparison.findings.failures.values()
    assert list(comparison.findings.failures) == [side]
    assert failure.stage == "run"
    assert "killed by SIGSEGV" in failure.reason
    wanted = Decision.BLOCKED if side == NEW else Decision.NOT_COMPARED
    assert decide(comparison.findings, 0.5)[0] is wanted


def test_other_inputs_are_not_compared(scores: NDArray[np.float32]) -> None:
    for old, new in (
        (Planted(scores, digest="e"), Planted(scores)),
        (Planted(scores), Planted(scores, digest="e")),
    ):
        decision, why = decide(compared(old, new, None).findings, 0.5)
        assert decision is Decision.NOT_COMPARED
        assert "the model inputs on the device differ" in why
        assert "single_stream" not in new.log


def test_outputs_that_do_not_fit_are_not_compared(scores: NDArray[np.float32]) -> None:
    decision, why = decide(compared(Planted(scores), Planted(scores[:, :3]), None).findings, 0.5)
    assert decision is Decision.NOT_COMPARED
    assert "outputs of shapes" in why


def test_a_runtime_without_a_profile_says_so(scores: NDArray[np.float32]) -> None:
    old = Planted(scores, fails={"profile": "the runtime tells no times of its kernels"})
    comparison = compared(old, Planted(scores, p50_ns=1.2e5), None)
    assert comparison.no_profile == "the runtime tells no times of its kernels"
    assert decide(comparison.findings, 0.5)[0] is Decision.SLOWER
