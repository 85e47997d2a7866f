"""What every honest deployment holds about repeated calls: the same answer, time, memory."""

from __future__ import annotations

from functools import partial

from harness.core.check import Check
from harness.core.suite import CaseContext
from harness.core.verdict import Gate
from suites.performance.cases import SINGLE_STREAM, read

_gate = partial(Gate, suite="performance")
#: Judged by times: a machine that throttles leaves them open, and blocks nothing.
_timed = partial(_gate, on_inconclusive="warn")


def _is_compared(context: CaseContext) -> bool:
    return not context.emulated and read(context.settings).bare_processes > 0


def _over_bare(
    name: str, what: str, maximum: float, unit: str, why: str, failure: str, *faults: str
) -> Check:
    """Compare with the runtime itself, in the same process: 0 of the healthy batches reached the bound."""
    return Check(
        _timed(name, metric=f"{what}_over_bare_at_least", maximum=maximum, maximum_unit=unit),
        why=why, failure=failure, faults=faults, applies=_is_compared,
    )  # fmt: skip


_OVER_BARE = (
    _over_bare(
        "call-costs-no-more", "latency", 1.05, "1",
        "A backend adds conversions and checks in Python to the calls of the runtime that it loads, and no "
        "more. Called in turns with the runtime itself in one process, its calls take at most 1.05 times as "
        "long in one process at least, 15 empty Python calls aside. 180 healthy batches beside load "
        "(60 on each of three backends) were at most at 1.006.",
        "each call is slower than in the runtime that the backend loads",
        "slower-10", "slower-30",
    ),
    _over_bare(
        "batch-costs-no-more", "batch_latency", 1.05, "1",
        "What holds for a single row holds for a batch: calls with 8 rows at once take at most 1.05 times as "
        "long as the runtime's own, in one process at least.",
        "a call with several rows is slower than in the runtime that the backend loads",
        "slower-batches",
    ),
    _over_bare(
        "load-costs-no-more", "load", 50e6, "ns",
        "Opening a file by the backend takes at most 50 ms longer than 1.25 times the runtime alone, in one "
        "process at least; time that threads waited for a core does not count. 180 healthy batches beside "
        "load were at most at 0.9 ms.",
        "the backend takes longer to open the model than the runtime that it loads",
        "slow-load",
    ),
    _over_bare(
        "first-call-costs-no-more", "first_call", 50e6, "ns",
        "The first call of a session takes at most 50 ms longer than 1.25 times the runtime's alone, in one "
        "process at least; time that threads waited for a core does not count. 180 healthy batches beside "
        "load were all below 0.",
        "the first call is slower than in the runtime that the backend loads",
        "slow-first-call",
    ),
    _over_bare(
        "peak-costs-no-more", "peak", 10e6, "byte",
        "Opening a file and the first call take at most 10 MB and a copy of the file more memory than 1.25 "
        "times the runtime alone, at the peak, in one process at least. 180 healthy batches were at most at "
        "0.2 MB.",
        "the peak memory is higher than that of the runtime that the backend loads",
        "higher-peak",
    ),
)  # fmt: skip

CHECKS = (
    Check(
        _gate("same-answer-every-call", metric="timed_answers_wrong_count", maximum=0.0),
        why="A model computes a function of its input: each of thousands of timed calls, and of calls with "
        "varied inputs and batch sizes, gives the bits of the first answer. The check is about bits: kernels "
        "of a GPU that add in another order at each call differ by rounding (the sentence has the largest "
        "difference); relax it where you accept that.",
        failure="a repeated call gave a wrong answer",
        faults=("one-wrong-answer", "wrong-after-calls"),
    ),
    Check(
        _gate("clock-keeps-time", metric="clock_ratio", minimum=0.99, maximum=1.01),
        why="Two clocks of one machine measure the same time: NTP adjusts by at most 0.05 %, healthy runs "
        "beside load differed by 0.003 %. All times of a clock that runs slow are too short.",
        failure="the clock that times the calls runs wrong",
        faults=("slow-clock",),
    ),
    Check(
        _gate(
            "host-clock-agrees", metric="host_clock_ratio", minimum=0.9, maximum=1.1, cases=(SINGLE_STREAM,)
        ),
        why="The host sees when a case starts and ends. A device whose clocks all run wrong agrees with "
        "itself alone; what the messages take, up to 0.3 s, is no difference.",
        failure="the clock of the device runs at another rate than the host's",
        faults=("slow-clocks",),
        applies=lambda context: not context.emulated,
    ),
    Check(
        _timed("no-growth-with-uptime", metric="latency_growth_at_least", maximum=0.03),
        why="A call takes as long after an hour as after a minute. The growth counts only where the fastest "
        "tenth of the calls shows it in every process, which a neighbour does not cause: 186 healthy "
        "batches beside load showed none.",
        failure="the latency grows with uptime",
        faults=("slower-with-uptime",),
    ),
    Check(
        _timed("no-stalls", metric="stalls_at_least", maximum=2e-4),
        why="A call that takes ten times as long as the others while the machine runs the process waits for "
        "the backend itself (a lock, a collection, a timer). Stalls for which the kernel counted a wait for "
        "a core, CPU steal or a disk do not count: 0 in healthy runs beside load.",
        failure="calls stall",
        faults=("stall",),
    ),
    Check(
        _gate("no-memory-growth", metric="memory_growth_at_least", maximum=1_000.0, maximum_unit="byte"),
        why="A call gives back what it takes: a service that leaks ends out of memory. What allocators take "
        "once is left out; healthy runs grew by less than 0.2 kB a call, and not steadily.",
        failure="the backend leaks memory",
        faults=("leak-per-call",),
    ),
    Check(
        _timed("every-call-computed", metric="new_input_ratio_at_least", maximum=1.5),
        why="An answer that is remembered costs no time: the times of repeated requests would be those of a "
        "cache. A content that the session never saw, in the same buffer, takes as long.",
        failure="answers come from a cache: a repeated input is answered faster than a new one",
        faults=("remembers-answers",),
    ),
    Check(
        _timed("calls-finish", metric="late_ratio_at_least", maximum=0.25),
        why="A call has computed its answer when it returns: else its time leaves out the work, which is "
        "done where the outputs are read.",
        failure="outputs are computed late, when they are read: the call returns before its work is done",
        faults=("computes-late",),
    ),
    Check(
        _timed("bound-call-computed", metric="bound_ratio_at_least", maximum=10.0),
        why="A bound call saves copies and checks, not the work of the model.",
        failure="the bound call does not compute: it returns ten times as fast as a call of run",
        faults=("bound-call-does-nothing",),
    ),
    Check(
        _gate("reads-its-input", metric="reused_buffer_wrong", maximum=0.0),
        why="A caller fills one buffer again and again: the answer is that to its content at the call.",
        failure="the answer is that to an earlier content of the input buffer, which came from a cache",
        faults=("remembers-buffers",),
    ),
    Check(
        _gate("input-stays-every-call", metric="timed_inputs_changed", maximum=0.0),
        why="The caller owns its inputs: none of thousands of calls writes into them.",
        failure="the backend changed its input in one of thousands of calls",
        faults=("changes-its-input-rarely",),
    ),
    Check(
        _gate("no-descriptor-growth", metric="descriptor_growth_at_least", maximum=0.0),
        why="A call closes the files that it opens: a service ends at its limit of descriptors.",
        failure="calls leave file descriptors open",
        faults=("descriptors-per-call",),
    ),
    Check(
        _gate("no-thread-growth", metric="thread_growth_at_least", maximum=0.0),
        why="A call ends the threads that it starts; pools stop growing after the first calls.",
        failure="calls leave threads behind",
        faults=("threads-per-call",),
    ),
    *_OVER_BARE,
)
