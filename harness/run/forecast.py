"""Which gates a plan can decide at all, before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

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
            lines.append(f"gate {gate.name}: timed beside {gate.baseline} after all jobs, besides that time")
        elif not samples:
            lines.append(f"gate {gate.name}: nothing planned answers it")
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
    """Each gate as it holds, with the targets on which it holds so."""
    for gate in gates:
        held: dict[Gate, set[str]] = {}
        for target in targets:
            held.setdefault(gate.on(target.name), set()).add(target.name)
        yield from held.items()


def _samples(gate: Gate, plan: Plan, targets: set[str]) -> list[int]:
    """Samples of each planned case that the gate looks at (1 where a case reads no data set)."""
    return [
        job.case.samples or 1
        for batch in plan.batches
        if batch.target in targets
        for job in batch.jobs
        if gate.looks_at_job(job.key)
    ]


def warnings(gates: Iterable[Gate], plan: Plan, model: str, results: Path) -> list[str]:
    """One line a gate that cannot be answered, whatever is measured: it names no case, or no baseline.

    Parameters
    ----------
    gates : iterable of Gate
    plan : Plan
    model : str
        Its name: baselines are kept by it.
    results : Path
        Where they are kept.
    """
    keys = [job.key for batch in plan.batches for job in batch.jobs if batch.target != HOST]
    keys += [result.key for result in plan.skipped]
    lines = []
    for gate in gates:
        asked = [
            key for key in keys if gate.suite in (key.suite, CARD) and gate.judges(key.target, key.variant)
        ]
        if not asked:  # its suite, target or variant was not chosen
            continue
        if not gate.design and gate.suite != CARD and not any(gate.looks_at_job(key) for key in asked):
            lines.append(f"gate {gate.name} will be NOT_RUN: {_no_case(gate, [key.case for key in asked])}")
        lines += [
            f"gate {gate.name} will be NOT_RUN: {absent}"
            for target in dict.fromkeys(key.target for key in asked)
            if (absent := _no_baseline(gate.on(target).baseline, target, model, results))
        ]
    return lines


def _no_case(gate: Gate, cases: Sequence[str]) -> str:
    known = dict.fromkeys(cases)
    place = f"{', '.join(gate.cases)} in the setting {gate.setting}"
    place += f", severity {' or '.join(map(str, gate.severities))}" * bool(gate.severities)
    near = [each for case in gate.cases for each in difflib.get_close_matches(case, known, n=1)]
    meant = f"; did you mean {near[0]}?" if near and near[0] not in gate.cases else ""
    return f"no case of {gate.suite} is {place}{meant}"


def _no_baseline(name: str, target: str, model: str, results: Path) -> str:
    """Empty where it is there, or none is asked for."""
    if not name:
        return ""
    from harness.gates import baselines  # takes pandas, and a second

    folder = baselines.place(results, model, target, name)
    if folder.exists():
        return ""
    near = difflib.get_close_matches(name, [path.name for path in folder.parent.glob("*")], n=1)
    meant = f"; did you mean {near[0]}?" if near else f" (harness baseline save RUN --name {name})"
    return f"there is no baseline {name} of {target}{meant}"
