"""The bundle for a device: the harness and plug-ins, found by a Python without other packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.executors.bundle import bundle

ASK = """
import sys; sys.path[:0] = [sys.argv[1]]
from harness.device import plugins
print(plugins.__file__)
print(*plugins.catalogue(plugins.BACKENDS), *plugins.catalogue(plugins.MEASURES))
import harness.device.worker, suites.accuracy.measure, backends.tflite_
"""


def test_a_bare_python_finds_everything_in_it(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    # -S: only numpy's folder of this environment.
    import numpy

    site = tmp_path / "site"
    site.mkdir()
    for name in ("numpy", "numpy.libs"):
        source = Path(numpy.__file__).parent.with_name(name)
        if source.exists():
            (site / name).symlink_to(source)
    lines = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(site)!r}){ASK}", str(folder)],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert lines[0].startswith(str(folder))
    assert {"onnxruntime", "openvino", "tflite", "accuracy", "performance", "reliability"} <= set(
        lines[1].split()
    )


def test_it_is_named_by_its_content_and_made_once(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    made = folder.stat().st_mtime_ns
    assert bundle(tmp_path) == folder
    assert folder.stat().st_mtime_ns == made
    assert not list(folder.rglob("*.toml"))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
