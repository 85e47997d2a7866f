"""Whether a target computes as the reference on the host does: then the bits are equal, not just close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.job import PARITY, Batch, JobResult, Options
from harness.device.planted import OPTION

#: Facts of a machine that the last bits of a kernel depend on: one thread adds in an order that the runtime
#: chooses by the CPU, and libm rounds elementary functions.
FACTS = ("backend_version", "arch", "isa", "cpu_model", "libc")


def same_runtime(
    batch: Batch,
    host: Batch,
    results: tuple[JobResult, JobResult],
    environments: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> str:
    """Name what is the same on the target as on the host; empty where anything differs or is not known.

    Parameters
    ----------
    batch, host : Batch
        Of the target, and of the reference.
    results : tuple of JobResult
        Of one case on both: what their sessions report counts, not what was asked for.
    environments : tuple of mapping
        Facts of both machines.
    """
    here, there = ([facts.get(name) for name in FACTS] for facts in environments)
    # A missing sensor is a mapping with the reason: two of them are no equal facts.
    if here != there or not all(fact and not isinstance(fact, Mapping) for fact in here):
        return ""
    one, other = results
    ours, theirs = (_extra(part.options[PARITY]) for part in (batch, host))
    differs = (
        batch.backend != host.backend
        or batch.artifact.sha256 != host.artifact.sha256
        or ours != theirs
        or dict(one.effective) != dict(other.effective)
    )
    return "" if differs else f"{batch.backend} {here[0]}, CPU and settings are those of the host"


def _extra(options: Options) -> dict[str, str]:
    """Settings that the runtime gets as they are; it never sees the one that plants a fault."""
    return {name: value for name, value in options.extra.items() if name != OPTION}
