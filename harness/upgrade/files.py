"""Comparisons of two versions of a runtime on disk: every output, time and kernel, and the decisions."""

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
from harness.upgrade.decision import Findings, decide
from harness.upgrade.run_both import Comparison, UpgradeRequest
from harness.upgrade.targets import SIDES

FACTS = "upgrade.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredUpgrade:
    """The comparisons of an upgrade, and the folder that they are stored in."""

    folder: Path
    comparisons: Sequence[Comparison]


def store(request: UpgradeRequest, comparisons: Iterable[Comparison]) -> StoredUpgrade:
    """Write each comparison when it is complete, so that an interrupted command loses none of them."""
    folder = request.results / "upgrade" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    stored: list[Comparison] = []
    try:
        for comparison in comparisons:
            stored.append(comparison)
            _write(folder, request, stored)
    except KeyboardInterrupt as error:
        if stored:
            raise KeyboardInterrupt(f"what was compared is stored in {folder}") from error
        raise
    return StoredUpgrade(folder, stored)


def _write(folder: Path, request: UpgradeRequest, comparisons: Sequence[Comparison]) -> None:
    """Write the last one's arrays, and the facts of all."""
    facts = {
        "schema_version": SCHEMA_VERSION,
        "written_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "runtime": request.runtime, "old": request.old, "new": request.new, "margin_pt": request.margin_pt,
        "limit": request.criterion.limit,
        "comparisons": [_facts(comparison, request) for comparison in comparisons],
    }  # fmt: skip
    with writing(folder):
        if arrays := _arrays(comparisons[-1]):
            stream = io.BytesIO()
            np.savez_compressed(stream, allow_pickle=False, **arrays)
            write_atomically(folder / _name(comparisons[-1]), stream.getvalue())
        write_atomically(folder / FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def _name(comparison: Comparison) -> str:
    return f"{comparison.target}-{comparison.variant}.npz"


def _arrays(comparison: Comparison) -> dict[str, Any]:
    """Outputs (``old/output:0``), times (``time/base_0``) and kernels (``old/0/kernel0_ns``)."""
    arrays: dict[str, Any] = {}
    for side in SIDES:
        for name, array in comparison.samples[side].arrays.items() if side in comparison.samples else ():
            arrays[f"{side}/{name}"] = array
        for process, profile in enumerate(comparison.profiles[side]):
            for index, times in enumerate(profile.times_ns):
                arrays[f"{side}/{process}/kernel{index}_ns"] = times
    if comparison.timed is not None:
        for arm, processes in comparison.timed.times_ns.items():
            arrays |= {f"time/{arm}_{index}": times for index, times in enumerate(processes)}
    return arrays


def _facts(comparison: Comparison, request: UpgradeRequest) -> dict[str, Any]:
    decision, why = decide(comparison.findings, request.margin_pt)
    timed = comparison.timed
    return {
        "target": comparison.target, "variant": comparison.variant, "decision": decision.value, "why": why,
        "artifact_sha256": comparison.artifact.sha256 if comparison.artifact else "",
        "origin": comparison.origin,
        "findings": _finite(_findings(comparison.findings)),
        "environments": dict(comparison.environments), "memory_byte": timed.memory_byte if timed else {},
        "looks": [
            {"ratio": _bounds(look.ratio), "control": _bounds(look.control), "state": look.state.value}
            for look in (timed.looks if timed else ())
        ],
        "disturbed": timed.disturbances if timed else [],
        "kernels": {
            side: [list(node) for node in comparison.profiles[side][0].nodes]
            for side in SIDES
            if comparison.profiles[side]
        },
        "no_profile": comparison.no_profile,
        "explanation": None if comparison.why is None else asdict(comparison.why),
        "arrays": _name(comparison) if comparison.samples else "",
    }  # fmt: skip


def _findings(findings: Findings) -> dict[str, Any]:
    """As JSON; two fields have other names in the file."""
    facts = asdict(findings)
    return {**facts, "troubles": facts.pop("failures"), "untrusted": facts.pop("incomparable")}


def _bounds(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON, which has no NaN
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return value
