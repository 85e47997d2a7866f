"""Comparison side by side: how often no difference fails, and how often a tenth slower does.

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
    """Run both series, and print what each came to."""
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
                found = side_by_side.compare(_request(new, folder), Quiet(), lambda text: None)
                states[found.state.value] += 1
                ratios.append(found.looks[-1].ratio)
                processes += len(found.times_ns["base"])
                print(f"    {found.state.value} {ratios[-1]}", flush=True)
            told = ", ".join(f"{states[state]} {state}" for state in sorted(states))
            values = sorted(ratio.value for ratio in ratios)
            print(
                f"  {label}: {told} of {count}; ratio {values[0]:.3f} to {values[-1]:.3f}, "
                f"{processes / count:.0f} processes a side",
                flush=True,
            )


def _request(new: str, folder: Path) -> side_by_side.TimingRequest:
    digits = shipped_folder("models") / "digits"
    return side_by_side.TimingRequest(
        "cpu", new, "cpu", digits, "int8", folder / "results", side_by_side.parse_criterion("", 1.05, "2m")
    )


def _install(folder: Path) -> None:
    """Make the slowed backend a plug-in of this process and of every child, and a target of its own."""
    register(folder / "site", PLUGIN)
    (folder / "targets").mkdir()
    target = 'description = "a tenth slower"\nbackends = ["slowed"]\n[deploy]\nthreads = 1\n'
    (folder / "targets" / "slowed.toml").write_text(target)
    cpu = 'description = "as it is"\nbackends = ["onnxruntime"]\n[deploy]\nthreads = 1\n'
    (folder / "targets" / "cpu.toml").write_text(cpu)
    paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    sys.path.insert(0, str(folder / "site"))


if __name__ == "__main__":
    report(*(int(count) for count in sys.argv[1:]))
