"""Times → rows. The unit of analysis is the process: requests within one are not independent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause, Reason
from harness.core.job import Case, Job, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric, Noise, Role
from harness.core.suite import CaseContext, ProposalContext, ProposedGate, SummaryContext
from harness.stats.intervals import Interval, over_processes
from harness.stats.latency import PERCENTILES, latency_summary, percentile
from harness.stats.side_by_side import ALPHA
from suites.performance import cases as plan
from suites.performance import over_bare
from suites.performance.calls import call_rows
from suites.performance.steadiness import (
    answer_rows,
    clock_row,
    growth_rows,
    host_clock_row,
    memory_rows,
    row,
    stall_rows,
)

EMULATED_CLOCK = Reason(
    Cause.EMULATED_CLOCK, "emulated clock: a time measured there says nothing of the device"
)
EMULATED_MEMORY = Reason(Cause.EMULATED_MEMORY, "emulated memory: the emulator's own memory is in the figure")
CONSTANT = Reason(Cause.COARSE_CLOCK, "no process's latency varies: the clock is too coarse")

#: Of a microcontroller's memory, and what the figure is.
FOOTPRINT = {
    "arena_byte": "RAM for tensors, as the runtime's allocator counts it on this machine's word size",
    "flash_byte": "the model file; the code of the kernels is not in it",
}

_time = partial(Metric, "ns", "lower", Noise.RUNS, plan.SINGLE_STREAM)
# They have no direction: a check judges them, and two runs differ in them by chance.
_change = partial(Metric, "1", noise=Noise.RUNS, case=plan.SINGLE_STREAM)
_memory = partial(Metric, "byte", "lower", Noise.RUNS, plan.SINGLE_STREAM)
METRICS: Mapping[str, Metric] = {
    "latency_p50": _time(role=Role.LATENCY, percentile=0.5, column=Column("p50 ms", 1e-6, ".3f", spare=2)),
    "latency_p90": _time(percentile=0.9),
    "latency_p99": _time(role=Role.TAIL, percentile=0.99, column=Column("p99 ms", 1e-6, ".3f", spare=4)),
    "latency_p999": _time(),
    "latency_max": Metric("ns", noise=Noise.RUNS, case=plan.SINGLE_STREAM),
    "latency_lag1_autocorrelation": Metric("1", case=plan.SINGLE_STREAM),
    "latency_growth": _change(),
    "latency_growth_at_least": _change(),
    "latency_drift": _change(),
    "stall_share": _change(),
    "stall_bursts": _change(),
    "stalls_at_least": _change(),
    "clock_ratio": _change(),
    "host_clock_ratio": _change(),
    "timed_answers_wrong": Metric("1", case=plan.SINGLE_STREAM),
    "timed_answers_wrong_count": Metric("1", case=plan.SINGLE_STREAM),
    **{
        f"{what}_over_bare{end}": Metric(unit, noise=Noise.RUNS, case=plan.SINGLE_STREAM)
        for what, unit in over_bare.UNITS.items()
        for end in over_bare.ENDS
    },
    "load_time": _time(),
    "first_inference": _time(),
    "first_call_ratio": _change(),
    "memory_growth": Metric("byte", noise=Noise.RUNS, case=plan.VARIED),
    "memory_growth_at_least": Metric("byte", noise=Noise.RUNS, case=plan.VARIED),
    **{
        name: Metric("1", noise=Noise.RUNS, case=plan.VARIED)
        for name in (
            "timed_inputs_changed", "reused_buffer_wrong", "new_input_ratio_at_least", "late_ratio_at_least",
            "bound_ratio_at_least", "descriptor_growth_at_least", "thread_growth_at_least",
        )
    },
    "peak_memory": _memory(role=Role.MEMORY, column=Column("memory MB", 1e-6, ".1f", spare=1)),
    "gpu_memory_peak": _memory(),
    "model_bytes": Metric(
        "byte", "lower", case=plan.SINGLE_STREAM, role=Role.SIZE, column=Column("MB", 1e-6, ".2f", spare=1)
    ),
    # They do not vary, and are right wherever the model was opened.
    "arena_byte": Metric(
        "byte", "lower", case=plan.SINGLE_STREAM, column=Column("arena kB", 1e-3, ".1f", spare=3)
    ),
    "flash_byte": Metric("byte", "lower", case=plan.SINGLE_STREAM),
    "throughput": Metric("1/s", "higher", Noise.RUNS),
}  # fmt: skip


class PerformanceSuite:
    """Latency, throughput, load time, memory and size."""

    name = "performance"
    metrics = METRICS

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        """See `suites.performance.cases.cases`."""
        return plan.cases(context)

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `suites.performance.cases.check`."""
        return plan.check(settings)

    def again(self, case: Case, looks: int) -> Case:
        """Return a case with as many processes as all rounds before it."""
        times = 2 ** (looks - 1)
        if case.name == plan.VARIED:  # one process, which is another one for its samples
            params = {**case.params, "calls": times * case.params["calls"], "index": looks}
            params["max_seconds"] = times * case.params["max_seconds"]
            return replace(case, params=params, deadline_s=times * case.deadline_s)
        params = {**case.params, "processes": times * case.params["processes"]}
        return replace(case, params=params, deadline_s=times * case.deadline_s)

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose a limit on the latency as a comment: only the user knows what is fast enough."""
        why = "to gate the latency, set a limit and remove the leading #"
        table = {"metric": "latency_p99", "max": "10 ms"}
        return [ProposedGate("latency p99", table, why, commented=True)]

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        """Make the rows of one case that was measured."""
        untimely = EMULATED_CLOCK if context.emulated else context.disturbed
        samples, alpha = result.samples, context.alpha
        emulated = EMULATED_CLOCK if context.emulated else None
        checked = [*answer_rows(samples, alpha), *clock_row(samples, emulated)]
        memory = memory_rows(samples, EMULATED_MEMORY if context.emulated else None, alpha)
        if job.case.name == plan.VARIED:
            return checked + memory + call_rows(samples, emulated)
        if job.case.name == plan.OFFLINE:
            return _offline(samples, untimely, alpha) + checked
        latency = _latency(samples, untimely, alpha) + checked
        if job.case.name == plan.DEVICE_BUFFERS:
            return latency
        beside = over_bare.over_bare_rows(samples, context.artifact.size_byte, untimely)
        clock = [host_clock_row(result, emulated)]
        return latency + clock + memory + _process(samples, context, untimely) + beside


def _latency(samples: Samples, untimely: Reason | None, alpha: float) -> list[Measurement]:
    a, values = samples.arrays, samples.values
    note = f"{values['call']} call" + (f", a fixed batch of {values['batch']}" if values["batch"] > 1 else "")
    note += f", interval at alpha {alpha:.3g}" * (alpha < ALPHA)
    times = _by_process(a["latency_ns"], a["requests"])
    latency = latency_summary(times, percentiles=(*PERCENTILES, 0.999), alpha=alpha)
    measurements = [
        row(
            f"latency_p{p.p * 100:g}".replace(".", ""),
            "ns",
            p.latency_ns,
            n=p.n,
            invalid=untimely or (Reason(Cause.TOO_FEW_SAMPLES, p.reason) if p.reason else None),
            note=note,
        )
        for p in latency.percentiles
    ]
    # Near 0, neighbours are independent; near 1, p99 rests on far fewer than its n requests.
    dependence = latency.autocorrelation
    measurements.append(
        row(
            "latency_lag1_autocorrelation",
            "1",
            Interval(dependence, math.nan, math.nan, latency.n),
            n=latency.n,
            invalid=untimely or (None if math.isfinite(dependence) else CONSTANT),
        )
    )
    return [*measurements, *stall_rows(times, samples, untimely, alpha), *growth_rows(times, untimely, alpha)]


def _process(samples: Samples, context: SummaryContext, untimely: Reason | None) -> list[Measurement]:
    """Load time, first inference, memory and size."""
    a, measurements = samples.arrays, []
    for metric, unit, array, invalid in (
        ("load_time", "ns", a["load_ns"], untimely),
        ("first_inference", "ns", a["first_ns"], untimely),
        ("first_call_ratio", "1", a["first_ns"] / _typical_ns(a), untimely),
        ("peak_memory", "byte", a["memory_peak_byte"], EMULATED_MEMORY if context.emulated else None),
    ):
        measurements.append(row(metric, unit, over_processes(array, alpha=context.alpha), invalid=invalid))
    if "gpu_memory_na" in samples.values:
        why = samples.values["gpu_memory_na"]
        measurements.append(
            Measurement(
                "gpu_memory_peak",
                "byte",
                math.nan,
                status=Status.SKIPPED,
                reason=why,
                cause=Cause.MISSING_ABILITY,
            )
        )
    elif "gpu_memory_peak_byte" in a:
        measurements.append(
            row("gpu_memory_peak", "byte", over_processes(a["gpu_memory_peak_byte"], alpha=context.alpha))
        )
    for metric, note in FOOTPRINT.items():
        if metric in a:
            measurements.append(
                row(metric, "byte", Interval(int(a[metric].max()), math.nan, math.nan, 1), note=note)
            )
    size = Interval(context.artifact.size_byte, math.nan, math.nan, len(context.artifact.files))
    return [*measurements, row("model_bytes", "byte", size)]


def _typical_ns(arrays: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    times = _by_process(arrays["latency_ns"], arrays["requests"])
    return np.array([max(1, percentile(part, 0.5)) for part in times], np.float64)


def _offline(samples: Samples, untimely: Reason | None, alpha: float) -> list[Measurement]:
    measurements = []
    for size in samples.values["batch_sizes"]:
        by_process = _by_process(samples.arrays[f"batch{size}_ns"], samples.arrays[f"batch{size}_calls"])
        per_second = np.array([size * len(times) * 1e9 / times.sum() for times in by_process])
        measurements.append(
            row(
                "throughput",
                "1/s",
                over_processes(per_second, alpha=alpha),
                n=size * sum(map(len, by_process)),
                invalid=untimely,
                case=f"{plan.OFFLINE}_b{size}",
            )
        )
    for size, reason in samples.values["left_out"].items():
        measurements.append(
            Measurement(
                "throughput",
                "1/s",
                math.nan,
                status=Status.SKIPPED,
                reason=reason,
                cause=Cause.MISSING_ABILITY,
                case=f"{plan.OFFLINE}_b{size}",
            )
        )
    return measurements


def _by_process(pooled: NDArray[np.int64], counts: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    """Split the values of all processes into one array per process."""
    return np.split(pooled, np.cumsum(counts)[:-1])
