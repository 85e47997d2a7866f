"""Comparisons of two versions of a runtime on disk: every output, time and kernel, and what they came to."""

from __future__ import annotations

import io
import json
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.stats.intervals import Interval
from harness.store.cache import write_atomically, writing
from harness.upgrade.decision import decide
from harness.upgrade.run_both import Asked, Comparison
from harness.upgrade.targets import SIDES

FACTS = "upgrade.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found, and the folder that has it."""

    folder: Path
    found: Sequence[Comparison]


def keep(asked: Asked, coming: Iterable[Comparison]) -> Kept:
    """Write each comparison as it comes, so that a command that is cut keeps those before it."""
    folder = asked.results / "upgrade" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    found: list[Comparison] = []
    try:
        for each in coming:
            found.append(each)
            _write(folder, asked, found)
    except KeyboardInterrupt as error:
        if found:
            raise KeyboardInterrupt(f"what is known of {len(found)} is kept in {folder}") from error
        raise
    return Kept(folder, found)


def _write(folder: Path, asked: Asked, found: Sequence[Comparison]) -> None:
    """Write the last one's arrays, and the facts of all."""
    facts = {
        "schema_version": SCHEMA_VERSION,
        "written_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "runtime": asked.runtime, "old": asked.old, "new": asked.new, "margin_pt": asked.margin_pt,
        "limit": asked.criterion.limit, "comparisons": [_told(each, asked) for each in found],
    }  # fmt: skip
    with writing(folder):
        if arrays := _arrays(found[-1]):
            stream = io.BytesIO()
            np.savez_compressed(stream, allow_pickle=False, **arrays)
            write_atomically(folder / _name(found[-1]), stream.getvalue())
        write_atomically(folder / FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def _name(found: Comparison) -> str:
    return f"{found.target}-{found.variant}.npz"


def _arrays(found: Comparison) -> dict[str, Any]:
    """Outputs (``old/output:0``), times (``time/base_0``) and kernels (``old/0/kernel0_ns``)."""
    arrays: dict[str, Any] = {}
    for side in SIDES:
        for name, array in found.samples[side].arrays.items() if side in found.samples else ():
            arrays[f"{side}/{name}"] = array
        for process, profile in enumerate(found.profiles[side]):
            for index, times in enumerate(profile.times_ns):
                arrays[f"{side}/{process}/kernel{index}_ns"] = times
    if found.timed is not None:
        for arm, processes in found.timed.times_ns.items():
            arrays |= {f"time/{arm}_{index}": times for index, times in enumerate(processes)}
    return arrays


def _told(found: Comparison, asked: Asked) -> dict[str, Any]:
    decision, why = decide(found.findings, asked.margin_pt)
    timed = found.timed
    return {
        "target": found.target, "variant": found.variant, "decision": decision.value, "why": why,
        "artifact_sha256": found.artifact.sha256 if found.artifact else "", "origin": found.origin,
        "findings": _finite(asdict(found.findings)),
        "environments": dict(found.environments), "memory_byte": timed.memory_byte if timed else {},
        "looks": [
            {"ratio": _bounds(look.ratio), "control": _bounds(look.control), "state": look.state.value}
            for look in (timed.looks if timed else ())
        ],
        "disturbed": timed.disturbances if timed else [],
        "kernels": {
            side: [list(node) for node in found.profiles[side][0].nodes]
            for side in SIDES
            if found.profiles[side]
        },
        "no_profile": found.no_profile,
        "arrays": _name(found) if found.samples else "",
    }  # fmt: skip


def _bounds(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON, which has no NaN
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return value
