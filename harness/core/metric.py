"""What a suite says of its metrics."""

from __future__ import annotations

#: The case whose single calls are timed, and the percentile of them that each metric is.
SINGLE_STREAM = "single_stream"
TIMED = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}
