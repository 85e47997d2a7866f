"""The plan of a run as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from harness.core.artifact import Artifact
from harness.core.cause import Cause
from harness.core.check import CheckPlace
from harness.core.job import ARTIFACTS, Batch, JobKey, JobResult, Status
from harness.core.plan import Plan
from harness.store import shapes


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


def read(path: Path) -> Plan:
    """Read ``plan.json``; also of earlier versions.

    Raises
    ------
    ResultsError
        It is missing or damaged; names the places.
    """
    value = shapes.read(path, shapes.PlanFile)
    try:
        plan = _from_json(value)
        if any(job.case.setting not in batch.options for batch in plan.batches for job in batch.jobs):
            raise ValueError("a case has a setting without options")
        return plan
    except (TypeError, ValueError) as error:  # a field that this version does not know, or a state
        raise shapes.damaged(path, str(error)) from error


def _from_json(value: Mapping[str, Any]) -> Plan:
    return Plan(
        batches=tuple(
            Batch.from_json(batch, *(Artifact.from_json(batch[n], Path()) for n in ARTIFACTS if n in batch))
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
