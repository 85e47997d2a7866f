"""Gates that a number of samples can decide, and the reasons for their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.stats import intervals, paired

#: Margins to choose from, in percentage points, the strictest first.
MARGINS_PT = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
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


def choose(
    *,
    task: str,
    labelled: bool,
    quantizes: bool,
    shifted: bool,
    samples: int,
    right: int,
    tried: int,
    chance: float,
) -> dict[str, tuple[dict[str, Any], Limit]]:
    """Choose the gates whose limits depend on the samples; table and limit by name.

    Parameters
    ----------
    quantizes, shifted : bool
        There is an int8 variant; there are corruptions.
    samples : int
        Test samples.
    right, tried, chance
        See `accuracy_floor`.
    """
    gates: dict[str, tuple[dict[str, Any], Limit]] = {}

    def add(name: str, limit: Limit | None, key: str, text: Any, **table: Any) -> None:  # noqa: ANN401
        if limit is not None:
            gates[name] = ({"suite": "accuracy", **table, key: text}, limit)

    int8 = {"variant": "int8", "reference": "float32@host"}
    if task == "classification" and labelled:
        floor = accuracy_floor(right, tried, samples, chance)
        add("float32 accuracy", floor, "min", floor and floor.value,
            metric="accuracy", variant="float32", case="clean")  # fmt: skip
        margin = loss_margin(samples) if quantizes else None
        text = margin and f"{margin.value:g} pt"
        add("int8 accuracy, clean", margin, "max", text, metric="accuracy_loss", case="clean", **int8)
        if shifted:
            add("int8 accuracy, mean over shifts", margin, "max", text,
                metric="accuracy_loss", severities=[1, 2, 3, 4, 5], combine="mean", **int8)  # fmt: skip
    elif task == "classification" and quantizes:
        share = agreement_floor(samples)
        add("int8 agreement, clean", share, "min", share and share.value,
            metric="agreement", case="clean", **int8)  # fmt: skip
    elif labelled and quantizes:
        limit = Limit(5.0, "of the float model's error; the number of samples needed is known after a run")
        add("int8 error, clean", limit, "max", "5 %",
            metric="error_increase", case="clean", on_inconclusive="warn", **int8)  # fmt: skip
    return gates
