"""Gates that so many samples can decide, and why their limits are what they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.stats import intervals, paired

#: Margins that are offered, in points, the strictest first.
MARGINS_PT = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
#: Share of samples on which a good int8 model answers otherwise than its float model.
DISAGREEMENT = 0.01
ALPHA, POWER = 0.05, 0.8
#: The floor of the float model's accuracy lies this surely below what the trial samples showed.
FLOOR_ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class Limit:
    """One gate's limit and the sentence that says where it comes from."""

    value: float
    why: str


def samples_for(margin_pt: float) -> int:
    """How many pairs decide a margin if one in a hundred disagrees and nothing is lost on the whole.

    ``((z_alpha + z_power) / margin)² f`` as in `paired.samples_to_decide`, and never fewer than a variant
    without any disagreement needs.
    """
    margin = margin_pt / 100
    z = intervals.z_value(ALPHA) + intervals.z_value(1 - POWER)
    count = math.ceil((z / margin) ** 2 * DISAGREEMENT)
    while not paired.can_ever_pass(count, margin, alpha=ALPHA):
        count += 1
    return count


def loss_margin(samples: int) -> Limit | None:
    """The strictest margin of the accuracy loss, in points, that `samples` pairs decide; None without one."""
    for index, margin in enumerate(MARGINS_PT):
        if samples_for(margin) <= samples:
            why = f"what {samples:,} samples can decide"
            if index:
                stricter = MARGINS_PT[index - 1]
                why += f" ({stricter:g} pt needs about {samples_for(stricter):,})"
            return Limit(margin, why)
    return None


def agreement_floor(samples: int) -> Limit | None:
    """The highest share of equal answers that `samples` prove where twice the usual share disagrees."""
    low = intervals.wilson(samples - math.ceil(2 * DISAGREEMENT * samples), samples).low
    for margin in MARGINS_PT:
        if 1 - margin / 100 < low:
            return Limit(1 - margin / 100, f"what {samples:,} samples can prove")
    return None


def accuracy_floor(right: int, tried: int, samples: int, chance: float) -> Limit | None:
    """A floor that only a broken model, preprocessing or data set falls below; None if nothing can be said.

    Parameters
    ----------
    right, tried : int
        Right answers among the trial samples.
    samples : int
        Test samples, which have to prove it.
    chance : float
        Accuracy of always giving the commonest label.
    """
    floor = math.floor(100 * intervals.wilson(right, tried, alpha=FLOOR_ALPHA).low) / 100
    expected = intervals.wilson(math.floor(samples * right / tried), samples)
    if floor <= chance or floor >= expected.low:
        return None
    return Limit(floor, f"{right} of {tried} trial samples were right; below this something is broken")


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
    """The gates whose limits depend on the samples, by name: table and limit.

    Parameters
    ----------
    quantizes, shifted : bool
        There is an int8 variant; there are corruptions.
    samples : int
        Test samples.
    right, tried, chance
        See `accuracy_floor`.
    """
    found: dict[str, tuple[dict[str, Any], Limit]] = {}

    def add(name: str, limit: Limit | None, key: str, text: Any, **table: Any) -> None:  # noqa: ANN401
        if limit is not None:
            found[name] = ({"suite": "accuracy", **table, key: text}, limit)

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
        limit = Limit(5.0, "of the float model's error; how many samples decide it shows only when it is run")
        add("int8 error, clean", limit, "max", "5 %",
            metric="error_increase", case="clean", on_inconclusive="warn", **int8)  # fmt: skip
    return found
