"""Real ARM wheels under QEMU: models planted with an overflow fail where it is, and nowhere else.

Needs Debian's packages and an index of wheels; a machine that has neither skips, and says why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.targets import load_target
from harness.core.errors import TargetUnavailable
from harness.executors.abilities import abilities_of
from harness.executors.emulated.executor import EmulatedExecutor
from tests.board.overflow import saturates, wraps

ROOT = Path(__file__).parents[2]
Plant = Callable[[Path], Path]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The userlands are made once: in the cache that the environment names, else for this session."""
    named = os.environ.get("HARNESS_CACHE")
    return Path(named) if named else tmp_path_factory.mktemp("cache")


def failing(plant: Plant, targets: str, cache: Path, tmp_path: Path) -> tuple[set[str], set[str]]:
    """Names of the targets on which the int8 gate fails, and of those on which it passes."""
    try:
        for target in map(load_target, targets.split(",")):
            if abilities_of(target).emulated:
                EmulatedExecutor(target, cache).probe(())
    except TargetUnavailable as error:
        pytest.skip(f"no emulation here: {error.what}: {error.cause}")
    folder = plant(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli.main", "validate", "--model", str(folder), "--target", targets,
         "--variant", "int8", "--results", str(tmp_path / "results"), "--json", "--explain", "0"],
        capture_output=True, text=True, check=False, env={**os.environ, "HARNESS_CACHE": str(cache)},
    )  # fmt: skip
    verdicts = json.loads(done.stdout)["verdicts"]
    return tuple({v["target"] for v in verdicts if v["state"] == state} for state in ("FAIL", "PASS"))  # type: ignore[return-value]


@pytest.mark.full
def test_u8s8_saturates_without_vnni(cache: Path, tmp_path: Path) -> None:
    failed, _ = failing(saturates, "haswell", cache, tmp_path)
    assert failed == {"haswell"}


@pytest.mark.full  # the test before runs an emulated CPU; the sums: explain/hypotheses/test_saturation.py
def test_s8s8_wraps_without_dotprod(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target with one runtime: fetching and starting the other one takes half of the time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    table = (ROOT / "targets" / "raspberrypi4.toml").read_text()
    one = table.replace('backends = ["tflite", "onnxruntime"]', 'backends = ["onnxruntime"]')
    assert one != table
    (tmp_path / "targets" / "pi4.toml").write_text(one)
    failed, _ = failing(wraps, "pi4", cache, tmp_path)
    assert failed == {"pi4"}


@pytest.mark.full
@pytest.mark.parametrize(
    ("plant", "where"), [(saturates, {"haswell"}), (wraps, {"raspberrypi3", "raspberrypi4"})]
)
def test_the_overflow_is_flagged_where_it_is_and_nowhere_else(
    plant: Plant, where: set[str], cache: Path, tmp_path: Path
) -> None:
    every = "haswell,raspberrypi3,raspberrypi4,raspberrypi5"
    failed, passed = failing(plant, every, cache, tmp_path)
    assert failed == where
    assert passed == set(every.split(",")) - where
