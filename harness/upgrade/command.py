"""``harness upgrade``: the accepted artifacts in two versions of a runtime, on every target that has it.

Stands above ``prepare``: it makes both environments, and gives both the same files and the same samples. That
a version cannot be had or crashes is an answer, and no error.
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
from harness.gates import baselines
from harness.run import availability, name_checks
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.selection import variant_names
from harness.run.side_by_side import find_accepted
from harness.store.cache import Cache
from harness.upgrade.decision import Findings, Trouble
from harness.upgrade.run_both import Asked, Comparison, Told, compare, suites
from harness.upgrade.targets import SIDES, Pair, pairs


def read(
    *, runtime: str, old: str, new: str, results: Path, target: str = "", host: str = "", variant: str = "",
    model: str = "", baseline: str = "accepted", margin: float = 0.5, max_ratio: float = 1.05,
    decide_within: str = "2m",
) -> Asked:  # fmt: skip
    """Read what a command line says.

    Raises
    ------
    UsageError
        A text cannot be read, or a number means nothing.
    """
    if not 0 < margin < 100:
        raise UsageError(f"a loss between 0 and 100 points is asked for, not {margin:g}", where="--margin")
    request = Request.parse(target=target, host=host, variant=variant, model=model, results=results)
    return Asked(
        runtime, old, new, request.model, results, request.targets if target else (), request.hosts,
        request.variants, baseline, margin, criterion=parse_criterion("", max_ratio, decide_within),
    )  # fmt: skip


def upgrade(asked: Asked, observer: Observer, told: Told) -> Iterator[Comparison]:
    """Compare target by target and variant by variant; each is told as soon as it is known.

    Parameters
    ----------
    told : callable
        Takes a text on how far it is.

    Raises
    ------
    UsageError
        Something that is named does not exist, or cannot be done.
    """
    found = pairs(asked.runtime, asked.old, asked.new, asked.targets, asked.hosts)
    validation, _ = load_validation(asked.model)
    file = validation_file(asked.model)
    name_checks.check_validation(validation, file)
    variants = variant_names(validation, asked.variants)
    cache, ready = Cache(cache_folder()), []
    for pair in found:
        troubles = {}
        for side in SIDES:
            told(f"making {asked.label(side)} for {pair.name}")
            if trouble := trouble_of(pair.targets[side], cache):
                troubles[side] = trouble
        if troubles:
            yield from (Comparison(pair.name, variant, Findings(troubles)) for variant in variants)
        else:
            ready.append(pair)
    if ready:
        request = Request(model=asked.model, variants=variants, suites=suites(asked), results=asked.results)
        prepared = prepare(request, observer, stored=_as_stored(validation, file, ready))
        try:
            for pair in ready:
                for variant in variants:
                    told(f"comparing {variant} on {pair.name}")
                    yield _compare(asked, pair, variant, prepared, told)
        finally:
            prepared.close()


def trouble_of(target: Target, cache: Cache) -> Trouble | None:
    """Make the environment of a target and import its runtime there; why that cannot be, if it cannot."""
    (backend,) = target.backends
    _, _, version = target.name.rpartition("@")
    executor = make_executor(target, cache.folder)
    try:
        known = availability.for_target(target, executor.probe([backend])[backend])
    except TargetUnavailable as error:
        return Trouble("install", "; ".join(filter(None, (error.what, error.where, error.cause))))
    finally:
        executor.close()
    if known.reason:
        return Trouble("import", known.reason)
    if _numbers(known.version) != _numbers(version):
        # Two lines of one and the same version would look like the best of upgrades.
        return Trouble("import", f"{version} was installed, and {known.version} answers")
    return None


def _numbers(version: str) -> list[int]:
    """The first three numbers of a version, without zeros at the end: 1.32 is 1.32.0."""
    found = [int(each) for each in re.findall(r"\d+", version)[:3]]
    while found and not found[-1]:
        found.pop()
    return found


def _as_stored(validation: Validation, file: Path, ready: Sequence[Pair]) -> dict[str, Any]:
    """What is compared, as the ``run.json`` of a run would have it: clean data alone, and no gates."""
    alone = validation.model_copy(update={"shifts": ShiftsTable(), "gate": (), "waiver": (), "search": None})
    targets = [target for pair in ready for target in pair.targets.values()]
    return {
        "validation": json.loads(alone.model_dump_json(by_alias=True)),
        "validation_path": str(file.resolve()),
        "targets": {target.name: target.to_json() for target in targets},
    }


def _compare(asked: Asked, pair: Pair, variant: str, prepared: Prepared, told: Told) -> Comparison:
    found = Comparison(pair.name, variant)
    names = {target.name for target in pair.targets.values()}
    for result in prepared.plan.skipped:  # what a runtime cannot hold, or a provider that it lacks
        if result.key.target in names and result.key.variant == variant:
            found.findings = Findings(untrusted=result.reason)
            return found
    made = next(b.artifact for b in prepared.plan.batches if b.target in names and b.variant == variant)
    found.artifact, found.origin = accepted_or_made(made, asked, pair, prepared)
    compare(found, asked, pair, prepared, told)
    return found


def accepted_or_made(made: Artifact, asked: Asked, pair: Pair, prepared: Prepared) -> tuple[Artifact, str]:
    """The artifact of the accepted run, where there is one and the cache has it, else `made`; and which.

    Raises
    ------
    ResultsError
        The baseline was edited.
    """
    model = prepared.run["model"]["name"]
    folder = baselines.place(asked.results, model, pair.name, asked.baseline)
    if not folder.exists():
        return made, f"made by the recipe (there is no baseline {asked.baseline} of {pair.name})"
    told = baselines.describe(folder)
    wanted = told.artifacts.get(f"{pair.backend}/{made.variant}")
    if wanted is None:
        return made, f"made by the recipe (the baseline {asked.baseline} has no {made.variant})"
    origin = f"accepted with {told.run_id}"
    if wanted == made.sha256:
        return made, origin
    kept = find_accepted(made, wanted, folder, prepared.cache)
    if kept is not None:
        return kept, origin
    return made, f"made by the recipe (the one {origin} is another, and not on this machine any more)"
