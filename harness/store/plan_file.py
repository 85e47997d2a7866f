"""The plan of a run as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from harness.core.artifact import Artifact
from harness.core.cause import Cause
from harness.core.check import CheckPlace
from harness.core.job import Batch, JobKey, JobResult, Status
from harness.core.plan import Plan


def to_json(plan: Plan) -> dict[str, Any]:
    """Return what ``plan.json`` holds."""
    return {
        "batches": [batch.to_json() for batch in plan.batches],
        "skipped": [
            [list(result.key), result.reason, result.cause.value, result.raw, result.status.value]
            for result in plan.skipped
        ],
        "unavailable": [list(entry) for entry in plan.unavailable],
        "share": plan.share,
        "stopped": plan.stopped,
        "checks": [astuple(place) for place in plan.checks],
    }


def from_json(value: Mapping[str, Any]) -> Plan:
    """Read what `to_json` gave; also of earlier versions."""
    return Plan(
        batches=tuple(
            Batch.from_json(batch, Artifact.from_json(batch["artifact"], Path()))
            for batch in value["batches"]
        ),
        skipped=tuple(_skipped(*entry) for entry in value["skipped"]),
        unavailable=tuple((target, backend, reason) for target, backend, reason in value["unavailable"]),
        share=value["share"],
        stopped=value.get("stopped", ""),  # runs before budgets ended a run have none
        checks=tuple(CheckPlace(*place) for place in value.get("checks", ())),
    )


def _skipped(
    key: list[Any], reason: str, cause: str = "", raw: str = "", status: str = Status.SKIPPED
) -> JobResult:
    """A job of ``plan.json`` that cannot run; earlier runs stored the key and the reason alone."""
    return JobResult(JobKey(*key), Status(status), reason, cause=Cause.read(cause), raw=raw)
