"""What the frames of a worker say, checked against the batch that it runs.

A worker runs on a device, with runtimes and plug-ins that can write anything. Nothing that it says is stored
before it was checked here: a field that does not fit refuses the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from harness.core import machine_facts
from harness.core.cause import Cause
from harness.core.errors import WorkerError
from harness.core.job import Batch, EnvironmentRecord, Job, JobKey, JobResult, Part, Samples, Status
from harness.core.untrusted import (
    MAX_NAME,
    MAX_RAW,
    MAX_REASON,
    cut,
    encodable,
    is_count,
    is_text,
    shown,
    storable,
)

#: Phases of an environment, in their order.
BEFORE, DURING, AFTER = "before", "during", "after"

Check = Callable[[object], bool]


def refused(batch: Batch, frame: str, field: str, value: object, wanted: str) -> WorkerError:
    """Say which field of a frame does not fit."""
    return WorkerError(
        f"the worker of {batch.backend} on {batch.target} sent {frame} that is refused: "
        f"{field} is {shown(value)}, not {wanted}",
        cause="the backend, a plug-in or another program there writes to the worker's output",
    )


def job_started(header: Mapping[str, Any], batch: Batch, job: Job) -> None:
    """Check that a worker starts the job that comes next; raises ``WorkerError``."""
    if header.get("key") != list(job.key):
        raise refused(batch, "a start", "key", header.get("key"), f"that of {job.case.name}")


def job_result(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], batch: Batch, job: Job
) -> JobResult:
    """Turn a frame into the result of the job that runs.

    Parameters
    ----------
    header : mapping
    arrays : mapping of str to ndarray
    batch : Batch
    job : Job
        That runs.

    Raises
    ------
    WorkerError
        A field is missing, or is not what it should be.
    """

    def checked(field: str, check: Check, wanted: str, default: object = None) -> Any:  # noqa: ANN401 - JSON
        value = header.get(field, default)
        if not check(value):
            raise refused(batch, "a result", field, value, wanted)
        return value

    checked("key", lambda key: key == list(job.key), f"that of the running job {job.case.name}")
    status = checked("status", lambda text: text in tuple(Status), f"one of {', '.join(Status)}")
    effective = checked("effective", machine_facts.mapping_of(is_text), "texts by name")
    return JobResult(
        key=job.key,
        status=Status(status),
        reason=cut(checked("reason", lambda text: isinstance(text, str), "text"), MAX_REASON),
        samples=_samples(header, arrays, batch, "a result"),
        effective={encodable(name)[:MAX_NAME]: encodable(text) for name, text in effective.items()},
        started_utc=encodable(checked("started_utc", lambda text: is_text(text, 40), "a time")),
        duration_ns=checked("duration_ns", is_count, "a count"),
        cause=Cause.read(header.get("cause")),
        raw=cut(checked("raw", lambda text: isinstance(text, str), "text", ""), MAX_RAW),
    )


def job_part(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], batch: Batch, job: Job) -> Part:
    """Turn a frame into a part of the job that runs; see `job_result`."""
    if header.get("key") != list(job.key):
        wanted = f"that of the running job {job.case.name}"
        raise refused(batch, "a part", "key", header.get("key"), wanted)
    return Part(job.key, _samples(header, arrays, batch, "a part"))


def _samples(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], batch: Batch, frame: str
) -> Samples:
    values = header.get("values")
    if not isinstance(values, dict):
        raise refused(batch, frame, "values", values, "an object")
    try:
        return Samples({encodable(name): array for name, array in arrays.items()}, storable(values))
    except ValueError as error:
        raise refused(batch, frame, "values", values, f"storable: {error}") from error


def environment(
    header: Mapping[str, Any], batch: Batch, ended: Collection[JobKey], facts: Mapping[str, Any]
) -> EnvironmentRecord:
    """Turn a frame into the state of the machine.

    Parameters
    ----------
    header : mapping
    batch : Batch
    ended : collection of JobKey
        Jobs of this worker that have a result: it can tell how these were scheduled.
    facts : mapping
        What the host knows of the device; it goes before what the worker says.

    Raises
    ------
    WorkerError
        A field is missing, or is not what it should be.
    """
    phase, stated = header.get("phase"), header.get("facts")
    if phase not in (BEFORE, DURING, AFTER):
        raise refused(batch, "an environment", "phase", phase, f"one of {BEFORE}, {DURING}, {AFTER}")
    if not isinstance(stated, dict):
        raise refused(batch, "an environment", "facts", stated, "an object")
    if (problem := machine_facts.problem(stated)) is not None:
        name, value, wanted = problem
        raise refused(batch, "an environment", f"facts.{name}", value, wanted)
    keys = stated.get("jobs", [])
    if not isinstance(keys, list) or any(key not in [list(one) for one in ended] for key in keys):
        raise refused(batch, "an environment", "facts.jobs", keys, "jobs of this worker that ended")
    try:
        whole = {**storable(stated), **facts}
    except ValueError as error:
        raise refused(batch, "an environment", "facts", stated, f"storable: {error}") from error
    return EnvironmentRecord(batch.target, batch.backend, batch.variant, batch.suite, phase, whole)
