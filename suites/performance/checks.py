"""What every honest deployment holds about repeated calls: the same answer, time, memory."""

from __future__ import annotations

from functools import partial

from harness.core.check import Check
from harness.core.verdict import Gate

_gate = partial(Gate, suite="performance")
#: Judged by times: a machine that throttles leaves them open, and blocks nothing.
_timed = partial(_gate, on_inconclusive="warn")

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
)
