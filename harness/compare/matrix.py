"""Model × device × variant of several runs or tables, with the best and the worst of each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.compare.sides import read
from harness.core.errors import UsageError
from harness.gates.judge import number_text
from harness.stats import difference
from harness.stats.difference import OVER_PROCESSES, RATIO_UNITS
from harness.stats.table_changes import BOUNDS, direction
from harness.store import tables

#: What the columns are where nobody chose.
DEFAULT = ("accuracy", "latency_p50", "model_bytes")
#: Cases that stand for a variant as a whole.
CASES = ("clean", "single_stream")
ENTRY = ("model", "target", "backend", "variant", "source")


def matrix(names: Sequence[str], results: Path, metrics: Sequence[str] = DEFAULT) -> pd.DataFrame:
    """Read all sides and rank their entries.

    Parameters
    ----------
    names : sequence of str
        Sides, as ``harness.compare.sides.read`` takes them.
    metrics : sequence of str

    Returns
    -------
    DataFrame
        One row a model, device, variant, source and metric: ``unit``, ``value``, ``ci_low``, ``ci_high``,
        ``status``, ``reason``, and ``rank``: ``best`` and ``worst``, ``as best`` and ``as worst`` where that
        is within noise, or nothing. Ranks are within a model; where its best and its worst do not differ
        beyond noise there is none.

    Raises
    ------
    ResultsError, UsageError
        A side cannot be read; none has such a metric, or it has no better and worse.
    """
    for metric in metrics:
        if not direction(metric):
            raise UsageError(
                f"of {metric} nobody knows whether more is better", where="--matrix",
                next_step=f"take such as {', '.join(DEFAULT)}",
            )  # fmt: skip
    frames = []
    for name in dict.fromkeys(names):
        side = read(name, results).side
        texts = {column: "str" for column in side.frame if side.frame[column].dtype.name == "category"}
        chosen = side.frame[
            side.frame["metric"].isin(list(metrics)) & side.frame["case"].isin(list(CASES))
            & (side.frame["setting"] == "deploy") & (side.frame["severity"] == 0)
        ].astype(texts)  # fmt: skip
        # A loss is to the float model; to the same variant elsewhere it says another thing.
        chosen = chosen[chosen["reference"].isin(["", "float32@host"])]
        frames.append(chosen.assign(source=side.label))
    frame = pd.concat(frames, ignore_index=True)
    absent = [metric for metric in metrics if not (frame["metric"] == metric).any()]
    if absent:
        raise UsageError(
            f"no side has {', '.join(absent)} of a variant as a whole", where=", ".join(names),
            cause=f"looked at the cases {' and '.join(CASES)} in the setting deploy",
            next_step=f"take such as {', '.join(DEFAULT)}",
        )  # fmt: skip
    frame["rank"] = ""
    for (_, of), rows in frame[frame["status"] == "OK"].groupby(["model", "metric"], sort=False):
        frame.loc[rows.index, "rank"] = _ranks(rows, direction(str(of)))
    frame["metric"] = pd.Categorical(frame["metric"], list(metrics), ordered=True)
    frame = frame.sort_values([*ENTRY, "metric"], kind="stable", ignore_index=True)
    return frame[[*ENTRY, "metric", "unit", *BOUNDS, "status", "reason", "rank"]]


def _ranks(rows: pd.DataFrame, way: int) -> list[str]:
    """Name the best, the worst, and what differs from them by no more than noise."""
    value = rows["value"].to_numpy(np.float64)
    best, worst = int(np.argmax(way * value)), int(np.argmin(way * value))
    like_best, like_worst = _alike(rows, best), _alike(rows, worst)
    if value[best] == value[worst] or like_best[worst]:
        return [""] * len(rows)
    return [
        "best" if value[index] == value[best] else "worst" if value[index] == value[worst]
        else "" if like_best[index] == like_worst[index] else "as best" if like_best[index] else "as worst"
        for index in range(len(rows))
    ]  # fmt: skip


def _alike(rows: pd.DataFrame, extreme: int) -> NDArray[np.bool_]:
    """Which rows do not differ from one of them; without an interval every difference is one."""
    unit = str(rows["unit"].iloc[0])
    ratio, widen = unit in RATIO_UNITS, difference.noise_factor() if unit in OVER_PROCESSES else 1.0
    sides = [rows[name].to_numpy(np.float64) for name in BOUNDS]
    own = [np.full(len(rows), part[extreme]) for part in sides]
    _, low, high = difference.independent(own, sides, ratio=ratio, widen=widen)
    neutral = 1.0 if ratio else 0.0
    return np.asarray((low <= neutral) & (neutral <= high))


def text(frame: pd.DataFrame) -> str:
    """Draw one table a model for a terminal: a row an entry, a column a metric."""
    several = frame["source"].nunique() > 1
    entry = [*ENTRY[1:4], *(["source"] * several)]
    metrics = list(frame["metric"].cat.categories)
    lines: list[str] = []
    for model, own in frame.groupby("model", sort=False):
        table = [["device", "variant", *(["source"] * several), *metrics]]
        for key, cells in own.groupby(entry, sort=False):
            target, backend, variant, *source = map(tables.plain, key if isinstance(key, tuple) else (key,))
            said = {str(cell["metric"]): _cell(cell) for cell in cells.to_dict("records")}
            table.append(
                [f"{target}/{backend}", variant, *source, *(said.get(name, "-") for name in metrics)]
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += [""] * bool(lines) + [f"model {tables.plain(model)}"]
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)


def _cell(cell: dict[object, object]) -> str:
    value = float(str(cell["value"]))
    if cell["status"] != "OK" or math.isnan(value):
        return str(cell["status"]).lower()
    rank = str(cell["rank"])
    return number_text(value, str(cell["unit"])) + (f"  {rank}" if rank else "")
