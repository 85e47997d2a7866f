from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.cause import Cause, Reason
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement
from harness.core.suite import SummaryContext
from harness.stats.intervals import over_processes
from suites.performance.summarise import PerformanceSuite
from tests.unit.suites.timed_facts import facts

ARTIFACT = Artifact("int8", "openvino", (File("m.xml", "a", 1000), File("m.bin", "b", 234)), Path())


def summarise(
    name: str,
    samples: Samples,
    *,
    emulated: bool = False,
    disturbed: Reason | None = None,
    alpha: float = 0.05,
) -> list[Measurement]:
    job = Job("cpu", "onnxruntime", "int8", "performance", Case(name))
    context = SummaryContext(
        ARTIFACT, Options(), "classification", None, lambda *_: None, emulated, {}, disturbed, alpha
    )
    result = JobResult(job.key, Status.OK, samples=samples, duration_ns=3 * 10**9, host_ns=3 * 10**9)
    return PerformanceSuite().summarise(job, result, context)


def single_stream(per_process: list[np.ndarray], **values: Any) -> Samples:
    k = len(per_process)
    return Samples(
        {
            "latency_ns": np.concatenate(per_process).astype(np.int64),
            "requests": np.array([len(times) for times in per_process]),
            "load_ns": np.full(k, 5_000_000),
            "first_ns": np.full(k, 700_000),
            "memory_peak_byte": np.full(k, 60 * 2**20),
            **facts(per_process),
        },
        {"batch": 1, "call": "bound"} | values,
    )


def by_metric(measurements: list[Measurement]) -> dict[str, Measurement]:
    assert len({m.metric for m in measurements}) == len(measurements)
    return {m.metric: m for m in measurements}


def ramp(scale: int) -> np.ndarray:
    """1000 latencies whose p50, p90, p99 are 500, 900, 990 times `scale`, in no order."""
    return np.random.default_rng(scale).permutation(np.arange(1, 1001)) * scale


def test_percentiles_are_the_processes_and_the_interval_is_over_them() -> None:
    # Different lengths: the cut must be where each process ended.
    scales = [100, 110, 120, 130, 145]
    per_process = [ramp(scale) for scale in scales]
    per_process[1] = np.concatenate([per_process[1]] * 3)
    metrics = by_metric(summarise("single_stream", single_stream(per_process)))
    logs = np.log(scales)
    half = 2.1318467863 * logs.std(ddof=1) / math.sqrt(5)  # t(4) at one-sided 5 %
    for metric, factor in (("latency_p50", 500), ("latency_p90", 900), ("latency_p99", 990)):
        m = metrics[metric]
        assert (m.unit, m.n, m.status, m.reason) == ("ns", 7000, Status.OK, "bound call")
        assert m.value == pytest.approx(factor * math.exp(logs.mean()), rel=1e-12)
        assert m.ci_low == pytest.approx(factor * math.exp(logs.mean() - half), rel=1e-9)
        assert m.ci_high == pytest.approx(factor * math.exp(logs.mean() + half), rel=1e-9)


def test_the_other_rows_of_single_stream() -> None:
    metrics = by_metric(summarise("single_stream", single_stream([ramp(1), ramp(2)])))
    assert (metrics["load_time"].value, metrics["load_time"].unit) == (pytest.approx(5e6), "ns")
    assert (metrics["first_inference"].value, metrics["first_inference"].n) == (pytest.approx(7e5), 2)
    assert (metrics["peak_memory"].value, metrics["peak_memory"].unit) == (pytest.approx(60 * 2**20), "byte")
    assert (metrics["model_bytes"].value, metrics["model_bytes"].unit, metrics["model_bytes"].n) == (
        1234,
        "byte",
        2,
    )
    assert abs(metrics["latency_lag1_autocorrelation"].value) < 0.1
    assert all(m.n and m.unit for m in metrics.values())


def test_dependent_requests_show_in_the_autocorrelation() -> None:
    slow_then_fast = np.repeat([200, 100], 500)
    metrics = by_metric(summarise("single_stream", single_stream([slow_then_fast, slow_then_fast])))
    assert metrics["latency_lag1_autocorrelation"].value > 0.9


def test_clock_too_coarse_to_vary_is_invalid() -> None:
    metrics = by_metric(summarise("single_stream", single_stream([np.full(400, 64)] * 2)))
    assert metrics["latency_lag1_autocorrelation"].status is Status.INVALID
    assert metrics["latency_p50"].value == pytest.approx(64)


@pytest.mark.parametrize(("n", "p90", "p99"), [(330, Status.OK, Status.INVALID), (331, Status.OK, Status.OK)])
def test_too_few_requests_for_a_percentile_is_invalid_and_says_how_many(
    n: int, p90: Status, p99: Status
) -> None:
    metrics = by_metric(summarise("single_stream", single_stream([ramp(1)[:n], ramp(2)[:n]])))
    assert (metrics["latency_p90"].status, metrics["latency_p99"].status) == (p90, p99)
    if p99 is Status.INVALID:
        assert metrics["latency_p99"].reason == "too few samples: needs 662, has 660"
        assert metrics["latency_p99"].cause is Cause.TOO_FEW_SAMPLES
        assert math.isfinite(metrics["latency_p99"].value)


@pytest.mark.parametrize("emulated", [False, True])
def test_footprint_is_right_wherever_it_was_read(emulated: bool) -> None:
    samples = single_stream([ramp(1), ramp(2)])
    assert not {"arena_byte", "flash_byte"} & by_metric(summarise("single_stream", samples)).keys()
    arrays = {"arena_byte": np.array([39_088, 39_088]), "flash_byte": np.array([1_234, 1_234])}
    reported = Samples(dict(samples.arrays) | arrays, samples.values)
    metrics = by_metric(summarise("single_stream", reported, emulated=emulated))
    assert (metrics["arena_byte"].value, metrics["arena_byte"].status) == (39_088, Status.OK)
    assert (metrics["flash_byte"].value, metrics["flash_byte"].status) == (1_234, Status.OK)
    assert "code of the kernels" in metrics["flash_byte"].reason


def test_emulated_clock_makes_every_time_invalid_and_leaves_the_size() -> None:
    metrics = by_metric(summarise("single_stream", single_stream([ramp(1), ramp(2)]), emulated=True))
    # Answers are the same at any speed.
    for metric in ("model_bytes", "timed_answers_wrong", "timed_answers_wrong_count"):
        assert metrics.pop(metric).status is Status.OK
    assert {m.status for m in metrics.values()} == {Status.INVALID}
    for metric in ("peak_memory", "memory_growth", "memory_growth_at_least"):
        memory = metrics.pop(metric)
        assert (memory.cause, memory.reason[:15]) == (Cause.EMULATED_MEMORY, "emulated memory")
    assert {m.cause for m in metrics.values()} == {Cause.EMULATED_CLOCK}
    rows = summarise("offline", offline(), emulated=True)
    assert [m.status for m in rows] == [Status.INVALID, Status.INVALID, Status.SKIPPED]


def test_a_disturbed_machine_makes_times_invalid_and_leaves_memory_and_size() -> None:
    why = Reason(Cause.THROTTLING, "the board reported throttling")
    metrics = by_metric(summarise("single_stream", single_stream([ramp(1), ramp(2)]), disturbed=why))
    for metric in (
        "model_bytes", "peak_memory", "memory_growth", "memory_growth_at_least", "timed_answers_wrong",
        "timed_answers_wrong_count", "clock_ratio", "stalls_at_least", "host_clock_ratio",
    ):  # fmt: skip
        assert metrics.pop(metric).status is Status.OK
    assert {(m.status, m.reason, m.cause) for m in metrics.values()} == {
        (Status.INVALID, why.text, why.cause)
    }
    rows = summarise("offline", offline(), disturbed=why)
    assert [m.status for m in rows] == [Status.INVALID, Status.INVALID, Status.SKIPPED]


def test_device_buffers_tell_of_latency_alone() -> None:
    samples = single_stream([ramp(1), ramp(2)], call="device-bound")
    arrays = {name: samples.arrays[name] for name in ("latency_ns", "requests", *FACTS)}
    metrics = by_metric(summarise("device_buffers", Samples(arrays, samples.values)))
    assert set(metrics) == set(LATENCY) | set(CHECKED)
    assert metrics["latency_p50"].reason == "device-bound call"
    assert metrics["latency_p50"].value == pytest.approx(500 * math.sqrt(2))
    why = Reason(Cause.THROTTLING, "the GPU was held below its clocks by a power cap")
    rows = summarise("device_buffers", Samples(arrays, samples.values), disturbed=why)
    timed = [m for m in rows if m.metric not in (*CHECKED, "stalls_at_least")]
    assert {(m.status, m.reason, m.cause) for m in timed} == {(Status.INVALID, why.text, why.cause)}


def test_memory_of_a_gpu_or_why_it_is_not_known() -> None:
    samples = single_stream([ramp(1), ramp(2)])
    assert "gpu_memory_peak" not in by_metric(summarise("single_stream", samples))
    peak = {"gpu_memory_peak_byte": np.array([4 * 2**20, 4 * 2**20])}
    metrics = by_metric(summarise("single_stream", Samples({**samples.arrays, **peak}, samples.values)))
    peak_row = metrics["gpu_memory_peak"]
    assert (peak_row.value, peak_row.unit, peak_row.n, peak_row.status) == (
        pytest.approx(4 * 2**20), "byte", 2, Status.OK,
    )  # fmt: skip
    values = {**samples.values, "gpu_memory_na": "a container"}
    unknown = by_metric(summarise("single_stream", Samples(samples.arrays, values)))["gpu_memory_peak"]
    assert (unknown.status, unknown.reason) == (Status.SKIPPED, "a container")
    assert math.isnan(unknown.value)


def test_fixed_batch_is_named() -> None:
    metrics = by_metric(summarise("single_stream", single_stream([ramp(1), ramp(2)], batch=4, call="run")))
    assert metrics["latency_p50"].reason == "run call, a fixed batch of 4"


def offline() -> Samples:
    return Samples(
        {
            "batch1_ns": np.array([1000, 1000, 2000, 2000]),
            "batch1_calls": np.array([1, 1, 2]),
            "batch8_ns": np.full(30, 4000),
            "batch8_calls": np.full(3, 10),
        },
        {"batch_sizes": [1, 8], "left_out": {"32": "there are only 10 samples"}},
    )


def test_throughput_is_samples_per_second_by_batch_size() -> None:
    one, eight, skipped = summarise("offline", offline())
    assert (one.case, one.metric, one.unit) == ("offline_b1", "throughput", "1/s")
    # 1e6, 1e6 and 0.5e6 a second: their geometric mean
    assert one.value == pytest.approx(1e6 * 0.5 ** (1 / 3))
    assert one.ci_low < 0.5e6 < one.value < 1e6 < one.ci_high
    assert (eight.case, eight.value, eight.n) == ("offline_b8", pytest.approx(2e6), 240)
    assert one.n == 4
    assert (skipped.case, skipped.status) == ("offline_b32", Status.SKIPPED)
    assert skipped.reason == "there are only 10 samples"
    assert math.isnan(skipped.value)


FACTS = ("answers", "wrong_calls", "wrong_difference", "clocks", "slow_calls")
LATENCY = (
    "latency_p50", "latency_p90", "latency_p99", "latency_p999", "latency_lag1_autocorrelation",
    "latency_max", "stall_share", "stall_bursts", "stalls_at_least", "latency_growth",
    "latency_growth_at_least",
)  # fmt: skip
CHECKED = ("timed_answers_wrong", "timed_answers_wrong_count", "clock_ratio")
MEMORY = ("memory_growth", "memory_growth_at_least")
OVER_BARE = [
    f"{what}_over_bare{end}"
    for what in ("latency", "batch_latency", "load", "first_call", "peak")
    for end in ("", "_at_least")
]
CALLS = (
    "timed_inputs_changed", "reused_buffer_wrong", "new_input_ratio_at_least", "late_ratio_at_least",
    "bound_ratio_at_least", "descriptor_growth_at_least", "thread_growth_at_least",
)  # fmt: skip
FOOTPRINT = ("arena_byte", "flash_byte")
ROWS = {
    "single_stream": [
        *LATENCY, "latency_drift", *CHECKED, "host_clock_ratio", *MEMORY, "load_time",
        "first_inference", "first_call_ratio", "peak_memory", "gpu_memory_peak", *FOOTPRINT, "model_bytes",
        *OVER_BARE,
    ],
    "offline": ["throughput", *CHECKED],
    "varied": [*CHECKED, *MEMORY, *CALLS],
}  # fmt: skip


def calls() -> dict[str, Any]:
    """What `varied` measures besides of a healthy session without a float input."""
    readings = [(0, 1, 100 * reading, 9, 4) for reading in range(33)]
    return {"inputs": np.array([10, 0]), "handles": np.array(readings)}


def test_each_case_has_all_its_rows_in_their_order_and_every_metric_is_declared() -> None:
    samples = single_stream([ramp(1), ramp(2), ramp(3)])
    given = ("gpu_memory_peak_byte", "arena_byte", "flash_byte")
    arrays = {**samples.arrays, **dict.fromkeys(given, np.array([1, 1, 1]))}
    values = {**samples.values, "bare_na": "it is another runtime"}
    names = [row.metric for row in summarise("single_stream", Samples(arrays, values))]
    assert names == ROWS["single_stream"]
    assert [row.metric for row in summarise("offline", offline())] == ["throughput"] * 3
    rounds = offline()
    looked_at = Samples({**rounds.arrays, **facts([ramp(1)] * 3)}, rounds.values)
    assert [row.metric for row in summarise("offline", looked_at)] == ["throughput"] * 2 + ROWS["offline"]
    varied = Samples({**facts([ramp(1)]), **calls()})
    assert [row.metric for row in summarise("varied", varied)] == ROWS["varied"]
    assert set(PerformanceSuite.metrics) == {metric for metrics in ROWS.values() for metric in metrics}


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.0125])
def test_alpha_reaches_every_interval_and_is_noted(alpha: float) -> None:
    spread = single_stream([ramp(1), ramp(2), ramp(3)])
    factors = np.array([1.0, 1.5, 2.0])
    extra = {
        "load_ns": 1000 * factors, "first_ns": 100 * factors, "memory_peak_byte": 10 * factors,
        "gpu_memory_peak_byte": 20 * factors,
    }  # fmt: skip
    metrics = by_metric(
        summarise("single_stream", Samples({**spread.arrays, **extra}, spread.values), alpha=alpha)
    )
    note = "bound call" if alpha == 0.05 else f"bound call, interval at alpha {alpha}"
    for metric, factor in (("latency_p50", 500), ("latency_p90", 900), ("latency_p99", 990)):
        expected = over_processes(np.array([1, 2, 3]) * factor, alpha=alpha)
        row = metrics[metric]
        assert (row.value, row.ci_low, row.ci_high) == (expected.value, expected.low, expected.high)
        assert row.reason == note
    for metric, name in (
        ("load_time", "load_ns"), ("first_inference", "first_ns"), ("peak_memory", "memory_peak_byte"),
        ("gpu_memory_peak", "gpu_memory_peak_byte"),
    ):  # fmt: skip
        expected = over_processes(extra[name], alpha=alpha)
        row = metrics[metric]
        assert (row.value, row.ci_low, row.ci_high, row.n) == (
            expected.value, expected.low, expected.high, 3,
        )  # fmt: skip
        assert row.reason == ""
    expected = over_processes(100 * factors / (np.array([1, 2, 3]) * 500.0), alpha=alpha)
    row = metrics["first_call_ratio"]
    assert (row.value, row.ci_low, row.ci_high) == (expected.value, expected.low, expected.high)
    one, _, _ = summarise("offline", offline(), alpha=alpha)
    expected = over_processes(np.array([1e6, 1e6, 0.5e6]), alpha=alpha)
    assert (one.ci_low, one.ci_high) == pytest.approx((expected.low, expected.high))


def test_rows_without_an_interval_have_none() -> None:
    metrics = by_metric(summarise("single_stream", single_stream([ramp(1), ramp(2)])))
    for metric in ("model_bytes", "latency_lag1_autocorrelation"):
        assert math.isnan(metrics[metric].ci_low)
        assert math.isnan(metrics[metric].ci_high)
    assert metrics["latency_lag1_autocorrelation"].n == 2000
    assert metrics["latency_lag1_autocorrelation"].unit == "1"


def test_what_a_device_cannot_do_is_skipped_for_that_reason() -> None:
    skipped = summarise("offline", offline())[-1]
    assert (skipped.metric, skipped.unit, skipped.cause) == ("throughput", "1/s", Cause.MISSING_ABILITY)
    samples = single_stream([ramp(1), ramp(2)], gpu_memory_na="a container")
    unknown = by_metric(summarise("single_stream", samples))["gpu_memory_peak"]
    assert (unknown.unit, unknown.cause) == ("byte", Cause.MISSING_ABILITY)


@pytest.mark.parametrize(("looks", "times"), [(1, 1), (2, 2), (4, 8)])
def test_each_round_has_as_many_processes_as_all_before(looks: int, times: int) -> None:
    case = Case("single_stream", deadline_s=10.0, params={"processes": 3, "rounds": 2})
    again = PerformanceSuite().again(case, looks)
    assert again.params == {"processes": 3 * times, "rounds": 2}
    assert again.deadline_s == 10.0 * times


def test_a_further_round_of_varied_calls_is_another_process() -> None:
    case = Case("varied", deadline_s=10.0, params={"calls": 6_000, "max_seconds": 1.0, "index": 0})
    again = PerformanceSuite().again(case, 2)
    assert again.params == {"calls": 12_000, "max_seconds": 2.0, "index": 2}
    assert again.deadline_s == 20.0


def test_a_run_of_before_has_the_rows_that_it_can_have() -> None:
    samples = single_stream([ramp(1), ramp(2), ramp(3)])
    arrays = {name: array for name, array in samples.arrays.items() if name not in (*FACTS, "memory")}
    names = [row.metric for row in summarise("single_stream", Samples(arrays, samples.values))]
    missing = {
        *CHECKED,
        *MEMORY,
        "stall_share",
        "stall_bursts",
        "stalls_at_least",
        "gpu_memory_peak",
        *FOOTPRINT,
        *OVER_BARE,
    }
    assert names == [name for name in ROWS["single_stream"] if name not in missing]
