"""Whether a regression matters: each row that got worse against its gates, and a ranking of devices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from harness.compare.pairs import Pair
from harness.core.verdict import State
from harness.stats.table_changes import Change

DEVICE = ["target", "backend"]


class Materiality(StrEnum):
    """Whether a difference matters."""

    YES = "yes"
    OPEN = "open"
    NO = "no"


#: Materiality of the classes that are no regression.
_AS_IS = {
    **dict.fromkeys((Change.SAME, Change.NOISE, Change.BETTER), Materiality.NO),
    **dict.fromkeys(
        (Change.UNCLEAR, Change.CHANGED, Change.UNLIKE, Change.INVALID, Change.NOT_RUN), Materiality.OPEN
    ),
}


def assess(rows: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Return whether the rows of a pair matter.

    A row that got worse matters where a gate of the new side that applies to it fails, and does not where all
    such gates pass: only the limit of a gate defines how much is too much.

    Returns
    -------
    DataFrame
        In the order of `rows`: ``matters`` (a `Materiality`) and ``because``.
    """
    matters = rows["class"].map({**_AS_IS, Change.WORSE: Materiality.OPEN}).astype("str")
    because = rows["why"].where(rows["why"] != "", rows["class"])
    worse = (rows["class"] == Change.WORSE).to_numpy()
    because[worse] = "no gate applies to it"
    if pair.gates and worse.any():
        regressions = rows[worse]
        if pair.devices:
            regressions = regressions.rename(columns={f"{name}_new": name for name in DEVICE})
        states = {
            (row["gate"], row["target"], row["backend"], row["variant"]): row
            for row in pair.verdicts.to_dict("records")
        }
        answers = [_answer(row, pair, states) for row in regressions.to_dict("records")]
        matters.loc[worse] = pd.Series([str(weight) for weight, _ in answers], regressions.index)
        because.loc[worse] = pd.Series([why for _, why in answers], regressions.index)
    return pd.DataFrame({"matters": matters, "because": because})


def _answer(
    row: Mapping[Any, Any], pair: Pair, states: Mapping[tuple[Any, ...], Mapping[Any, Any]]
) -> tuple[Materiality, str]:
    place = (row["target"], row["backend"], row["variant"])
    keys = [(gate.name, *place) for gate in pair.gates if gate.looks_at_record(row)]
    verdicts = [states[key] for key in keys if key in states]
    if not verdicts:
        return Materiality.OPEN, "no gate applies to it"
    worst = min(verdicts, key=lambda verdict: State(verdict["state"]).rank)
    sentence = f"{worst['state']} {worst['gate']}: {worst['sentence']}"
    if worst["waived"]:
        return Materiality.NO, f"waived {worst['waived']}; {sentence}"
    if worst["state"] == State.PASS:
        return Materiality.NO, sentence
    return (Materiality.YES if worst["state"] == State.FAIL else Materiality.OPEN), sentence


@dataclass(frozen=True, slots=True)
class Standing:
    """How one device of a new side stands against the base.

    Parameters
    ----------
    device, new, base : str
        ``target/backend``, and the labels of the sides.
    counts : mapping of Change to int
    matters : Materiality
        YES where a regression matters; OPEN where that is not known, or a gate was not measured; else NO.
    gates : mapping of state to int
    worst : mapping, optional
        The row that got worse by most, first of those that matter, with ``matters`` and ``because``.
    """

    device: str
    new: str
    base: str
    counts: Mapping[str, int]
    matters: Materiality
    gates: Mapping[str, int]
    worst: Mapping[Any, Any] | None

    @property
    def name(self) -> str:
        """The side, and the device where the side is not that alone."""
        return self.new if self.new.endswith(f":{self.device}") else f"{self.new}:{self.device}"


def standings(pairs: Sequence[Pair]) -> list[Standing]:
    """Rank the devices of all new sides, the worst first: what matters, then how much got worse."""
    devices = [standing for pair in pairs for standing in _of_pair(pair)]
    order = list(Materiality)
    return sorted(
        devices, key=lambda standing: (order.index(standing.matters), -standing.counts.get(Change.WORSE, 0))
    )


def _of_pair(pair: Pair) -> list[Standing]:
    names = [f"{name}_new" for name in DEVICE] if pair.devices else DEVICE
    worse = ranked(pair.rows[pair.rows["class"] == Change.WORSE])
    worse = worse.join(assess(worse, pair))
    counts: dict[tuple[str, str], dict[str, int]] = {}
    sizes = pair.rows.groupby([*names, "class"], observed=True, sort=False).size()
    for key, size in zip(sizes.index.to_flat_index(), sizes, strict=True):
        counts.setdefault((str(key[0]), str(key[1])), {})[str(key[2])] = int(size)
    ranking = []
    for (target, backend), device_counts in counts.items():
        of_device = worse[(worse[names[0]] == target) & (worse[names[1]] == backend)]
        matters = next(
            (weight for weight in Materiality if (of_device["matters"] == weight).any()), Materiality.NO
        )
        worst = of_device[of_device["matters"] == matters][:1].to_dict("records")
        gates = pair.verdicts[(pair.verdicts["target"] == target) & (pair.verdicts["backend"] == backend)]
        if matters is Materiality.NO and gates["state"].isin([State.NOT_RUN, State.INVALID]).any():
            matters = Materiality.OPEN  # what was not measured may have got worse
        ranking.append(
            Standing(
                f"{target}/{backend}", pair.new.label, pair.base.label, device_counts, matters,
                Counter(map(str, gates["state"])), worst[0] if worst else None,
            )
        )  # fmt: skip
    return ranking


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by how far they moved: ratios by their logarithm, differences within their unit."""
    size = rows["change"].where(rows["kind"] != "ratio", np.log(rows["change"].abs().clip(1e-12))).abs()
    share = rows["base"].abs().where(rows["base"].abs() > 0, 1.0)
    relative = size.where((rows["kind"] == "ratio") | rows["unit"].isin(["pt"]), size / share)
    # A point of accuracy counts as much as a percent of time.
    relative = relative.where(rows["unit"] != "pt", size / 100).where(rows["unit"] != "1", size)
    return (
        rows.assign(_size=relative.fillna(math.inf))
        .sort_values("_size", ascending=False, kind="stable")
        .drop(columns="_size")
    )
