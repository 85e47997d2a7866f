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
FLOAT = {"variant": "float32", "reference": "float32@host", "case": CLEAN}
_QUANTIZED = {"variant": "int8", "reference": "float32@host"}
INT8_CLEAN = {**_QUANTIZED, "case": CLEAN}
INT8_SHIFTS = {**_QUANTIZED, "severities": [1, 2, 3, 4, 5], "combine": "mean"}


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


def margin_of_images(samples: int, spread: float) -> Limit | None:
    """Return the strictest margin of a loss over all images, in points from 1, that `samples` images decide.

    Parameters
    ----------
    samples : int
    spread : float
        Expected standard deviation of what an image contributes to the loss, as a share of 1.
    """
    z = intervals.z_value(ALPHA)
    for value in MARGINS_PT if samples else ():
        if value >= 1 and z * z / (samples + z * z) + z * spread / math.sqrt(samples) < value / 100:
            return Limit(value, f"the strictest from 1 pt that {samples:,} images can decide")
    return None


def agreement_floor(samples: int) -> Limit | None:
    """Return the highest agreement that `samples` prove if twice the expected share disagrees, or None."""
    low = intervals.wilson(samples - math.ceil(2 * DISAGREEMENT * samples), samples).low
    for margin in MARGINS_PT:
        if 1 - margin / 100 < low:
            return Limit(1 - margin / 100, f"the highest that {samples:,} samples can prove")
    return None


def loss(
    context: ProposalContext,
    what: str,
    metric: str,
    margin: Limit | None,
    *,
    unit: str = "pt",
    headline: bool = True,
) -> list[ProposedGate]:
    """Propose how much may be lost on clean data and over the shifts; nothing without a margin.

    Parameters
    ----------
    what : str
        What is lost, in words.
    metric : str
    margin : Limit, optional
    unit : str
        Of the margin.
    headline : bool
        It is the loss that the task is judged by: the gate of the float model is not named after it.
    """
    if margin is None:
        return []
    most = {"max": f"{margin.value:g} {unit}"}
    first = "" if headline else f", {what}"
    gates = [gate(f"float32 as on the host{first}", metric, FLOAT, most, margin)]
    if context.quantizes:
        gates.append(gate(f"int8 {what}, clean", metric, INT8_CLEAN, most, margin))
        if context.shifted:
            gates.append(gate(f"int8 {what}, mean over shifts", metric, INT8_SHIFTS, most, margin))
    return gates


def agreement(context: ProposalContext, metric: str, *, host: bool = True) -> list[ProposedGate]:
    """Propose how many answers have to be those of the reference."""
    share = agreement_floor(context.samples)
    if share is None:
        return []
    least = {"min": share.value}
    gates = [gate("float32 as on the host", metric, FLOAT, least, share)] if host else []
    if context.quantizes:
        gates.append(gate("int8 agreement, clean", metric, INT8_CLEAN, least, share))
    return gates


def kept(
    context: ProposalContext, what: str, metric: str, limit: Limit, of_float: float
) -> list[ProposedGate]:
    """Propose how much of an order, or of neighbours, of the float model has to be kept."""
    same = Limit(of_float, "the same model; less means another file or other inputs")
    gates = [gate(f"float32 {what} as on the host", metric, FLOAT, {"min": of_float}, same)]
    if context.quantizes:
        gates.append(gate(f"int8 {what}, clean", metric, INT8_CLEAN, {"min": limit.value}, limit))
    return gates


def better_than_chance(metric: str, chance: float, what: str) -> ProposedGate:
    """Return a gate that a model fails which does not look at the sample."""
    table = {"variant": "float32", "case": CLEAN}
    least = math.ceil(10_000 * chance) / 10_000
    reason = Limit(least, f"{100 * chance:.1f} % of the {what}")
    return gate("float32 better than chance", metric, table, {"min": least}, reason)


def gate(
    name: str, metric: str, table: Mapping[str, Any], limit: Mapping[str, Any], reason: Limit
) -> ProposedGate:
    """Return a gate; `table` has its variant, reference and case, `limit` its ``max`` or ``min``."""
    return ProposedGate(name, {"metric": metric, **table, **limit}, reason.why)
