"""How much faster a model became: measured here, now, on ONNX Runtime with one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from harness.compression.passes import Feeds
from harness.stats.intervals import over_processes

_ROUNDS = 15
_BURST_NS = 8_000_000
_MOST_CALLS = 200


def measure_speed_up(before: onnx.ModelProto, after: onnx.ModelProto, feed: Feeds) -> dict[str, Any]:
    """Time two models in turns, in the order ABBA, so that a drift of the machine favours neither.

    Returns
    -------
    dict
        ``speed_up`` (time before by time after) with ``ci_low`` and ``ci_high`` (two-sided 90 %) over ``n``
        rounds in this process, the median times ``before_ns`` and ``after_ns``, batch, runtime and threads.
    """
    sides = [_calls(model, feed) for model in (before, after)]
    once = [max(_time(side, 3) // 3, 1) for side in sides]  # warms up too
    counts = [int(np.clip(_BURST_NS // each, 1, _MOST_CALLS)) for each in once]
    per_call: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        spent = [0, 0]
        for which in (0, 1, 1, 0):
            spent[which] += _time(sides[which], counts[which])
        for which in (0, 1):
            per_call[which].append(spent[which] / (2 * counts[which]))
    times = np.array(per_call)
    found = over_processes(times[0] / times[1])
    before_ns, after_ns = (round(float(each)) for each in np.median(times, axis=1))
    return {
        "speed_up": found.value, "ci_low": found.low, "ci_high": found.high, "n": found.n,
        "before_ns": before_ns, "after_ns": after_ns,
        "batch": int(next(iter(feed.values())).shape[0]) if next(iter(feed.values())).ndim else 1,
        "runtime": "onnxruntime", "threads": 1,
    }  # fmt: skip


def _calls(model: onnx.ModelProto, feed: Feeds) -> Callable[[], object]:
    """Open a model as it ships: every optimization, one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed = dict(feed)
    return lambda: session.run(None, fed)


def _time(call: Callable[[], object], count: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return time.perf_counter_ns() - start
