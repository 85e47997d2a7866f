from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def installed_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the planted backend a plug-in of every child process, as an installed distribution does."""
    site = tmp_path / "site"
    info = site / "planted-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.backends]\nplanted = planted:PlantedBackend\n")
    shutil.copy(Path(__file__).with_name("planted.py"), site)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
