"""``harness upgrade``: the accepted artifacts in two versions of a runtime, on every target that has it.

It makes both environments and gives both the same files and the same samples. A version that pip
cannot install, or that crashes, is a result and not an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.compare.side_by_side import parse_criterion
from harness.config.folders import cache_folder
from harness.config.load import load_validation, validation_file
from harness.config.schema import ShiftsTable
from harness.config.validation import Validation
from harness.core.artifact import Artifact
from harness.core.errors import TargetUnavailable, UsageError
from harness.core.target import Target
from harness.executors.abilities import make_executor
from harness.explain.command import hypotheses
from harness.gates import baselines
from harness.run import availability, name_checks
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.selection import variant_names
from harness.run.side_by_side import find_accepted
from harness.store.cache import Cache
from harness.upgrade import why
from harness.upgrade.decision import Failure, Findings
from harness.upgrade.run_both import Comparison, Notify, UpgradeRequest, compare, suites
from harness.upgrade.targets import SIDES, TargetPair, pairs


def read(
    *, runtime: str, old: str, new: str, results: Path, target: str = "", host: str = "", variant: str = "",
    model: str = "", baseline: str = "accepted", margin: float = 0.5, max_ratio: float = 1.05,
    decide_within: str = "2m", explain_s: float = 60.0,
) -> UpgradeRequest:  # fmt: skip
    """Read the texts of a command line.

    Raises
    ------
    UsageError
        A list of names, a number or a duration is invalid.
    """
    if not 0 < margin < 100:
        raise UsageError(f"invalid margin {margin:g}; use points above 0 and below 100", where="--margin")
    parsed = Request.parse(target=target, host=host, variant=variant, model=model, results=results)
    return UpgradeRequest(
        runtime, old, new, parsed.model, results, parsed.targets if target else (), parsed.hosts,
        parsed.variants, baseline, margin, explain_s,
        criterion=parse_criterion("", max_ratio, decide_within),
    )  # fmt: skip


def upgrade(request: UpgradeRequest, observer: Observer, notify: Notify) -> Iterator[Comparison]:
    """Compare target by target and variant by variant, and yield each comparison when it is complete.

    Parameters
    ----------
    notify : callable
        Receives a line of progress.

    Raises
    ------
    UsageError
        A name does not exist, or a target cannot run two versions.
    """
    compared = pairs(request.runtime, request.old, request.new, request.targets, request.hosts)
    validation, _ = load_validation(request.model)
    file = validation_file(request.model)
    name_checks.check_validation(validation, file)
    variants = variant_names(validation, request.variants)
    cache, ready = Cache(cache_folder()), []
    for pair in compared:
        failures = {}
        for side in SIDES:
            notify(f"making {request.label(side)} for {pair.name}")
            if failure := find_failure(pair.targets[side], cache):
                failures[side] = failure
        if failures:
            yield from (Comparison(pair.name, variant, Findings(failures)) for variant in variants)
        else:
            ready.append(pair)
    if ready:
        run_request = Request(
            model=request.model, variants=variants, suites=suites(request), results=request.results
        )
        prepared = prepare(run_request, observer, stored=_as_stored(validation, file, ready))
        try:
            for pair in ready:
                for variant in variants:
                    notify(f"comparing {variant} on {pair.name}")
                    yield _compare(request, pair, variant, prepared, notify)
        finally:
            prepared.close()


def find_failure(target: Target, cache: Cache) -> Failure | None:
    """Make the environment of a target and import its runtime there; None where both succeed."""
    (backend,) = target.backends
    _, _, version = target.name.rpartition("@")
    executor = make_executor(target, cache.folder)
    try:
        available = availability.for_target(target, executor.probe([backend])[backend])
    except TargetUnavailable as error:
        return Failure("install", "; ".join(filter(None, (error.what, error.where, error.cause))))
    finally:
        executor.close()
    if available.reason:
        return Failure("import", available.reason)
    if _numbers(available.version) != _numbers(version):
        # A version compared with itself would look like a perfect upgrade.
        return Failure("import", f"{version} was installed, and {available.version} answers")
    return None


def _numbers(version: str) -> list[int]:
    """The first three numbers of a version, without zeros at the end: 1.32 is 1.32.0."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def _as_stored(validation: Validation, file: Path, ready: Sequence[TargetPair]) -> dict[str, Any]:
    """The configuration of the comparison in the form of a ``run.json``: clean data alone, and no gates."""
    alone = validation.model_copy(update={"shifts": ShiftsTable(), "gate": (), "waiver": (), "search": None})
    targets = [target for pair in ready for target in pair.targets.values()]
    return {
        "validation": json.loads(alone.model_dump_json(by_alias=True)),
        "validation_path": str(file.resolve()),
        "targets": {target.name: target.to_json() for target in targets},
    }


def _compare(
    request: UpgradeRequest, pair: TargetPair, variant: str, prepared: Prepared, notify: Notify
) -> Comparison:
    comparison = Comparison(pair.name, variant)
    names = {target.name for target in pair.targets.values()}
    for result in prepared.plan.skipped:  # what a runtime cannot hold, or a provider that it lacks
        if result.key.target in names and result.key.variant == variant:
            comparison.findings = Findings(incomparable=result.reason)
            return comparison
    made = next(b.artifact for b in prepared.plan.batches if b.target in names and b.variant == variant)
    comparison.artifact, comparison.origin = accepted_or_made(made, request, pair, prepared)
    compare(comparison, request, pair, prepared, notify)
    f = comparison.findings
    if request.explain_s and not f.failures and not f.incomparable:
        comparison.why = why.explain(comparison, request, pair, prepared, hypotheses(), notify)
    return comparison


def accepted_or_made(
    made: Artifact, request: UpgradeRequest, pair: TargetPair, prepared: Prepared
) -> tuple[Artifact, str]:
    """The artifact of the accepted run, where there is one and the cache has it, else `made`; and which.

    Raises
    ------
    ResultsError
        The baseline was edited.
    """
    model = prepared.run["model"]["name"]
    folder = baselines.place(request.results, model, pair.name, request.baseline)
    if not folder.exists():
        return made, f"made by the recipe (there is no baseline {request.baseline} of {pair.name})"
    baseline = baselines.describe(folder)
    wanted = baseline.artifacts.get(f"{pair.backend}/{made.variant}")
    if wanted is None:
        return made, f"made by the recipe (the baseline {request.baseline} has no {made.variant})"
    origin = f"accepted with {baseline.run_id}"
    if wanted == made.sha256:
        return made, origin
    stored = find_accepted(made, wanted, folder, prepared.cache)
    if stored is not None:
        return stored, origin
    return made, f"made by the recipe (the one {origin} differs and is no longer on this machine)"
