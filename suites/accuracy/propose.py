"""Gates for a new model: only those that its samples can decide, with the reason for each limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.stats import intervals, paired

#: Margins to choose from, in percentage points, the strictest first. The widest are for sets so small that
#: nothing else can be decided: a wide gate still blocks a model that is broken.
MARGINS_PT = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0)
#: Expected share of samples on which a good int8 model and its float model disagree.
DISAGREEMENT = 0.01
ALPHA, POWER = 0.05, 0.8
#: Significance level of the floor of the float model's accuracy.
FLOOR_ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of a gate and the reason for it."""

    value: float
    why: str


def samples_for(margin_pt: float) -> int:
    """Return how many pairs decide a margin if one in a hundred disagrees and the mean loss is zero.

    ``((z_alpha + z_power) / margin)² f`` as in `paired.samples_to_decide`, and at least as many as a variant
    without any disagreement needs.
    """
    margin = margin_pt / 100
    z = intervals.z_value(ALPHA) + intervals.z_value(1 - POWER)
    count = math.ceil((z / margin) ** 2 * DISAGREEMENT)
    while not paired.can_ever_pass(count, margin, alpha=ALPHA):
        count += 1
    return count


def loss_margin(samples: int) -> Limit | None:
    """Return the strictest margin of the accuracy loss, in points, that `samples` pairs decide, or None."""
    for index, margin in enumerate(MARGINS_PT):
        if samples_for(margin) <= samples:
            why = f"the strictest that {samples:,} samples can decide"
            if index:
                stricter = MARGINS_PT[index - 1]
                why += f" ({stricter:g} pt needs about {samples_for(stricter):,})"
            return Limit(margin, why)
    return None


def agreement_floor(samples: int) -> Limit | None:
    """Return the highest agreement that `samples` prove if twice the expected share disagrees, or None."""
    low = intervals.wilson(samples - math.ceil(2 * DISAGREEMENT * samples), samples).low
    for margin in MARGINS_PT:
        if 1 - margin / 100 < low:
            return Limit(1 - margin / 100, f"the highest that {samples:,} samples can prove")
    return None


def accuracy_floor(right: int, tried: int, samples: int, chance: float) -> Limit | None:
    """Return a floor below which model, preprocessing or data must be broken; None if it cannot be proved.

    Parameters
    ----------
    right, tried : int
        Right answers among the trial samples.
    samples : int
        Test samples, which the gate will be judged by.
    chance : float
        Accuracy of always answering with the most common label.
    """
    floor = math.floor(100 * intervals.wilson(right, tried, alpha=FLOOR_ALPHA).low) / 100
    expected = intervals.wilson(math.floor(samples * right / tried), samples)
    if floor <= chance or floor >= expected.low:
        return None
    return Limit(floor, f"{right} of {tried} trial samples were right; less means a broken model or data")


def propose(context: ProposalContext) -> list[ProposedGate]:
    """Propose a floor for the float model, and how much the quantized one may lose."""
    gates = [ProposedGate("same inputs as the host", {"metric": "input_digest_equal", "min": 1})]
    float32 = {"variant": "float32", "reference": "float32@host", "case": CLEAN}
    int8 = {"variant": "int8", "reference": "float32@host"}
    clean = {**int8, "case": CLEAN}
    shifts = {**int8, "severities": [1, 2, 3, 4, 5], "combine": "mean"}
    if context.task == "classification" and context.labelled:
        gates.append(_better_than_chance(context.chance))
        floor = accuracy_floor(context.right, context.tried, context.samples, context.chance)
        if floor is not None:
            table = {"variant": "float32", "case": CLEAN}
            gates.append(_gate("float32 accuracy", "accuracy", table, {"min": floor.value}, floor))
        margin = loss_margin(context.samples)
        if margin is not None:
            most = {"max": f"{margin.value:g} pt"}
            gates.append(_gate("float32 as on the host", "accuracy_loss", float32, most, margin))
        if margin is not None and context.quantizes:
            gates.append(_gate("int8 accuracy, clean", "accuracy_loss", clean, most, margin))
            if context.shifted:
                gates.append(_gate("int8 accuracy, mean over shifts", "accuracy_loss", shifts, most, margin))
    elif context.task == "classification":
        share = agreement_floor(context.samples)
        if share is not None:
            least = {"min": share.value}
            gates.append(_gate("float32 as on the host", "agreement", float32, least, share))
            if context.quantizes:
                gates.append(_gate("int8 agreement, clean", "agreement", clean, least, share))
    elif context.labelled:
        limit = Limit(5.0, "of the float model's error; the number of samples needed is known after a run")
        gates.append(_better_than_a_constant())
        gates.append(_gate("float32 as on the host", "error_increase", float32, {"max": "5 %"}, limit))
        if context.quantizes:
            table = {**clean, "on_inconclusive": "warn"}
            gates.append(_gate("int8 error, clean", "error_increase", table, {"max": "5 %"}, limit))
    return gates


def _better_than_chance(chance: float) -> ProposedGate:
    """Return a gate that a model fails which answers at random, or always with the commonest class."""
    table = {"variant": "float32", "case": CLEAN}
    least = math.ceil(10_000 * chance) / 10_000
    reason = Limit(least, f"{100 * chance:.1f} % of the test labels are of the commonest class")
    return _gate("float32 better than chance", "accuracy", table, {"min": least}, reason)


def _better_than_a_constant() -> ProposedGate:
    """Return a gate that a model fails which is no better than the mean of the targets."""
    table = {"variant": "float32", "case": CLEAN}
    return _gate(
        "float32 better than the mean", "r2", table, {"min": 0.0}, Limit(0.0, "0 is predicting the mean")
    )


def _gate(
    name: str, metric: str, table: Mapping[str, Any], limit: Mapping[str, Any], reason: Limit
) -> ProposedGate:
    return ProposedGate(name, {"metric": metric, **table, **limit}, reason.why)
