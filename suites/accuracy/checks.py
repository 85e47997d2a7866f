"""What every honest deployment holds about its answers, as rows of this suite."""

from __future__ import annotations

from functools import partial

from harness.core.check import Check
from harness.core.verdict import Gate

_gate = partial(Gate, suite="accuracy")

CHECKS = (
    Check(
        _gate("same-inputs-as-host", metric="input_digest_equal", minimum=1.0),
        why="Every device preprocesses the same raw bytes; other bytes at the model's input make every "
        "comparison of answers meaningless.",
        failure="the device fed the model with other inputs than the host",
        faults=("wrong-preprocessing",),
    ),
)
