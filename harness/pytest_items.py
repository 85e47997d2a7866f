"""Which gates a pytest session has, and the run that answers them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from harness import config, plugins, run
from harness.prepare import Request, variant_names
from harness.report import progress, store


def items(request: Request, suite: str) -> list[tuple[str, str, str, str, str]]:
    """Tuples of id, gate, target, backend, variant for a suite's gates, known before anything runs.

    Raises
    ------
    HarnessError
        The configuration, a target or a variant cannot be read.
    """
    validation, _ = config.load_validation(request.model)
    targets = config.load_targets(request.targets, request.hosts)
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


def outcome(request: Request, suites: tuple[str, ...], stored: str | None) -> run.Outcome:
    """Measure those suites, or judge a stored run."""
    if stored:
        return run.finish(store.find_run(stored, Path(request.results)))
    known = plugins.catalogue(plugins.SUITES)
    return run.validate(replace(request, suites=tuple(s for s in suites if s in known)), progress.Quiet())
