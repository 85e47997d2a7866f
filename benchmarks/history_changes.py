"""Measure which method finds changes of a history better: ours, or the E-divisive of apache-otava.

``python -m benchmarks.history_changes FOLDER …``: each folder holds stored runs of one target with nothing
changed between them (``python -m benchmarks.false_alarms`` makes them). Their order is drawn anew for each
history: any change that is named is false. Then a step is planted in one time, and a change named within one
run of it is right. Otava is not a dependency, because it pins numpy: unpack its wheel into a folder that
PYTHONPATH names.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.compare.history import HistoryFilter, history
from harness.core.metric import Declared
from harness.run.declared import installed
from harness.stats.intervals import clopper_pearson
from harness.stats.series import Rule, Trend, trends

SEED = 20_261_127
HISTORIES = 100
#: Runs of a history, and the factors of the planted steps.
RUNS, STEPS = (8, 20), (1.05, 1.1, 1.2, 1.5)
STEPPED = ("latency_p50", "single_stream")
METRICS = ("latency_*", "throughput", "load_time", "peak_memory", "accuracy", "accuracy_loss")
#: Otava's default for each series, and 5 % over all splits of all series, as ours.
DEFAULT_P, FAMILY = 0.001, 0.05


def main() -> None:
    """Print false changes and power of each method, by target and number of runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history_changes")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--histories", type=int, default=HISTORIES)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    for folder in arguments.folders:
        past = history(folder, HistoryFilter(metrics=METRICS))
        for runs in (count for count in RUNS if count <= len(past.runs)):
            print(f"{folder.name}, {runs} of {len(past.runs)} runs", flush=True)
            _report(past.frame, len(past.runs), runs, arguments.histories)


def _report(frame: pd.DataFrame, stored: int, runs: int, count: int) -> None:
    rng = np.random.default_rng(SEED)
    metrics = installed()
    orders = [rng.choice(stored, runs, replace=False) for _ in range(count)]
    false: dict[str, list[bool]] = {}
    caught: dict[tuple[str, float], list[bool]] = {}
    for order in orders:
        drawn = _drawn(frame, order)
        for name, places in _each(drawn, metrics).items():
            false.setdefault(name, []).append(any(places))
        at = runs // 2
        for factor in STEPS:
            planted = _planted(drawn, at, factor)
            series = _stepped(trends(planted, lambda run, target: {}, metrics))
            for name, places in _each(planted, metrics).items():
                near = [abs(place - at) <= 1 for place in places[series]]
                caught.setdefault((name, factor), []).append(any(near))
    for name, alarms in false.items():
        share = clopper_pearson(sum(alarms), len(alarms))
        power = ", ".join(f"{factor - 1:+.0%} {np.mean(caught[name, factor]):.0%}" for factor in STEPS)
        print(
            f"  {name:18} false changes in {share.value:.0%} of histories [{share.low:.0%}, "
            f"{share.high:.0%}]; finds {power}",
            flush=True,
        )  # fmt: skip


def _drawn(frame: pd.DataFrame, order: NDArray[np.int64]) -> pd.DataFrame:
    """The rows of some runs, numbered in the drawn order."""
    number = {int(run): place for place, run in enumerate(order)}
    rows = frame[frame["run"].isin(list(number))]
    return rows.assign(run=rows["run"].map(number)).sort_values("run", kind="stable", ignore_index=True)


def _planted(frame: pd.DataFrame, at: int, factor: float) -> pd.DataFrame:
    """One time of one variant is longer by a factor from a run on."""
    metric, case = STEPPED
    rows = (frame["metric"] == metric) & (frame["case"] == case) & (frame["variant"] == "float32")
    changed = frame.copy()
    later = rows & (frame["run"] >= at)
    for name in ("value", "ci_low", "ci_high"):
        changed.loc[later, name] = changed.loc[later, name] * factor
    return changed


def _stepped(every: Sequence[Trend]) -> int:
    tested = [trend for trend in every if trend.rule is Rule.INTERVAL]
    return next(
        place
        for place, trend in enumerate(tested)
        if (trend.key["metric"], trend.key["case"], trend.key["variant"]) == (*STEPPED, "float32")
    )


def _each(frame: pd.DataFrame, metrics: Declared) -> dict[str, list[list[int]]]:
    """By method, the places at which each series with an interval changed."""
    from otava.analysis import compute_change_points

    tested = [
        trend for trend in trends(frame, lambda run, target: {}, metrics) if trend.rule is Rule.INTERVAL
    ]
    places = {"ours": [[turn.level.at for turn in trend.turns] for trend in tested]}
    values = [frame["value"].to_numpy(np.float64)[trend.points] for trend in tested]
    runs = int(frame["run"].max()) + 1
    for name, level in (("otava", DEFAULT_P), ("otava, 5 % in all", FAMILY / (len(tested) * (runs - 1)))):
        places[name] = []
        for value in values:
            named, _ = compute_change_points(list(value), max_pvalue=level)
            places[name].append([int(change.index) for change in named])
    return places


if __name__ == "__main__":
    main()
