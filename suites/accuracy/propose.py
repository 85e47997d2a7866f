"""Gates for a new model: only those that its samples can decide, with the reason for each limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
#: Standard deviation over samples of what a good int8 model changes of an F1.
F1_SPREAD = 0.2
#: Room for the loss of a good int8 model beside the least bound of an AUC loss.
AUC_SLACK = 1.5
#: Least rank correlation with the float model, and least share of samples with the same nearest neighbour.
LEAST_CORRELATION, LEAST_NEIGHBOURS = 0.9, 0.5
#: Least rank correlation of the float model with itself on another runtime.
FLOAT_CORRELATION = 0.99
FLOAT = {"variant": "float32", "reference": "float32@host", "case": CLEAN}
_INT8 = {"variant": "int8", "reference": "float32@host"}
INT8_CLEAN = {**_INT8, "case": CLEAN}
INT8_SHIFTS = {**_INT8, "severities": [1, 2, 3, 4, 5], "combine": "mean"}


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


def f1_margin(samples: int) -> Limit | None:
    """Return the strictest margin of the F1 loss, in percent of 1, from 5 that `samples` pairs decide."""
    z = intervals.z_value(ALPHA)
    for margin in MARGINS_PT if samples else ():
        if margin >= 5 and z * z / (samples + z * z) + z * F1_SPREAD / math.sqrt(samples) < margin / 100:
            return Limit(margin, f"the strictest from 5 % that {samples:,} samples can decide")
    return None


def auc_margin(fewest: int) -> Limit | None:
    """Return the strictest margin of the AUC loss, in percent of 1, that the rarer kind of samples proves."""
    z = intervals.z_value(ALPHA)
    for margin in MARGINS_PT:
        if margin >= 1 and AUC_SLACK * z * z / (fewest + z * z) < margin / 100:
            why = f"the strictest that {fewest:,} samples of the rarer kind can decide"
            return Limit(margin, why)
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
    return gates + (TASKS[context.task](context) if context.task in TASKS else [])


def _classification(context: ProposalContext) -> list[ProposedGate]:
    if not context.labelled:
        return _agreement(context)
    gates = [_better_than_chance("accuracy", context.chance, "test labels are of the commonest class")]
    floor = accuracy_floor(context.right, context.tried, context.samples, context.chance)
    if floor is not None:
        table = {"variant": "float32", "case": CLEAN}
        gates.append(_gate("float32 accuracy", "accuracy", table, {"min": floor.value}, floor))
    return gates + _loss(context, "accuracy", "accuracy_loss", loss_margin(context.samples))


def _multi_label(context: ProposalContext) -> list[ProposedGate]:
    if not context.labelled:
        return _agreement(context)
    least = _better_than_chance("label_accuracy", context.chance, "labels are right by the commonest answers")
    gates = [least, *_loss(context, "F1", "f1_micro_loss", f1_margin(context.samples), unit="%")]
    gates += _loss(context, "label accuracy", "label_accuracy_loss", loss_margin(context.samples))
    return gates + _agreement(context, host=False)


def _anomaly(context: ProposalContext) -> list[ProposedGate]:
    gates = []
    if context.labelled:
        table = {"variant": "float32", "case": CLEAN}
        chance = Limit(0.5, "the AUC of one score for all samples")
        gates.append(_gate("float32 better than chance", "auc", table, {"min": 0.5}, chance))
        gates += _loss(context, "AUC", "auc_loss", auc_margin(context.fewest), unit="%")
    order = Limit(LEAST_CORRELATION, "int8 keeps the order of the scores; a broken model has 0")
    return gates + _kept(context, "order of scores", "rank_correlation", order, FLOAT_CORRELATION)


def _embedding(context: ProposalContext) -> list[ProposedGate]:
    gates = []
    if context.labelled:
        gates.append(_better_than_chance("recall_at_1", context.chance, "samples by shuffled labels"))
        # Two samples that are each other's nearest neighbour count as one.
        gates += _loss(context, "recall@1", "recall_at_1_loss", loss_margin(context.samples // 2))
    most = Limit(LEAST_NEIGHBOURS, "int8 keeps the nearest neighbour of most samples; a broken model of few")
    share = agreement_floor(context.samples)
    least = LEAST_NEIGHBOURS if share is None else share.value
    return gates + _kept(context, "nearest neighbours", "agreement", most, least)


def _regression(context: ProposalContext) -> list[ProposedGate]:
    if not context.labelled:
        return []
    limit = Limit(5.0, "of the float model's error; the number of samples needed is known after a run")
    gates = [
        _better_than_a_constant(),
        _gate("float32 as on the host", "error_increase", FLOAT, {"max": "5 %"}, limit),
    ]
    if context.quantizes:
        table = {**INT8_CLEAN, "on_inconclusive": "warn"}
        gates.append(_gate("int8 error, clean", "error_increase", table, {"max": "5 %"}, limit))
    return gates


#: The gates of each task.
TASKS: Mapping[str, Callable[[ProposalContext], list[ProposedGate]]] = {
    "classification": _classification,
    "multi-label": _multi_label,
    "anomaly": _anomaly,
    "embedding": _embedding,
    "regression": _regression,
}


def _loss(
    context: ProposalContext, what: str, metric: str, margin: Limit | None, *, unit: str = "pt"
) -> list[ProposedGate]:
    """Propose how much may be lost on clean data and over the shifts; nothing without a margin."""
    if margin is None:
        return []
    most = {"max": f"{margin.value:g} {unit}"}
    first = "" if what in ("accuracy", "F1", "AUC", "recall@1") else f", {what}"
    gates = [_gate(f"float32 as on the host{first}", metric, FLOAT, most, margin)]
    if context.quantizes:
        gates.append(_gate(f"int8 {what}, clean", metric, INT8_CLEAN, most, margin))
        if context.shifted:
            gates.append(_gate(f"int8 {what}, mean over shifts", metric, INT8_SHIFTS, most, margin))
    return gates


def _agreement(context: ProposalContext, *, host: bool = True) -> list[ProposedGate]:
    """Propose how many answers have to be those of the reference."""
    share = agreement_floor(context.samples)
    if share is None:
        return []
    least = {"min": share.value}
    gates = [_gate("float32 as on the host", "agreement", FLOAT, least, share)] if host else []
    if context.quantizes:
        gates.append(_gate("int8 agreement, clean", "agreement", INT8_CLEAN, least, share))
    return gates


def _kept(
    context: ProposalContext, what: str, metric: str, limit: Limit, of_float: float
) -> list[ProposedGate]:
    """Propose how much of the order or the neighbours of the float model has to be kept."""
    same = Limit(of_float, "the same model; less means another file or other inputs")
    gates = [_gate(f"float32 {what} as on the host", metric, FLOAT, {"min": of_float}, same)]
    if context.quantizes:
        gates.append(_gate(f"int8 {what}, clean", metric, INT8_CLEAN, {"min": limit.value}, limit))
    return gates


def _better_than_chance(metric: str, chance: float, what: str) -> ProposedGate:
    """Return a gate that a model fails which does not look at the sample."""
    table = {"variant": "float32", "case": CLEAN}
    least = math.ceil(10_000 * chance) / 10_000
    reason = Limit(least, f"{100 * chance:.1f} % of the {what}")
    return _gate("float32 better than chance", metric, table, {"min": least}, reason)


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
