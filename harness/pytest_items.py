"""Which gates a pytest session has, and the run that answers them."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.load import check, load_validation
from harness.config.targets import load_targets
from harness.config.validation import Validation
from harness.core.errors import ResultsError
from harness.core.exit_code import ExitCode
from harness.core.verdict import CHECK, GATE, Verdict
from harness.device import plugins
from harness.gates import scope
from harness.report import explanations, progress
from harness.run import checks, stages
from harness.run.outcome import Outcome
from harness.run.request import Request, explain_s
from harness.run.selection import variant_names
from harness.store import run_folder


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run that is judged instead of measured.

    Parameters
    ----------
    name : str
        Id, prefix, folder or ``latest``.
    targets, variants : tuple of str
        Those to judge; empty for all of the run.
    """

    name: str
    targets: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()


def items(
    request: Request, suite: str, stored: StoredRun | None = None
) -> list[tuple[str, str, str, str, str, str]]:
    """List id, gate, target, backend, variant and kind of a suite's gates and checks, before anything runs.

    Of a stored run these are the gates that the command line judges for it: a run of one suite has no verdict
    of another.

    Raises
    ------
    HarnessError
        The configuration, a target, a variant or the stored run cannot be read.
    """
    if stored is not None:
        folder = run_folder.find_run(stored.name, Path(request.results))
        run = folder.read_run()
        validation = check(run["validation"], Validation, where=str(folder.path / "run.json"))
        suites = run["suites"]
        variants = _narrowed(run["variants"], stored.variants, "variant", folder)
        targets = _narrowed(run["targets"], stored.targets, "target", folder)
        backends = {name: tuple(run["targets"][name]["backends"]) for name in targets}
        asked = {place.check for place in folder.read_plan().checks}
        checked = [check for name, check in checks.installed([suite]).items() if name in asked]
    else:
        validation, _ = load_validation(request.model)
        suites = [suite]
        variants = variant_names(validation, request.variants)
        backends = {target.name: target.backends for target in load_targets(request.targets, request.hosts)}
        checked = list(checks.installed([suite]).values())
    several_targets = len(backends) > 1
    rows = []
    names = {check.name for check in checked}
    gates = [*validation.gates, *(check.gate for check in checked)]
    for gate, target, backend, variant in scope.asked_gates(gates, suites, backends, variants):
        if gate.suite != suite:
            continue
        parts = [validation.model.name]
        if several_targets or len(backends[target]) > 1:
            parts.append(target)
        if len(backends[target]) > 1:
            parts.append(backend)
        kind = CHECK if gate.name in names else GATE
        parts += [variant, re.sub(r"\W+", "_", gate.name).strip("_")]
        rows.append(("-".join(parts), gate.name, target, backend, variant, kind))
    return rows


def _narrowed(
    measured: Iterable[str], wanted: tuple[str, ...], kind: str, folder: run_folder.RunFolder
) -> tuple[str, ...]:
    """The names of a run that are wanted; a name that the run does not have is an error, never a pass."""
    measured = tuple(measured)
    if not wanted or "all" in wanted:
        return measured
    if absent := [name for name in wanted if name not in measured]:
        raise ResultsError(
            f"the run has no {kind} {', '.join(absent)}; it has {', '.join(measured)}",
            where=str(folder.path),
        )
    return tuple(name for name in measured if name in wanted)


def outcome(request: Request, suites: tuple[str, ...], stored: StoredRun | None, session: str) -> Outcome:
    """Measure those suites, or judge a stored run.

    Of the workers of a `session` of pytest-xdist, which all collected the same items, one measures, and the
    others wait for it.
    """
    if stored is not None:
        return stages.finish(run_folder.find_run(stored.name, Path(request.results)))
    installed = plugins.catalogue(plugins.SUITES)
    narrowed = replace(request, suites=tuple(suite for suite in suites if suite in installed))
    if not session:
        return _measured(narrowed)
    with (Path(tempfile.gettempdir()) / f"harness-pytest-{session}").open("a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)  # until the file is closed
        note.seek(0)
        if folder := note.read():
            return stages.finish(run_folder.RunFolder(Path(folder)))
        measured = _measured(narrowed)
        note.write(str(measured.folder.path))
        note.flush()
        return measured


def _measured(request: Request) -> Outcome:
    """Measure, and explain what fails as ``harness validate`` does: as long as ``HARNESS_EXPLAIN`` says."""
    within_s, observer = explain_s(os.environ.get("HARNESS_EXPLAIN", "")), progress.Quiet()
    measured = stages.validate(request, observer)
    if measured.exit_code is ExitCode.FAILED and within_s:
        from harness.explain import command

        command.explain_failures(measured, within_s, observer)
    return measured


def explained(outcome: Outcome, verdict: Verdict) -> list[tuple[str, str]]:
    """Label and text of each line that says why a gate fails; none where nobody asked."""
    place = (verdict.target, verdict.backend, verdict.variant)
    return explanations.as_lines(
        [
            one
            for one in explanations.of_outcome(outcome)
            if (one["target"], one["backend"], one["variant"]) == place and verdict.gate in one["gates"]
        ]
    )
