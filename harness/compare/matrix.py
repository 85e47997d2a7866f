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
from harness.core.metric import Declared, Metric, Role
from harness.gates.number_text import number_text
from harness.stats import difference, many
from harness.stats.difference import RATIO_UNITS
from harness.stats.table_changes import BOUNDS, NO_DIRECTION
from harness.store import tables

#: Default columns: of each role the first metric that a side has.
ROLES = (Role.RESULT, Role.LATENCY, Role.SIZE)
ENTRY = ("model", "target", "backend", "variant", "source")


def matrix(names: Sequence[str], results: Path, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Read all sides and rank their entries.

    Parameters
    ----------
    names : sequence of str
        Sides, as ``harness.compare.sides.read`` takes them.
    metrics : sequence of str
        Empty for those of `ROLES`.

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
        A side cannot be read; none has such a metric, or it has no direction, or no case that stands for a
        variant as a whole.
    """
    frames, declared = [], Declared()
    for source in dict.fromkeys(names):
        side = read(source, results).side
        declared = declared.or_else(side.metrics)
        texts = {column: "str" for column in side.frame if side.frame[column].dtype.name == "category"}
        chosen = side.frame[
            (side.frame["setting"] == "deploy") & (side.frame["severity"] == 0)
            # Only losses to the float model; a loss to the same variant on the host is another quantity.
            & side.frame["reference"].isin(["", "float32@host"])
        ].astype(texts)  # fmt: skip
        frames.append(chosen.assign(source=side.label))
    whole = pd.concat(frames, ignore_index=True)
    metrics = metrics or _usual(whole, declared)
    parts, metric_of = [], {}
    for metric in metrics:
        part, metric_of[metric] = _of_metric(whole, metric, declared, names)
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame["rank"] = ""
    for (_, name), rows in frame[frame["status"] == "OK"].groupby(["model", "metric"], sort=False):
        frame.loc[rows.index, "rank"] = _ranks(rows, metric_of[str(name)])
    frame["metric"] = pd.Categorical(frame["metric"], list(metrics), ordered=True)
    frame = frame.sort_values([*ENTRY, "metric"], kind="stable", ignore_index=True)
    return frame[[*ENTRY, "metric", "unit", *BOUNDS, "status", "reason", "rank"]]


def _usual(frame: pd.DataFrame, declared: Declared) -> list[str]:
    """Of each role the first metric that was measured, else the first declared."""
    there = set(frame["metric"].unique())
    usual = []
    for role in ROLES:
        names = [name for _, name, _ in declared.with_role(role)]
        usual += [name for name in names if name in there][:1] or names[:1]
    return usual


def _of_metric(
    frame: pd.DataFrame, name: str, declared: Declared, sides: Sequence[str]
) -> tuple[pd.DataFrame, Metric]:
    """The rows of a metric in the case that stands for a variant as a whole, and its declaration."""
    next_step = f"name metrics such as {', '.join(_usual(frame, declared))}"
    rows = frame[frame["metric"] == name]
    suites = list(rows["suite"].unique()) or [
        suite for suite, metric, _ in declared.every() if metric == name
    ]
    if len(suites) > 1:
        raise UsageError(
            f"{name} is a metric of the suites {' and '.join(suites)}", where="--matrix", next_step=next_step
        )
    metric = declared.find(suites[0], name) if suites else None
    if suites and (metric is None or metric.better is None):
        raise UsageError(f"metric {name} {NO_DIRECTION}", where="--matrix", next_step=next_step)
    cases = list(rows["case"].unique())
    case = metric.case if metric is not None and metric.case else cases[0] if len(cases) == 1 else ""
    if len(cases) > 1 and not case:
        raise UsageError(
            f"--matrix needs one case per metric, and {name} has {len(cases)}", where="--matrix",
            cause=f"its suite declares no default case; cases: {', '.join(cases)}", next_step=next_step,
        )  # fmt: skip
    rows = rows[rows["case"] == case]
    if metric is None or rows.empty:
        raise UsageError(
            f"no side has a row of {name} to compare", where=", ".join(sides),
            cause=f"searched setting deploy, case {case or 'any'}", next_step=next_step,
        )  # fmt: skip
    return rows, metric


def _ranks(rows: pd.DataFrame, metric: Metric) -> list[str]:
    """Name the best, the worst, and what differs from them by no more than noise."""
    value = metric.goodness(rows["value"].to_numpy(np.float64))
    best, worst = int(np.argmax(value)), int(np.argmin(value))
    like_best, like_worst = _alike(rows, best, metric), _alike(rows, worst, metric)
    if value[best] == value[worst] or like_best[worst]:
        return [""] * len(rows)
    return [
        "best" if value[index] == value[best] else "worst" if value[index] == value[worst]
        else "" if like_best[index] == like_worst[index] else "as best" if like_best[index] else "as worst"
        for index in range(len(rows))
    ]  # fmt: skip


def _alike(rows: pd.DataFrame, extreme: int, metric: Metric) -> NDArray[np.bool_]:
    """Rows within noise of the row `extreme`; without an interval every difference counts.

    Whichever is the best was chosen of all: each pair gets its part of the level (Bonferroni), on two sides.
    """
    unit = str(rows["unit"].iloc[0])
    ratio = unit in RATIO_UNITS
    varies = difference.varies_between_runs(metric, unit)
    widen, least = (difference.noise_factor(), difference.least_distance(unit)) if varies else (1.0, 0.0)
    sides = [rows[name].to_numpy(np.float64) for name in BOUNDS]
    reference = [np.full(len(rows), part[extreme]) for part in sides]
    differences = difference.independent(reference, sides, ratio=ratio, widen=widen, least=least)
    with np.errstate(divide="ignore", invalid="ignore"):
        change, low, high = (np.log(part) if ratio else part for part in differences)
    df = np.full(len(rows), np.inf)
    if varies:
        df = difference.degrees_of_freedom(reference, sides, ratio=ratio, least=np.full(len(rows), least))
    p = many.one_sided_p(change, low, high, df, difference.PROCESSES - 1)
    pairs = max(1, len(rows) * (len(rows) - 1) / 2)
    return np.asarray(np.where(np.isnan(low), change == 0, 2 * pairs * p > many.ALPHA))


def text(frame: pd.DataFrame) -> str:
    """Draw one table a model for a terminal: a row an entry, a column a metric."""
    several = frame["source"].nunique() > 1
    entry = [*ENTRY[1:4], *(["source"] * several)]
    metrics = list(frame["metric"].cat.categories)
    lines: list[str] = []
    for model, rows_of in frame.groupby("model", sort=False):
        table = [["device", "variant", *(["source"] * several), *metrics]]
        for key, cells in rows_of.groupby(entry, sort=False):
            target, backend, variant, *source = map(tables.plain, key if isinstance(key, tuple) else (key,))
            values = {str(cell["metric"]): _cell(cell) for cell in cells.to_dict("records")}
            table.append(
                [f"{target}/{backend}", variant, *source, *(values.get(name, "-") for name in metrics)]
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        if lines:
            lines.append("")
        lines.append(f"model {tables.plain(model)}")
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)


def _cell(cell: dict[object, object]) -> str:
    value = float(str(cell["value"]))
    if cell["status"] != "OK" or math.isnan(value):
        return str(cell["status"]).lower()
    rank = str(cell["rank"])
    return number_text(value, str(cell["unit"])) + (f"  {rank}" if rank else "")
