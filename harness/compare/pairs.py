"""BASE and each NEW: which sides are compared row by row, and which device by device."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from harness.compare.sides import Read, devices_of, read
from harness.core.errors import UsageError, WorkerError
from harness.core.verdict import Gate
from harness.run.notes import saturated, saturation
from harness.stats.difference import TIME_UNITS, VARYING_UNITS
from harness.stats.table_changes import Change, Side, busier
from harness.stats.table_changes import compare as compare_rows

#: From this many named sides on, reading in processes pays off; each process takes a chunk at a time.
MANY, CHUNK = 16, 4


@dataclass(frozen=True, slots=True)
class Pair:
    """BASE and one NEW.

    Parameters
    ----------
    base, new : Side
        Without what each sample contributed.
    devices : bool
        Compare devices: target and backend differ.
    rows : DataFrame
        See ``harness.stats.table_changes.compare``.
    verdicts : DataFrame
        Gates of the new side: ``state``, ``state_base`` (NaN where the base has no such gate), ``sentence``.
    gates : tuple of Gate
        Those of the new side.
    damaged : tuple of str
        What of the two cannot be read, and is therefore not compared.
    notes : tuple of str
        Which times are not comparable, because a machine was busy; causes that the runs know of.
    """

    base: Side
    new: Side
    devices: bool
    rows: pd.DataFrame
    verdicts: pd.DataFrame
    gates: tuple[Gate, ...] = ()
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare(base: str, new: Sequence[str], results: Path, *, devices: bool = False) -> tuple[Pair, ...]:
    """Read all sides and compare each with the first; see `between`.

    Raises
    ------
    ResultsError, UsageError
        See ``harness.compare.sides.read``.
    """
    return between([read(base, results), *new], results, devices=devices)


def between(
    sides: Sequence[Read | str], results: Path = Path(), *, devices: bool = False
) -> tuple[Pair, ...]:  # fmt: skip
    """Compare each side with the first.

    Where a side has no target in common with the first, or `devices` says so, it is taken apart: each device
    of it, and each other device of the first side, is compared with the first device of the first side.

    Parameters
    ----------
    sides : sequence of Read or str
        The first is read; the name of another is read when its turn comes, many of them on every core.
    results : Path
        Where the named ones are kept.
    devices : bool
    """
    base, *others = sides
    assert isinstance(base, Read)
    pairs = [pair for side in _against_each(base, others, results, devices) for pair in side]
    base_devices = devices_of(base) if devices or any(pair.devices for pair in pairs) else []
    return (*(_pair(base_devices[0], other, True) for other in base_devices[1:]), *pairs)


def _against_each(
    base: Read, new: Sequence[Read | str], results: Path, devices: bool
) -> Iterator[list[Pair]]:  # fmt: skip
    names = [side for side in new if isinstance(side, str)]
    if len(names) < MANY:
        yield from (_against(base, side, results, devices) for side in new)
        return
    # Spawned: this process may have threads, and a forked child would wait for their locks forever.
    given = replace(base, facts=None, rows=()), results, devices
    pool = ProcessPoolExecutor(_cores(), get_context("spawn"), _begin, given)
    try:
        read_pairs = pool.map(_against_named, names, chunksize=CHUNK)
        for side in new:
            yield next(read_pairs) if isinstance(side, str) else _against(base, side, results, devices)
    except BrokenProcessPool as error:
        raise WorkerError(
            "a process that read runs ended unexpectedly",
            cause="the system may have ended it because memory ran out",
            next_step=f"compare fewer than {MANY} sides at once; then no process is started",
        ) from error  # fmt: skip
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_given: tuple[Read, Path, bool]


def _begin(*given: Any) -> None:  # noqa: ANN401 - what `_against_each` gives
    """Store in a worker process the base that all its sides are compared with."""
    global _given  # noqa: PLW0603 - a worker has one base
    _given = given


def _against_named(name: str) -> list[Pair]:
    base, results, devices = _given
    return _against(base, name, results, devices)


def _against(base: Read, other: Read | str, results: Path, devices: bool) -> list[Pair]:
    new = read(other, results) if isinstance(other, str) else other
    if not devices and set(base.side.frame["target"].unique()) & set(new.side.frame["target"].unique()):
        return [_pair(base, new, False)]
    return [_pair(devices_of(base)[0], part, True) for part in devices_of(new)]


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
            f"{run} has none of the targets {', '.join(sorted({folder.parts[-2] for folder in folders}))}",
            where=str(results),
        )
    return tuple(
        pair for folder in mine for pair in compare(str(folder), [f"{run}:{folder.parts[-2]}"], results)
    )  # fmt: skip


def _pair(base: Read, new: Read, devices: bool) -> Pair:
    rows = compare_rows(base.side, new.side, devices=devices)
    one, two = (replace(side.side, per_sample={}) for side in (base, new))
    damaged = tuple(dict.fromkeys((*base.damaged, *new.damaged)))
    load = () if devices else _busier(base.side, new.side)
    notes = (*load, *_causes(base, new, rows))
    return Pair(one, two, devices, rows, _verdicts(base, new, devices), new.gates, damaged, notes)


def _busier(base: Side, new: Side) -> tuple[str, ...]:
    """One line for each device, with the load during the first of its variants that was measured so."""
    lines: dict[str, tuple[list[str], str]] = {}
    timed = set(new.frame.loc[new.frame["unit"].isin(TIME_UNITS), "suite"].unique())
    for (target, backend, variant, suite), text in busier(base, new).items():
        if suite in timed:
            lines.setdefault(f"{target}/{backend}", ([], text))[0].append(variant)
    return tuple(
        f"times of {', '.join(dict.fromkeys(variants))} on {device} are not comparable: {text}"
        for device, (variants, text) in lines.items()
    )


def _causes(base: Read, new: Read, rows: pd.DataFrame) -> list[str]:
    """What the new run says of variants whose answers got worse, and the base does not say of its own."""
    worse = rows[(rows["class"] == Change.WORSE) & ~rows["unit"].isin(VARYING_UNITS)]
    column = "target" if "target" in worse else "target_new"
    places = set(zip(worse[column], worse["variant"], strict=True))
    if new.facts is None or not places:
        return []
    seen = [record for record in new.facts.environments if (record.target, record.variant) in places]
    if base.facts is not None:
        of_base = saturated(base.facts.environments, base.facts.cards)
        seen = [record for record in seen if record.variant not in of_base]
    return saturation(seen, new.facts.cards)


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
