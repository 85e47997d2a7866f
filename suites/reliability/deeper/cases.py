"""The cases of the profile ``standard``: what takes seconds rather than tenths of them."""

from __future__ import annotations

from collections.abc import Callable

from harness.core.job import Case
from harness.core.suite import CaseContext

CONCURRENT = "concurrent"
UNUSUAL_VALUES = "unusual_values"
SURROUNDINGS = "surroundings"
PRESSURE = "pressure"

#: Threads and sessions at once, and for how long; fresh processes of determinism.
AT_ONCE, AT_ONCE_S = 8, 1.0
PROCESSES = 20
#: Allocations of a process beyond what it has when it opens the model: a ladder.
MEMORY_BYTE = tuple(2**20 * size for size in (16, 64, 256, 1024, 4096))
#: For so long the model is called under each kind of pressure.
PRESSURE_S = 2.0
#: What a fresh process typically takes.
START_S = 0.7


def cases(case: Callable[..., Case], context: CaseContext) -> tuple[Case, ...]:
    """List the cases; `case` makes one of a name and parameters.

    Under emulation those that start many processes, or need a machine of their own, are left out.
    """
    made = (
        case(CONCURRENT, typical_s=3 * AT_ONCE_S, at_once=AT_ONCE, seconds=AT_ONCE_S),
        case(UNUSUAL_VALUES, typical_s=0.5, seed=0),
    )
    if context.emulated:
        return made
    ladder = list(MEMORY_BYTE)
    return (
        *made,
        case(SURROUNDINGS, extra_s=120.0, typical_s=START_S * (6 + len(ladder)), memory_byte=ladder),
        case(PRESSURE, extra_s=60.0, typical_s=4 * PRESSURE_S, seconds=PRESSURE_S),
    )
