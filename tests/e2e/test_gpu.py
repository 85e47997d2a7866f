"""The commands on a GPU that is none, and the target ``cuda`` where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.core.target import CUDA
from harness.executors.venv import missing_gpu
from harness.testing.fakes import register
from tests.e2e.shell import MakeModel, Shell, check
from tests.gpu import driver, planted

HARNESS = [
    sys.executable,
    "-c",
    "import sys; from harness.cli.main import main; sys.exit(main(sys.argv[1:]))",
]
PERFORMANCE = ("--suite", "performance", "--variant", "float32")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Backends that claim to compute on a GPU, and the driver that reports it."""
    folder = tmp_path_factory.mktemp("site")
    backends = {"gpu": "harness.testing.fakes:GpuBackend", "hot": "planted_gpu:HotBackend"}
    register(folder, {"harness.backends": backends})
    shutil.copy(planted.__file__, folder / "planted_gpu.py")
    return driver.compiled(folder)


def call(
    harness: Shell, site: Path, *argv: str | Path, driven: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command where the backends are installed; `driven` is whether the driver is."""
    folder = harness.folder / "targets"
    folder.mkdir(exist_ok=True)
    for name in ("gpu", "hot"):
        text = f'description = "{name}"\nbackends = ["{name}"]\n[deploy]\nprovider = "{CUDA}"\n'
        (folder / f"{name}.toml").write_text(text)
    driver.plant(harness.folder / "planted")
    env = {
        **harness.env,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", "")))),
        "FAKE_GPU": str(harness.folder / "planted"),
        **({"LD_LIBRARY_PATH": str(site)} if driven else {}),
    }
    return subprocess.run(
        [*HARNESS, *map(str, argv)], cwd=harness.folder, env=env, capture_output=True, text=True, check=False
    )


def facts(harness: Shell, target: str) -> list[dict[str, Any]]:
    environment_ = json.loads((harness.run() / target / "environment.json").read_text())
    return [record["facts"] for record in environment_]


def test_what_the_driver_tells_reaches_environment_and_table(
    harness: Shell, model: MakeModel, site: Path
) -> None:
    folder = model(
        ("batch_sizes = [8]", "batch_sizes = [1]"),
        added='[[gate]]\nname = "p50"\nsuite = "performance"\nmetric = "latency_p50"\nmax = "1 s"\n',
    )
    ended = call(harness, site, "validate", "--model", folder, "--target", "gpu,hot", *PERFORMANCE)
    assert ended.returncode == 3, ended.stderr
    before, after = facts(harness, "gpu")[0], facts(harness, "gpu")[-1]
    assert before["gpu"]["name"] == "NVIDIA H100 80GB HBM3"
    assert before["gpu_state"]["temperature_celsius"] == after["gpu_state"]["temperature_celsius"] == 41

    rows = pd.read_csv(harness.run() / "measurements.csv", keep_default_na=False)
    timed = rows[rows.metric.str.startswith(("latency_p", "throughput", "load", "first"))]
    timed = timed[~timed.metric.str.contains("over_bare")]  # which compares on the CPU alone
    cool, hot = (timed[timed.target == name] for name in ("gpu", "hot"))
    assert {"single_stream", "device_buffers", "offline_b1"} <= set(cool.case) == set(hot.case)
    assert not cool.reason.str.contains("GPU").any()  # of two short processes beside other tests: no more
    assert (hot.status == "INVALID").all()
    assert hot.reason.str.startswith("the GPU was held below its clocks by thermal (250 ms)").all()
    memory_rows = rows[rows.metric == "gpu_memory_peak"]
    assert sorted(memory_rows.target) == ["gpu", "hot"]
    assert set(memory_rows.status) == {"OK"}
    assert set(memory_rows.value.astype(float)) == {600 * 2**20}
    assert "INVALID" in ended.stdout + ended.stderr


def test_doctor_tells_of_the_gpu(harness: Shell, site: Path) -> None:
    ended_ = call(harness, site, "doctor", "--target", "gpu")
    assert ended_.returncode == 0, ended_.stdout + ended_.stderr
    assert "name NVIDIA H100 80GB HBM3" in ended_.stdout
    assert f"10 inferences ran: provider {CUDA}" in ended_.stdout
    without = call(harness, site, "doctor", "--target", "gpu", driven=False)
    assert "NVIDIA's driver is not here" in without.stdout


def test_the_target_cuda_where_there_is_no_gpu(harness: Shell, tiny: Path) -> None:
    from harness.config.targets import load_target

    if not missing_gpu(load_target("cuda")):
        pytest.skip("there is a GPU here")
    env = {"HARNESS_CACHE": str(harness.folder / "cache")}
    ended = harness("validate", "--model", tiny, "--target", "cuda", env=env)
    check(ended, 3, "the target cuda cannot run here", "there is no NVIDIA GPU here: /dev has no nvidia0")
    assert not harness.results.exists()
    ended = harness("doctor", "--target", "cuda", env=env)
    assert ended.code == 3
    assert "wrong: there is no NVIDIA GPU here" in ended.out
    assert "run it on a machine with an NVIDIA GPU" in ended.out
    listed = harness("targets", env=env)
    assert listed.code == 0
    (line,) = (line for line in listed.out.splitlines() if line.startswith("cuda "))
    assert "not here" in line
    assert not (harness.folder / "cache" / "venvs").exists()
    assert not (harness.folder / "cache" / "bundles").exists()
