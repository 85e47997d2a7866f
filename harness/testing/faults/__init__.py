"""The catalogue of planted faults: each wraps the sessions of a real backend and does one thing wrong.

``harness challenge`` plants them around the user's model. A device carries this package: it imports numpy,
`harness.core` and `harness.device` alone.
"""

from __future__ import annotations

from harness.testing.faults import (
    calls,
    claims,
    conditions,
    durations,
    files,
    inputs,
    memory,
    numeric,
    processes,
    shortcuts,
    surroundings,
)
from harness.testing.faults.fault import NOT_PLANTED, Call, Compute, Fault, Kind, NotPlanted, Plant

__all__ = ["FAULTS", "HEALTHY", "NOT_PLANTED", "Call", "Compute", "Fault", "Kind", "NotPlanted", "Plant"]

#: Wrapped as every fault is, and nothing is wrong: what the others are compared with.
HEALTHY = Fault("healthy", Kind.HEALTHY, "nothing is wrong", Plant, ())

FAULTS: tuple[Fault, ...] = (
    HEALTHY,
    *numeric.FAULTS,
    *calls.FAULTS,
    *durations.FAULTS,
    *memory.FAULTS,
    *claims.FAULTS,
    *processes.FAULTS,
    *shortcuts.FAULTS,
    *surroundings.FAULTS,
    *conditions.FAULTS,
    *inputs.FAULTS,
    *files.FAULTS,
)
