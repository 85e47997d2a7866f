"""``harness doctor --target T``: connect, list its facts, run ten inferences, report what is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.config.folders import cache_folder
from harness.config.targets import load_targets
from harness.config.validation import FLOAT32
from harness.core.columns import aligned
from harness.core.contracts import Availability
from harness.core.errors import HarnessError, TargetUnavailable
from harness.core.job import Batch, EnvironmentRecord, Event, JobResult, Status
from harness.core.metric import Role
from harness.core.target import Target
from harness.executors.abilities import make_executor
from harness.report.progress import Quiet
from harness.run import declared
from harness.run.availability import LEAST_FREE_BYTE, for_target
from harness.run.name_checks import check_executors, check_targets
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request

#: A smoke test, not a measurement.
INFERENCES = 10
#: From here on the times of day in the rows mislead.
CLOCK_ERROR_S = 60.0
#: Facts of a device that are shown, by their names in its environment.
SHOWN_FACTS = (
    "host", "device", "arch", "cpu_model", "isa", "kernel", "libc", "python", "numpy", "governor", "gpu",
)  # fmt: skip


def target_text(name: str, hosts: tuple[str, ...]) -> tuple[str, bool]:
    """Check one target; the text ends with what is wrong and the command that fixes it.

    Raises
    ------
    UsageError
        There is no such target, or its file has an error.
    """
    (target,) = load_targets([name], hosts)
    check_executors([target])
    check_targets([target])
    head = [f"target  {target.name}: {target.description}"]
    if target.name != name:
        head.append(f"        {name} has no host (--host USER@BOARD): {target.name} stands in")
    rows: list[tuple[str, str, str]] = []
    wrong: list[HarnessError] = []
    try:
        available = _reach(target)
    except TargetUnavailable as error:
        wrong.append(error)
    else:
        for backend, availability in available.items():
            fit = for_target(target, availability)
            rows.append(("runtime", backend, fit.reason or f"{fit.version}  {', '.join(fit.devices)}"))
            if fit.reason:
                wrong.append(TargetUnavailable(f"{backend} cannot run: {fit.reason}", next_step=fit.install))
        if any(not for_target(target, entry).reason for entry in available.values()):
            rows += _smoke(name, hosts, wrong)
    ending = [f"\nwrong: {error}" for error in wrong] or ["\nnothing is wrong"]
    return "\n".join([*head, *aligned(rows), *ending]), not wrong


def _reach(target: Target) -> Mapping[str, Availability]:
    executor = make_executor(target, cache_folder())
    try:
        return executor.probe(target.backends)
    finally:
        executor.close()


def _smoke(name: str, hosts: tuple[str, ...], wrong: list[HarnessError]) -> Iterator[tuple[str, str, str]]:
    """Run the first inputs of the bundled model on every backend that is there."""
    with tempfile.TemporaryDirectory() as results:
        request = replace(
            Request.parse(target=name, suite=_judging(), variant=FLOAT32, results=Path(results)),
            hosts=hosts,
        )
        prepared = prepare(request, Quiet())
        try:
            (target,) = prepared.targets
            with closing(prepared.executors[target.name].run(_batches(prepared, target))) as events:
                yield from _rows(events, wrong)
        finally:
            prepared.close()


def _judging() -> str:
    """The suite that judges outputs; empty, for all suites, where none does."""
    return next((suite for suite, _, _ in declared.installed().with_role(Role.RESULT)), "")


def _batches(prepared: Prepared, target: Target) -> Iterator[Batch]:
    for batch in prepared.plan.batches:
        if batch.target == target.name:
            first = next(case for case in batch.cases if case.data)
            yield replace(batch, cases=(replace(first, samples=min(INFERENCES, first.samples)),))


def _rows(events: Iterator[Event], wrong: list[HarnessError]) -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for event in events:
        if isinstance(event, EnvironmentRecord) and event.phase == "before":
            device = str(event.facts.get("host", event.facts["device"]))
            if device not in seen:
                seen.add(device)
                yield from _device(event.facts, wrong)
        elif isinstance(event, JobResult):
            effective = ", ".join(f"{key} {value}" for key, value in event.effective.items())
            if event.status is Status.OK:
                yield "smoke", event.key.backend, f"{INFERENCES} inferences ran: {effective}"
            else:
                wrong.append(
                    TargetUnavailable(
                        f"{event.key.backend} cannot run the bundled model: {event.reason}",
                        next_step="harness validate shows whether your own model runs",
                    )
                )


def _device(facts: Mapping[str, Any], wrong: list[HarnessError]) -> Iterator[tuple[str, str, str]]:
    for fact in SHOWN_FACTS:
        value = facts.get(fact)
        if value is not None:
            yield "device", fact, _text(value)
    free, clock = facts.get("free_byte"), facts.get("clock_error_s")
    if free is not None:
        yield "disk", f"{free / 1e9:.1f} GB free", ""
        if free < LEAST_FREE_BYTE:
            wrong.append(
                TargetUnavailable(
                    f"{facts['host']} has {free / 1e6:.0f} MB free",
                    next_step=f"free some room: ssh {facts['host']} df -h",
                )
            )
    if clock is not None:
        yield "clock", f"{abs(clock):.1f} s off", ""
        if abs(clock) > CLOCK_ERROR_S:
            wrong.append(
                TargetUnavailable(
                    f"the clock of {facts['host']} is {abs(clock):.0f} s {'fast' if clock > 0 else 'slow'}",
                    cause="a Raspberry Pi has no clock that runs while it is off; a time server sets it",
                    next_step=f"ssh {facts['host']} sudo timedatectl set-ntp true",
                )
            )


def _text(value: Any) -> str:  # noqa: ANN401 - a fact of any JSON type
    if isinstance(value, dict):
        return str(value["na"]) if "na" in value else ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)
