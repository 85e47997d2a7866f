"""Measure how often healthy runs fail, and equal runs differ.

``python -m benchmarks.false_alarms FOLDER`` validates the bundled model on one backend after the other, with
nothing wrong: a FAIL is a false alarm. Then pairs of stored runs of one target are compared: a row that is
called worse is a false alarm, too. Runs stay in FOLDER, so that a campaign goes on where it stopped;
``--runs 0`` only counts and compares.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from harness.compare import pairs
from harness.stats.intervals import clopper_pearson
from harness.stats.table_changes import Change

SEED = 20_261_127


def main() -> None:
    """Run what is missing of the campaign, then count and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_alarms")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--targets", default="cpu,openvino,tflite")
    parser.add_argument("--budget", help="of each run; without it, a default run")
    arguments = parser.parse_args()
    targets = arguments.targets.split(",")
    done = sum(len(folders) for folders in _stored(arguments.folder).values())
    for index in range(done, arguments.runs):
        target = targets[index % len(targets)]
        print(
            f"{index + 1}: {target}: {_validate(arguments.folder / target, target, arguments.budget)}",
            flush=True,
        )
    stored = _stored(arguments.folder)
    _count(stored)
    _compare(stored, arguments.comparisons)


def _stored(folder: Path) -> dict[str, list[Path]]:
    """Finished runs of each target."""
    runs: defaultdict[str, list[Path]] = defaultdict(list)
    for verdicts in sorted(folder.glob("*/*/verdicts.csv")):
        if not verdicts.parent.is_symlink():
            runs[verdicts.parts[-3]].append(verdicts.parent)
    return dict(runs)


def _validate(results: Path, target: str, budget: str | None) -> str:
    """Validate; return the line that counts gates and checks."""
    command = [
        sys.executable,
        "-m",
        "harness.cli.main",
        "validate",
        "--target",
        target,
        "--results",
        str(results),
    ]
    command += ["--budget", budget] if budget else []
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3, 4):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if " checks in " in line or line.startswith("FAIL")]
    return f"{' | '.join(lines)} ({time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})"


def _count(stored: dict[str, list[Path]]) -> None:
    for target, folders in stored.items():
        frames = [pd.read_csv(folder / "verdicts.csv", dtype=str) for folder in folders]
        failed = [set(frame.loc[frame["state"] == "FAIL", "gate"]) for frame in frames]
        judged = sum(int((frame["state"].isin(("PASS", "FAIL"))).sum()) for frame in frames)
        _rate(f"{target}: healthy runs with a FAIL", [bool(names) for names in failed])
        states = Counter(state for frame in frames for state in frame["state"])
        print(f"    {judged} judged; {', '.join(f'{n} {state}' for state, n in states.most_common())}")
        for name, n in Counter(name for names in failed for name in names).most_common():
            print(f"    {n} x {name}")


def _compare(stored: dict[str, list[Path]], count: int) -> None:
    """Compare runs of one target, as `harness compare` does."""
    every = list(_pairs(stored))
    chosen = np.random.default_rng(SEED).choice(len(every), min(count, len(every)), replace=False)
    by_base: defaultdict[Path, list[Path]] = defaultdict(list)
    for base, new in (every[index] for index in sorted(chosen)):
        by_base[base].append(new)
    alarms: list[bool] = []
    named: Counter[str] = Counter()
    for base, others in by_base.items():
        for pair in pairs.compare(str(base), [str(new) for new in others], Path()):
            worse = pair.rows[pair.rows["class"] == str(Change.WORSE)]
            alarms.append(not worse.empty)
            named.update((worse["target"] + " " + worse["metric"]).unique())
    _rate("comparisons of equal runs with a row called worse", alarms)
    for name, n in named.most_common():
        print(f"    {n} x {name}")


def _pairs(stored: dict[str, list[Path]]) -> Iterator[tuple[Path, Path]]:
    for folders in stored.values():
        yield from combinations(folders, 2)


def _rate(what: str, alarms: Sequence[bool]) -> None:
    if alarms:
        share = clopper_pearson(sum(alarms), len(alarms))
        bound = f"{share.value:.2%}, at most {share.high:.2%} with 95 % confidence"
        print(f"{what}: {sum(alarms)} of {len(alarms)} ({bound})")


if __name__ == "__main__":
    main()
