"""Side-by-side comparison: how often it fails without a difference, and with one of a tenth.

Fifty comparisons of cpu with itself and twenty with a backend that is a tenth slower take 15 to 20 minutes,
so this one is not among ``python -m benchmarks``: ``python -m benchmarks.side_by_side [SAME SLOWED]``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from harness.compare import side_by_side
from harness.config.folders import shipped_folder
from harness.report.progress import Quiet
from harness.testing.fakes import register
from harness.testing.slowed import PLUGIN


def report(same: int = 50, planted: int = 20) -> None:
    """Run both series and print their results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _install(folder)
        os.chdir(folder)
        for label, new, count in (
            ("cpu against itself", "cpu", same),
            ("cpu a tenth slower", "slowed", planted),
        ):
            states, ratios, processes = Counter[str](), [], 0
            for _ in range(count):
                outcome = side_by_side.compare(_request(new, folder), Quiet(), lambda text: None)
                states[outcome.state.value] += 1
                ratios.append(outcome.looks[-1].ratio)
                processes += len(outcome.times_ns["base"])
                print(f"    {outcome.state.value} {ratios[-1]}", flush=True)
            counts = ", ".join(f"{states[state]} {state}" for state in sorted(states))
            values = sorted(ratio.value for ratio in ratios)
            print(
                f"  {label}: {counts} of {count}; ratio {values[0]:.3f} to {values[-1]:.3f}, "
                f"{processes / count:.0f} processes a side",
                flush=True,
            )


def _request(new: str, folder: Path) -> side_by_side.TimingRequest:
    digits = shipped_folder("models") / "digits"
    return side_by_side.TimingRequest(
        "cpu", new, "cpu", digits, "int8", folder / "results", side_by_side.parse_criterion("", 1.05, "2m")
    )


def _install(folder: Path) -> None:
    """Install the slowed backend as a plug-in for this process and its children, with a target."""
    register(folder / "site", PLUGIN)
    (folder / "targets").mkdir()
    target = 'description = "a tenth slower"\nbackends = ["slowed"]\n[deploy]\nthreads = 1\n'
    (folder / "targets" / "slowed.toml").write_text(target)
    cpu = 'description = "unchanged"\nbackends = ["onnxruntime"]\n[deploy]\nthreads = 1\n'
    (folder / "targets" / "cpu.toml").write_text(cpu)
    paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    sys.path.insert(0, str(folder / "site"))


if __name__ == "__main__":
    report(*(int(count) for count in sys.argv[1:]))
