"""Cost of reading results, against pandas: compare of a million rows, history of a thousand runs."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import harness
from benchmarks.paired import Figures, Goal, heading, in_fresh_process, line
from harness.compare import compare_text, history, history_text, pairs
from harness.compare.history import HistoryFilter
from harness.core.job import Samples
from harness.core.measurement import COLUMNS, KEY_COLUMNS
from harness.core.plan import HOST
from harness.report.html import page, read
from harness.run.stages import finish
from harness.stats.intervals import over_processes
from harness.store.run_folder import RunFolder

ROWS = 1_000_000
RUNS, REPORTED = 1_000, 100
PROCESSES = 3
METRICS = ("accuracy", "accuracy_loss", "latency_p99")
UNITS = {"accuracy": "1", "accuracy_loss": "pt", "latency_p99": "ns", "sqnr": "dB", "model_bytes": "byte"}


def report() -> None:
    heading("Stored results: harness against the same work in plain pandas, each in a fresh process")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("parquet", "csv"):
            in_fresh_process("benchmarks.results:plant_tables", {"folder": folder, "kind": kind})
            _both(f"compare, {ROWS:,} rows a side, {kind}", "compare", {"folder": folder, "kind": kind}, 3.0)
        in_fresh_process("benchmarks.results:plant_runs", {"folder": folder})
        _both(f"history, {RUNS:,} runs", "history", {"folder": folder}, 5.0)
        in_fresh_process("benchmarks.results:plant_reported", {"folder": folder})
        _both(f"report of {REPORTED} runs", "report", {"folder": folder}, 10.0, gigabytes=None)


def _both(
    name: str, task: str, request: dict[str, Any], seconds: float, *, gigabytes: float | None = 1.0
) -> None:
    figures: dict[str, list[Figures]] = {"harness": [], "pandas": []}
    for index in range(PROCESSES):
        for side in ("harness", "pandas") if index % 2 else ("pandas", "harness"):
            figures[side].append(in_fresh_process(f"benchmarks.results:{task}_{side}", request))
    for figure, unit, limit in (("seconds", "s", seconds), ("gigabyte", "GB", gigabytes)):
        ours, plain = (np.array([run[figure] for run in figures[side]]) for side in ("harness", "pandas"))
        line(f"{name}: {unit}", over_processes(ours), None if limit is None else Goal(limit), "{:.2f}")
        line(f"{name}: {unit}, harness / pandas", over_processes(ours / plain), None, "{:.2f}")


def _measured(work: Callable[[], object]) -> Figures:
    """Seconds of the work, and peak resident memory of the process."""
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "gigabyte": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def _keys(rows: int) -> pd.DataFrame:
    """Rows with distinct keys, and texts as long as those of a real run."""
    index = np.arange(rows)
    metrics = np.array(list(UNITS))
    which = index // 8 % len(metrics)
    frame = pd.DataFrame(dict.fromkeys(COLUMNS, ""), index=pd.RangeIndex(rows))
    frame["target"] = np.array(["cpu", "openvino", "tflite", "raspberrypi"])[index % 4]
    frame["backend"] = np.array(["onnxruntime", "openvino", "tflite", "tflite"])[index % 4]
    frame["variant"] = np.array(["float32", "int8"])[index // 4 % 2]
    frame["metric"], frame["unit"] = metrics[which], np.array(list(UNITS.values()))[which]
    frame["severity"] = index // 40 % 5
    frame["case"] = np.char.add("case_", (index // 200).astype(str))
    frame["suite"], frame["setting"], frame["model"], frame["status"] = "accuracy", "deploy", "digits", "OK"
    frame["model_sha256"], frame["artifact_sha256"] = "a" * 64, "b" * 64
    frame["backend_version"], frame["started_utc"] = "1.32.0", "2026-11-25T18:00:29.013+00:00"
    frame["n"] = 800
    return frame


def _valued(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    value = 0.9 + rng.normal(0, 0.005, len(frame))
    return frame.assign(value=value, ci_low=value - 0.01, ci_high=value + 0.01)


def plant_tables(request: dict[str, Any]) -> Figures:
    keys = _keys(ROWS)
    for seed, name in enumerate(("base", "new")):
        frame = _valued(keys, np.random.default_rng(seed))
        path = Path(request["folder"]) / f"{name}.{request['kind']}"
        if request["kind"] == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
    return {"rows": float(len(keys))}


def plant_runs(request: dict[str, Any]) -> Figures:
    """Runs of 1,600 rows, as one of ``models/digits`` on two targets has."""
    keys = _keys(1_600)
    rng = np.random.default_rng(0)
    for run in range(RUNS):
        folder = Path(request["folder"]) / "results" / f"run-{run:04}"
        folder.mkdir(parents=True)
        _valued(keys.assign(run_id=folder.name), rng).to_csv(folder / "measurements.csv", index=False)
        run_json = {"schema_version": 1, "created_utc": f"2026-01-01T00:{run // 60:02}:{run % 60:02}+00:00"}
        (folder / "run.json").write_text(json.dumps(run_json))
    return {"runs": float(RUNS)}


def plant_reported(request: dict[str, Any]) -> Figures:
    """A real run of the bundled model, and copies of it whose outputs differ by a little noise."""
    results = Path(request["folder"]) / "reported"
    outcome = harness.validate("cpu", suite="accuracy", results=results)
    facts, rng = outcome.folder.facts(), np.random.default_rng(0)
    for number in range(REPORTED):
        folder = RunFolder(results / f"copy-{number:03}")
        folder.create(
            {**facts.run, "run_id": folder.run_id}, facts.plan, facts.labels, facts.cards, facts.groups
        )
        with folder.journal() as journal:
            for result in facts.results.values():
                arrays = {
                    name: values + rng.normal(0, 0.5, values.shape).astype(values.dtype)
                    if name.startswith("output:") and result.key.target != HOST else values
                    for name, values in result.samples.arrays.items()
                }  # fmt: skip
                journal.append(replace(result, samples=Samples(arrays, result.samples.values)))
        finish(folder)
    return {"runs": float(REPORTED)}


def report_harness(request: dict[str, Any]) -> Figures:
    results = Path(request["folder"]) / "reported"
    names = [f"copy-{number:03}" for number in range(REPORTED)]
    out = Path(request["folder"]) / "report.html"
    return _measured(lambda: page.write(out, page.report(read.read(names, results))))


def report_pandas(request: dict[str, Any]) -> Figures:
    """Every table merged with the first, what moved beyond its intervals as one HTML table."""
    results = Path(request["folder"]) / "reported"

    def work() -> None:
        base, *others = (pd.read_csv(path) for path in sorted(results.glob("copy-*/measurements.csv")))
        moved = []
        for new in others:
            both = base.merge(new, on=list(KEY_COLUMNS), how="outer", suffixes=("_base", "_new"))
            apart = (both["ci_low_new"] > both["ci_high_base"]) | (both["ci_high_new"] < both["ci_low_base"])
            moved.append(both[apart])
        (Path(request["folder"]) / "plain.html").write_text(pd.concat(moved).to_html())

    return _measured(work)


def compare_harness(request: dict[str, Any]) -> Figures:
    base, new = (str(Path(request["folder"]) / f"{name}.{request['kind']}") for name in ("base", "new"))
    return _measured(lambda: compare_text.text(pairs.compare(base, [new], Path(request["folder"]))))


def compare_pandas(request: dict[str, Any]) -> Figures:
    read = pd.read_csv if request["kind"] == "csv" else pd.read_parquet

    def work() -> pd.Series:
        base, new = (read(Path(request["folder"]) / f"{name}.{request['kind']}") for name in ("base", "new"))
        both = base.merge(new, on=list(KEY_COLUMNS), how="outer", suffixes=("_base", "_new"), indicator=True)
        change = both["value_new"] - both["value_base"]
        low = change - np.hypot(
            both["value_new"] - both["ci_low_new"], both["ci_high_base"] - both["value_base"]
        )
        high = change + np.hypot(
            both["ci_high_new"] - both["value_new"], both["value_base"] - both["ci_low_base"]
        )
        kinds = np.select(
            [both["_merge"] != "both", both["status_base"] != both["status_new"], (low <= 0) & (high >= 0)],
            ["not run", "invalid", "within noise"], "moved",
        )  # fmt: skip
        return pd.Series(kinds).value_counts()

    return _measured(work)


def history_harness(request: dict[str, Any]) -> Figures:
    results = Path(request["folder"]) / "results"
    return _measured(lambda: history_text.text(history.history(results, HistoryFilter(METRICS))))


def history_pandas(request: dict[str, Any]) -> Figures:
    """Read, sort and group; a change is three standard deviations from the run before."""

    def work() -> pd.DataFrame:
        frames = []
        for path in (Path(request["folder"]) / "results").glob("*/run.json"):
            created = json.loads(path.read_text())["created_utc"]
            frame = pd.read_csv(path.with_name("measurements.csv"))
            frames.append(frame[frame["metric"].isin(METRICS)].assign(created_utc=created))
        points = pd.concat(frames, ignore_index=True).sort_values("created_utc")
        keys = [name for name in KEY_COLUMNS if name != "reference"]
        step = points.groupby(keys)["value"].diff()
        spread = (points["ci_high"] - points["ci_low"]) / 3.29
        return points[step.abs() > 3 * np.sqrt(2) * spread]

    return _measured(work)
