"""BASE and each NEW: which sides are compared row by row, and which device by device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from harness.compare import Side
from harness.compare import compare as compare_rows
from harness.core.errors import UsageError
from harness.core.verdict import Gate
from harness.report.sides import Read, devices_of, read


@dataclass(frozen=True, slots=True)
class Pair:
    """BASE and one NEW.

    Parameters
    ----------
    base, new : Side
        Without what each sample contributed.
    devices : bool
        Target and backend are what differs.
    rows : DataFrame
        See ``harness.compare.compare``.
    verdicts : DataFrame
        Gates of the new side: ``state``, ``state_base`` (NaN where the base has no such gate), ``sentence``.
    gates : tuple of Gate
        Those of the new side.
    """

    base: Side
    new: Side
    devices: bool
    rows: pd.DataFrame
    verdicts: pd.DataFrame
    gates: tuple[Gate, ...] = ()


def compare(base: str, new: Sequence[str], results: Path, *, devices: bool = False) -> tuple[Pair, ...]:
    """Read all sides and compare each with the first.

    Raises
    ------
    ResultsError, UsageError
        See ``harness.report.sides.read``.
    """
    return between((read(name, results) for name in (base, *new)), devices=devices)


def between(sides: Iterable[Read], *, devices: bool = False) -> tuple[Pair, ...]:
    """Compare each side with the first.

    Where a side has no target in common with the first, or `devices` says so, it is taken apart: each device
    of it, and each other device of the first side, is compared with the first device of the first side.
    """
    rest = iter(sides)
    base = next(rest)
    targets, pairs = set(base.side.frame["target"].unique()), []
    own = devices_of(base) if devices else []
    for new in rest:
        if not devices and targets & set(new.side.frame["target"].unique()):
            pairs.append(_pair(base, new, False))
        else:
            own = own or devices_of(base)
            pairs += [_pair(own[0], part, True) for part in devices_of(new)]
    return (*(_pair(own[0], other, True) for other in own[1:]), *pairs)


def against_baselines(folders: Sequence[Path], run: str, results: Path) -> tuple[Pair, ...]:
    """Compare a run with accepted ones, each with the same target of the run.

    Raises
    ------
    ResultsError, UsageError
        See `compare`; the run has none of the targets.
    """
    targets = set(read(run, results).side.frame["target"])
    mine = [folder for folder in folders if folder.parts[-2] in targets]
    if not mine:
        raise UsageError(
            f"{run} has none of the targets {', '.join(sorted({each.parts[-2] for each in folders}))}",
            where=str(results),
        )
    return tuple(
        pair for each in mine for pair in compare(str(each), [f"{run}:{each.parts[-2]}"], results)
    )  # fmt: skip


def _pair(base: Read, new: Read, devices: bool) -> Pair:
    rows = compare_rows(base.side, new.side, devices=devices)
    one, two = (replace(each.side, per_sample={}) for each in (base, new))
    return Pair(one, two, devices, rows, _verdicts(base, new, devices), new.gates)


def _verdicts(base: Read, new: Read, devices: bool) -> pd.DataFrame:
    keys = ["gate", "variant"] if devices else ["gate", "target", "backend", "variant"]
    columns = [
        *dict.fromkeys(["target", "backend", *keys]),
        "state",
        "severity",
        "on_inconclusive",
        "sentence",
        "waived",
    ]
    if new.verdicts is None:
        return pd.DataFrame(columns=[*columns, "state_base"])
    mine = new.verdicts[columns]
    if base.verdicts is None:
        return mine.assign(state_base=math.nan)
    theirs = base.verdicts[[*keys, "state"]].rename(columns={"state": "state_base"})
    return mine.merge(theirs.drop_duplicates(keys), on=keys, how="left")
