"""Measure pairs side by side in fresh processes, with an interval of their ratio.

Within a process the two sides take turns in ABBA order, so that a drift of the machine favours neither; which
side is A changes from process to process. The unit is the process: one ratio each, the interval over them.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.stats.intervals import Interval, over_processes

#: Positive figures of one process by name; those of all processes make an interval.
Figures = dict[str, float]
Side = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Goal:
    """The limit of a figure.

    Parameters
    ----------
    limit : float
    least : bool
        The limit is a lower bound.
    """

    limit: float
    least: bool = False

    def word(self, interval: Interval) -> str:
        """Say ``met`` or ``MISSED`` where the whole interval lies on one side, ``undecided`` elsewhere."""
        low, high = interval.low <= self.limit, interval.high <= self.limit
        if low != high:
            return "undecided"
        return "met" if high != self.least else "MISSED"

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.limit:g}"


def take_turns(harness: Side, bare: Side, turns: int, *, swap: bool) -> None:
    """Run both `2 * turns` times in ABBA order; `swap` begins with the bare one."""
    first, second = (bare, harness) if swap else (harness, bare)
    for _ in range(turns):
        first()
        second()
        second()
        first()


def in_processes(sample: str, request: Mapping[str, Any], processes: int) -> dict[str, Interval]:
    """Run ``module:function`` in fresh processes, one after the other.

    Parameters
    ----------
    sample : str
        Takes `request` with the process's ``index`` added, and returns positive figures by name.
    """
    runs = [in_fresh_process(sample, {**request, "index": index}) for index in range(processes)]
    return {name: over_processes(np.array([figures[name] for figures in runs])) for name in runs[0]}


def in_fresh_process(sample: str, request: Mapping[str, Any]) -> Figures:
    """Call ``module:function`` in a process of its own, which imports one runtime."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.paired", sample, str(answer)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent.parent,
        )
        if done.returncode:
            sys.exit(f"{sample} ended with {done.returncode}:\n{done.stderr}")
        figures = json.loads(answer.read_text())
    assert isinstance(figures, dict)
    return figures


def heading(text: str) -> None:
    load = os.getloadavg()[0]
    print(f"\n{text}")
    print(f"  (load average {load:.1f} on {os.cpu_count()} CPUs; intervals are two-sided 90 %, n processes)")


def line(name: str, interval: Interval, goal: Goal | None = None, form: str = "{:.4f}") -> None:
    value, low, high = (form.format(x) for x in (interval.value, interval.low, interval.high))
    verdict = "" if goal is None else f"  goal {goal}: {goal.word(interval)}"
    print(f"  {name:<44} {value} [{low}, {high}] n={interval.n}{verdict}", flush=True)


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    figures = getattr(importlib.import_module(module), function)(json.loads(sys.stdin.read()))
    Path(sys.argv[2]).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
