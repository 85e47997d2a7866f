"""Which gates a pytest session has, and the run that answers them."""

from __future__ import annotations

import fcntl
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.config.load import load_validation
from harness.config.targets import load_targets
from harness.device import plugins
from harness.report import progress
from harness.run import stages
from harness.run.request import Request
from harness.run.selection import variant_names
from harness.store import run_folder


def items(request: Request, suite: str) -> list[tuple[str, str, str, str, str]]:
    """Tuples of id, gate, target, backend, variant for a suite's gates, known before anything runs.

    Raises
    ------
    HarnessError
        The configuration, a target or a variant cannot be read.
    """
    validation, _ = load_validation(request.model)
    targets = load_targets(request.targets, request.hosts)
    variants = variant_names(validation, request.variants)
    found = []
    for gate in validation.gates:
        if gate.suite != suite:
            continue
        for target in targets:
            for backend in target.backends:
                for variant in variants:
                    if not gate.speaks_of(target.name, variant):
                        continue
                    parts = [validation.model.name, variant, re.sub(r"\W+", "_", gate.name).strip("_")]
                    if len(targets) > 1 or len(target.backends) > 1:
                        parts[1:1] = [target.name] + [backend] * (len(target.backends) > 1)
                    found.append(("-".join(parts), gate.name, target.name, backend, variant))
    return found


def outcome(request: Request, suites: tuple[str, ...], stored: str | None, session: str) -> stages.Outcome:
    """Measure those suites, or judge a stored run.

    Of the workers of a `session` of pytest-xdist, which all collected the same items, one measures, and the
    others wait for it.
    """
    if stored:
        return stages.finish(run_folder.find_run(stored, Path(request.results)))
    known = plugins.catalogue(plugins.SUITES)
    asked = replace(request, suites=tuple(s for s in suites if s in known))
    if not session:
        return stages.validate(asked, progress.Quiet())
    with (Path(tempfile.gettempdir()) / f"harness-pytest-{session}").open("a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)  # until the file is closed
        note.seek(0)
        if folder := note.read():
            return stages.finish(run_folder.RunFolder(Path(folder)))
        measured = stages.validate(asked, progress.Quiet())
        note.write(str(measured.folder.path))
        note.flush()
        return measured
