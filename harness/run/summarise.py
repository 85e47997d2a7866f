"""Raw samples → rows of the table. Everything comes from what the run stored: no model, no hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from harness.core import unexpected
from harness.core.cause import join
from harness.core.job import (
    DEPLOY,
    PARITY,
    Batch,
    EnvironmentRecord,
    Job,
    JobKey,
    JobResult,
    Samples,
    Status,
    looks_of,
)
from harness.core.measurement import WHOLE_CASE, Measurement, Row
from harness.core.plan import HOST
from harness.core.suite import Suite, SummaryContext, SupportsCasesTogether, SupportsRounds
from harness.core.target import NVIDIA
from harness.core.untrusted import shown
from harness.run import card_rows
from harness.run.parts import so_far
from harness.run.rounding import KEY as ROUNDING
from harness.run.same_runtime import same_runtime
from harness.stats.disturbance import disturbance, overload
from harness.stats.side_by_side import ALPHA, level
from harness.store.run_folder import Facts

#: In a row's provider: nothing but the session says so.
UNCONFIRMED = "unconfirmed"


def summarise(facts: Facts, suites: Mapping[str, Suite], failed: list[JobResult] | None = None) -> list[Row]:
    """Make every row that the stored samples give, in the plan's order.

    Parameters
    ----------
    facts : Facts
    suites : mapping of name to Suite
        At least those of the plan.
    failed : list of JobResult, optional
        Gets an ERROR result, with the traceback, for every job whose suite raised an exception; its row is an
        ERROR row, and all other rows are made.
    """
    environments = _starts(facts)
    ends = {
        (record.target, record.backend, record.variant, record.suite): record
        for record in facts.environments
        if record.phase == "after"
    }
    between: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in facts.environments:
        if record.phase == "during":
            batch_key = (record.target, record.backend, record.variant, record.suite)
            between.setdefault(batch_key, []).append(record.facts)
    overloaded = {
        JobKey(*key): reason
        for record in facts.environments
        if (reason := overload(record.facts))
        for key in record.facts.get("jobs", ())
    }
    hosts = _hosts(facts)
    rows: list[Row] = []
    for batch in facts.plan.batches:
        host = hosts.get((batch.variant, batch.suite))
        batch_key = (batch.target, batch.backend, batch.variant, batch.suite)
        disturbed = (
            disturbance(environments[batch_key].facts, ends[batch_key].facts, between.get(batch_key, ()))
            if batch_key in environments and batch_key in ends
            else ()
        )
        environment = environments.get(batch_key)
        for job in batch.jobs:
            result = so_far(facts, job)
            if result is None:
                continue  # it was never measured: the gates say NOT_RUN
            overload_reason = overloaded.get(job.key)
            reasons = (*disturbed, overload_reason) if overload_reason is not None else disturbed
            context = replace(_context(facts, batch, job.case.setting), disturbed=join(reasons))
            if host is not None:
                same = _same_runtime(facts, batch, host, result, environments)
                context = replace(context, same_runtime=same)
            has_rows = result.status is Status.OK or (job.case.in_parts and result.samples.arrays)
            measurements = [] if result.status is Status.OK else [_whole(result)]
            if has_rows:
                measurements += _measurements(facts, suites[batch.suite], job, result, context, failed)
            identity = _identity(facts, batch, result, environment)
            rows += [Row(job.key, measurement, identity) for measurement in measurements]
        rows += _together(facts, batch, suites[batch.suite], rows, environment, failed)
    rows += card_rows.rows(facts)
    for result in facts.plan.skipped:
        identity = {"run_id": facts.run["run_id"], "model": facts.run["model"]["name"]}
        rows.append(Row(result.key, _whole(result), identity))
    return rows


def _measurements(
    facts: Facts,
    suite: Suite,
    job: Job,
    result: JobResult,
    context: SummaryContext,
    failed: list[JobResult] | None,
) -> list[Measurement]:
    """What the suite makes of a job, or the row of its exception."""
    try:
        whole = replace(context, alpha=_alpha(facts, suite, result))
        measurements = list(suite.summarise(job, result, whole))
        for item in measurements:
            _check(item)
    except Exception as error:  # noqa: BLE001 - a suite may be a third-party plug-in
        error_result = unexpected.result(job.key, f"{suite.name} could not be summarised", error)
        if failed is not None:
            failed.append(error_result)
        return [_whole(error_result)]
    return measurements


def _together(
    facts: Facts,
    batch: Batch,
    suite: Suite,
    rows: Sequence[Row],
    environment: EnvironmentRecord | None,
    failed: list[JobResult] | None,
) -> list[Row]:
    """Rows that the suite makes of several cases of a batch."""
    results = [(job, facts.results[job.key]) for job in batch.jobs if job.key in facts.results]
    results = [(job, result) for job, result in results if result.status is Status.OK]
    if not results or not isinstance(suite, SupportsCasesTogether):
        return []
    keys = {job.key for job, _ in results}
    try:
        context = _context(facts, batch, DEPLOY)
        made = suite.together(results, [row for row in rows if row.key in keys], context)
        for _, item in made:
            _check(item)
    except Exception as error:  # noqa: BLE001 - a suite may be a third-party plug-in
        what = f"rows of {suite.name} over several cases could not be made"
        error_result = unexpected.result(results[0][0].key, what, error)
        if failed is not None:
            failed.append(error_result)
        made = [(error_result.key, _whole(error_result))]
    by_key = {job.key: result for job, result in results}
    return [Row(key, item, _identity(facts, batch, by_key[key], environment)) for key, item in made]


def _check(item: object) -> None:
    """Refuse what cannot be a row of the table; raises ``TypeError``."""
    if not isinstance(item, Measurement):
        raise TypeError(f"summarise gave a {type(item).__name__}, not a Measurement")
    for name in ("value", "ci_low", "ci_high"):
        if not isinstance(getattr(item, name), Real):
            raise TypeError(f"{name} of {item.metric} is {shown(getattr(item, name))}, not a number")
    if not isinstance(item.n, Integral) or item.n < 0:
        raise TypeError(f"n of {item.metric} is {shown(item.n)}, not a count")


def _alpha(facts: Facts, suite: Suite, result: JobResult) -> float:
    """One-sided error of intervals; a run with ``--decide-within`` spends it look by look."""
    has_looks = facts.run.get("decide_within_s") is not None and isinstance(suite, SupportsRounds)
    return level(looks_of(result.samples)) if has_looks else ALPHA


def _whole(result: JobResult) -> Measurement:
    return Measurement(
        WHOLE_CASE, "", float("nan"), status=result.status, reason=result.reason, cause=result.cause
    )


def _reference(facts: Facts, suite: str) -> Callable[[str, str, int], Samples | None]:
    """Find samples of the reference on the host by variant, case and severity."""

    def reference(variant: str, case: str, severity: int) -> Samples | None:
        for backend in {batch.backend for batch in facts.plan.batches if batch.target == HOST}:
            result = facts.results.get(JobKey(HOST, backend, PARITY, variant, suite, case, severity))
            if result is not None and result.status is Status.OK:
                return result.samples
        return None

    return reference


def _context(facts: Facts, batch: Batch, setting: str) -> SummaryContext:
    # Runs from before bounds were derived have none.
    rounding = facts.cards.get(batch.variant, {}).get(ROUNDING, {"na": "the run is of an earlier version"})
    return SummaryContext(
        artifact=batch.artifact,
        options=batch.options[setting],
        task=facts.run["model"]["task"],
        labels=facts.labels,
        reference=_reference(facts, batch.suite),
        emulated=batch.target in facts.run["emulated"],
        settings=facts.run["validation"]["suites"].get(batch.suite, {}),
        groups=facts.groups,
        rounding=rounding.get("bounds", {}),
        short_rounding=rounding.get("short", {}),
        no_rounding=rounding.get("na", ""),
    )


def _starts(facts: Facts) -> dict[tuple[str, ...], EnvironmentRecord]:
    """The machine at the start of each batch; the first start, where a worker crashed."""
    return {
        (record.target, record.backend, record.variant, record.suite): record
        for record in reversed(facts.environments)
        if record.phase == "before"
    }


def _hosts(facts: Facts) -> dict[tuple[str, str], Batch]:
    """The batches of the reference on the host, by variant and suite."""
    return {(batch.variant, batch.suite): batch for batch in facts.plan.batches if batch.target == HOST}


def _same_runtime(
    facts: Facts,
    batch: Batch,
    host: Batch,
    result: JobResult,
    environments: Mapping[tuple[str, ...], EnvironmentRecord],
) -> str:
    """What the target has in common with the host, where that is all that bits depend on."""
    here, there = (
        environments.get((part.target, part.backend, part.variant, part.suite)) for part in (batch, host)
    )
    reference = facts.results.get(result.key._replace(target=host.target, backend=host.backend))
    compared = (
        batch is not host and result.key.setting == PARITY and batch.target not in facts.run["emulated"]
    )
    if not compared or here is None or there is None or reference is None:
        return ""
    return same_runtime(batch, host, (result, reference), (here.facts, there.facts))


def _identity(
    facts: Facts, batch: Batch, result: JobResult, environment: EnvironmentRecord | None
) -> dict[str, Any]:
    device = environment.facts if environment is not None else {}
    return {
        "run_id": facts.run["run_id"],
        "device": device.get("device", ""),
        "arch": device.get("arch", ""),
        "backend_version": device.get("backend_version", ""),
        "provider": _provider(result.effective, device),
        # A file of integers computes in them, however the runtime computes floats.
        "precision": batch.artifact.precision or result.effective.get("precision", ""),
        "model": facts.run["model"]["name"],
        "model_sha256": facts.run["model"]["sha256"],
        "artifact_sha256": batch.artifact.sha256,
        "started_utc": result.started_utc,
    }


def _provider(effective: Mapping[str, str], device: Mapping[str, Any]) -> str:
    """Name the provider, what it left to builtin kernels, and whether there is such a device."""
    provider, builtin = effective.get("provider", ""), effective.get("builtin", "")
    if provider in NVIDIA and "name" not in device.get("gpu", {}):
        provider = f"{provider}; {UNCONFIRMED}: the driver reports no GPU"
    return f"{provider}; builtin: {builtin}" if builtin else provider


def set_digests(run: Mapping[str, Any]) -> dict[str, str]:
    """Digest of each data set of a run (``clean``, ``fog_3``)."""
    return {name: "".join(sorted(table["inputs"].values())) for name, table in run["data"].items()}


def machines(facts: Facts) -> dict[str, str]:
    """The machine that the times of each target belong to: CPU model and cores."""
    by_target: dict[str, str] = {}
    for record in facts.environments:
        if record.phase == "before":
            model, cores = record.facts.get("cpu_model", ""), record.facts.get("cpu_affinity", "")
            by_target.setdefault(record.target, f"{model if isinstance(model, str) else '?'}, {cores} cores")
    return by_target


def missing(facts: Facts) -> set[JobKey]:
    """Jobs of the plan that have no result."""
    return {job.key for batch in facts.plan.batches for job in batch.jobs} - set(facts.results)


def uncovered_errors(rows: Iterable[Row], covered: Iterable[Row]) -> list[Row]:
    """ERROR rows that no gate looked at."""
    seen = {id(row) for row in covered}
    return [row for row in rows if row.measurement.status is Status.ERROR and id(row) not in seen]
