"""A simulated NVIDIA driver: ``driver.c``, compiled, and the facts of its GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("libcuda.so.1", "libnvidia-ml.so.1")
#: An H100 that serves a small model. The last lines count the time since the driver was loaded.
PLANTED = {
    "bus0": "0000:21:00.0",
    "bus1": "0000:01:00.0",
    "name@0000:21:00.0": "NVIDIA H100 80GB HBM3",
    "name@0000:01:00.0": "NVIDIA T4",
    "uuid": "GPU-2c2b0b1a-0000-0000-0000-000000000000",
    "driver": "580.65.06",
    "clock_sm": "1980",
    "clock_mem": "2619",
    "temperature": "41",
    "power": "121500",
    "utilization": "37",
    "memory_total": str(80 * 2**30),
    "memory_used": str(3 * 2**30),
    "reasons": "0x1",
    "policy0": "5000000",
    "policy1": "0",
    "policy2": "0",
    "policy3": "0",
    "process": str(600 * 2**20),
}


def compiled(folder: Path, *flags: str) -> Path:
    """Compile the driver under both its names into `folder`, for ``LD_LIBRARY_PATH``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here, with which the driver that is none is made")
    source = str(Path(__file__).with_suffix(".c"))
    for name in NAMES:
        subprocess.run([compiler, "-shared", "-fPIC", *flags, "-o", str(folder / name), source], check=True)
    return folder


def plant(file: Path, **changed: str | None) -> None:
    """Write the facts that it reports; None removes one."""
    facts = {**PLANTED, **changed}
    file.write_text("".join(f"{key} {value}\n" for key, value in facts.items() if value is not None))
