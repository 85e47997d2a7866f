"""Which gates a plan can decide at all, before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.core.measurement import WHOLE_CASE
from harness.core.metric import Declared
from harness.core.plan import CARD, HOST, Plan
from harness.core.target import Target
from harness.core.verdict import Gate
from harness.stats.intervals import wilson
from harness.stats.paired import smallest_decidable_margin


def sentences(
    gates: Iterable[Gate], plan: Plan, targets: Sequence[Target], metrics: Declared
) -> list[str]:  # fmt: skip
    """One line a gate: whether the planned samples can decide it, and if not, how many would."""
    lines = []
    for gate, where in _by_target(gates, targets):
        samples = _samples(gate, plan, where)
        metric = metrics.find(gate.suite, gate.metric)
        share = metric.share if metric is not None and gate.of == "value" else None
        if gate.design:
            lines.append(f"gate {gate.name}: timed side by side with {gate.baseline}, after all jobs")
        elif not samples:
            lines.append(f"gate {gate.name}: no planned case answers it")
        elif share == "paired" and gate.maximum is not None:
            least_pt = 100 * smallest_decidable_margin(min(samples))
            able = least_pt < gate.maximum
            needed = int(270.6 / gate.maximum - 2.7) + 1 if gate.maximum > 0 else 0
            lines.append(
                f"gate {gate.name}: {min(samples)} samples decide losses above {least_pt:.2f} pt, "
                f"the limit is {gate.maximum:g} pt"
                + ("" if able else f": it can never pass, it needs at least {needed} samples")
            )
        elif share == "simple" and gate.minimum is not None:
            best = wilson(min(samples), min(samples)).low
            able = best >= gate.minimum
            lines.append(
                f"gate {gate.name}: {min(samples)} samples, all right, show at least {best:.4f}, "
                f"the limit is {gate.minimum:g}" + ("" if able else ": it can never pass")
            )
        else:
            lines.append(f"gate {gate.name}: planned")
    return lines


def _by_target(gates: Iterable[Gate], targets: Sequence[Target]) -> Iterable[tuple[Gate, set[str]]]:
    """Every gate with its overrides applied, and the targets that share the result."""
    for gate in gates:
        targets_of: dict[Gate, set[str]] = {}
        for target in targets:
            targets_of.setdefault(gate.on(target.name), set()).add(target.name)
        yield from targets_of.items()


def _samples(gate: Gate, plan: Plan, targets: set[str]) -> list[int]:
    """Independent samples of each planned case that the gate looks at (1 where a case reads no data set)."""
    return [
        job.case.independent_samples or 1
        for batch in plan.batches
        if batch.target in targets
        for job in batch.jobs
        if gate.looks_at_job(job.key)
    ]


def warnings(gates: Iterable[Gate], plan: Plan, model: str, results: Path) -> list[str]:
    """One line a gate that no measurement can answer: its case or its baseline does not exist.

    Parameters
    ----------
    gates : iterable of Gate
    plan : Plan
    model : str
        Its name: baselines are stored under it.
    results : Path
        Where baselines are stored.
    """
    keys = [job.key for batch in plan.batches for job in batch.jobs if batch.target != HOST]
    # A variant that could not be built has no cases: its gates say why by themselves.
    keys += [result.key for result in plan.skipped if result.key.case != WHOLE_CASE]
    lines = []
    for gate in gates:
        covered = [
            key for key in keys if gate.suite in (key.suite, CARD) and gate.judges(key.target, key.variant)
        ]
        if not covered:  # its suite, target or variant was not selected
            continue
        if not gate.design and gate.suite != CARD and not any(gate.looks_at_job(key) for key in covered):
            lines.append(f"gate {gate.name} will be NOT_RUN: {_no_case(gate, [key.case for key in covered])}")
        lines += [
            f"gate {gate.name} will be NOT_RUN: {absent}"
            for target in dict.fromkeys(key.target for key in covered)
            if (absent := _no_baseline(gate.on(target).baseline, target, model, results))
        ]
    return lines


def _no_case(gate: Gate, cases: Sequence[str]) -> str:
    place = f"{', '.join(gate.cases)} in the setting {gate.setting}"
    if gate.severities:
        place += f", severity {' or '.join(map(str, gate.severities))}"
    names = dict.fromkeys(cases)
    near = [match for case in gate.cases for match in difflib.get_close_matches(case, names, n=1)]
    meant = f"; did you mean {near[0]}?" if near and near[0] not in gate.cases else ""
    return f"no case of {gate.suite} is {place}{meant}"


def _no_baseline(name: str, target: str, model: str, results: Path) -> str:
    """Empty where the baseline exists, or where none is named."""
    if not name:
        return ""
    from harness.gates import baselines  # imports pandas, which takes a second

    folder = baselines.place(results, model, target, name)
    if folder.exists():
        return ""
    near = difflib.get_close_matches(name, [path.name for path in folder.parent.glob("*")], n=1)
    meant = f"; did you mean {near[0]}?" if near else f" (harness baseline save RUN --name {name})"
    return f"there is no baseline {name} of {target}{meant}"
