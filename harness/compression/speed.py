"""Speed ratio of two models, measured on this machine with ONNX Runtime on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from harness.compression import runtime
from harness.compression.passes import Feeds
from harness.stats.intervals import over_processes

_ROUNDS = 15
_BURST_NS = 8_000_000
_MOST_CALLS = 200


def measure_speed_up(before: onnx.ModelProto, after: onnx.ModelProto, feed: Feeds) -> dict[str, Any]:
    """Time two models alternately in the order ABBA, so that a drift of the machine favours neither.

    Returns
    -------
    dict
        ``speed_up`` (time before by time after) with ``ci_low`` and ``ci_high`` (two-sided 90 %) over ``n``
        rounds in this process, the median times ``before_ns`` and ``after_ns``, batch, runtime and threads.
    """
    sides = [_caller(model, feed) for model in (before, after)]
    first_ns = [max(_time(side, 3) // 3, 1) for side in sides]  # also a warm-up
    counts = [int(np.clip(_BURST_NS // call_ns, 1, _MOST_CALLS)) for call_ns in first_ns]
    per_call: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        spent_ns = [0, 0]
        for side in (0, 1, 1, 0):
            spent_ns[side] += _time(sides[side], counts[side])
        for side in (0, 1):
            per_call[side].append(spent_ns[side] / (2 * counts[side]))
    times = np.array(per_call)
    ratio = over_processes(times[0] / times[1])
    before_ns, after_ns = (round(float(median_ns)) for median_ns in np.median(times, axis=1))
    return {
        "speed_up": ratio.value, "ci_low": ratio.low, "ci_high": ratio.high, "n": ratio.n,
        "before_ns": before_ns, "after_ns": after_ns,
        "batch": int(next(iter(feed.values())).shape[0]) if next(iter(feed.values())).ndim else 1,
        "runtime": "onnxruntime", "threads": 1,
    }  # fmt: skip


def _caller(model: onnx.ModelProto, feed: Feeds) -> Callable[[], object]:
    """Open a model with all optimizations on one thread; return a function that runs it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.session(model.SerializeToString(), options)
    inputs = dict(feed)
    return lambda: session.run(None, inputs)


def _time(call: Callable[[], object], count: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return time.perf_counter_ns() - start
