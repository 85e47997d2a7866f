"""Facts of healthy timed loops, and of loops in which a test plants something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

READINGS = 33
PROCESS_BYTE = 70_000_000


def facts(
    times: Sequence[NDArray[Any]],
    *,
    wrong: Sequence[tuple[int, int, int]] = (),
    clock: float = 1.0,
    wall: float = 1.0,
    loop_ns: int = 400_000_000,
    slow: Sequence[tuple[int, int, int, int]] = (),
    leak_byte: float = 0.0,
    noise_byte: float = 8192.0,
) -> dict[str, NDArray[Any]]:
    """Make the arrays of `suites.performance.loop.facts` of one loop a process.

    Parameters
    ----------
    times : sequence of ndarray
        Times of the calls of each process.
    wrong : sequence of (process, batch size, call)
    clock, wall : float
        How fast the clocks run against the raw one.
    loop_ns : int
        Of each loop.
    slow : sequence of (call, waited_ns, steal_ns, faults)
        In each process.
    leak_byte : float
        By which each call makes the process grow.
    noise_byte : float
        Memory comes and goes by about so much.
    """
    rng = np.random.default_rng(0)
    memory = [
        (index, 1, calls, PROCESS_BYTE + leak_byte * calls + rng.normal(0, noise_byte))
        for index, part in enumerate(times)
        for calls in np.linspace(0, len(part), READINGS).astype(int)
    ]
    answers = [
        (index, 1, len(part), sum(process == index for process, _, _ in wrong))
        for index, part in enumerate(times)
    ]
    return {
        "answers": np.array(answers, np.int64),
        "wrong_calls": np.array(wrong, np.int64).reshape(-1, 3),
        "wrong_difference": np.full(len(times), 0.5 if wrong else 0.0),
        "clocks": np.array(
            [(i, 1, int(clock * loop_ns), loop_ns, int(wall * loop_ns)) for i in range(len(times))], np.int64
        ),
        "slow_calls": np.array(
            [(index, 1, *entry) for index in range(len(times)) for entry in slow], np.int64
        ).reshape(-1, 6),
        "memory": np.array(memory, np.int64).reshape(-1, 4),
    }
