"""Which gates a plan can decide at all, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.core.target import Target
from harness.core.verdict import Gate, matches
from harness.plan import Plan
from harness.stats.intervals import wilson
from harness.stats.paired import smallest_decidable_margin


def sentences(gates: Iterable[Gate], plan: Plan, targets: Sequence[Target]) -> list[str]:
    """One line a gate: whether the planned samples can decide it, and if not, how many would."""
    lines = []
    for gate, where in _by_target(gates, targets):
        samples = _samples(gate, plan, where)
        if gate.design:
            lines.append(f"gate {gate.name}: timed beside {gate.baseline} after all jobs, besides that time")
        elif not samples:
            lines.append(f"gate {gate.name}: nothing planned answers it")
        elif gate.of == "value" and gate.metric == "accuracy_loss" and gate.maximum is not None:
            least_pt = 100 * smallest_decidable_margin(min(samples))
            able = least_pt < gate.maximum
            needed = int(270.6 / gate.maximum - 2.7) + 1 if gate.maximum > 0 else 0
            lines.append(
                f"gate {gate.name}: {min(samples)} samples decide losses above {least_pt:.2f} pt, "
                f"the limit is {gate.maximum:g} pt"
                + ("" if able else f": it can never pass, it needs at least {needed} samples")
            )
        elif gate.of == "value" and gate.metric == "accuracy" and gate.minimum is not None:
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
        case.samples or 1
        for batch in plan.batches
        if batch.target in targets
        and batch.suite == gate.suite
        and gate.speaks_of(batch.target, batch.variant)
        for case in batch.cases
        if case.setting == gate.setting
        and matches(case.name, gate.cases)
        and (not gate.severities or case.severity in gate.severities)
    ]
