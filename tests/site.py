"""An installed distribution of a test's own, which executors ship to boards."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.testing.fakes import register


def planted_site(folder: Path, source: Path, module: str) -> Path:
    """Install `source` as `module`, the measure ``planted``, beside a backend that does nothing."""
    register(
        folder,
        {
            "harness.measures": {"planted": f"{module}:measure"},
            "harness.backends": {"null": "harness.testing.fakes:NullBackend"},
        },
        distribution="planted",
    )
    shutil.copy(source, folder / f"{module}.py")
    info = "planted-1.0.dist-info"
    files = (f"{module}.py", f"{info}/METADATA", f"{info}/entry_points.txt")
    (folder / info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return folder
