"""A third party's distribution is installed and found; a broken one is reported."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.testing.fakes import register

HERE = Path(__file__).parent

LIST = """
import csv
import json
from harness.device import plugins
from harness.core.errors import HarnessError
found = {}
try:
    for name, plugin in plugins.catalogue(plugins.BACKENDS).items():
        if plugin.distribution == "deployment-validation-harness":
            continue
        try:
            found[name] = [plugin.distribution, plugin.load()().probe().reason]
        except HarnessError as error:
            found[name] = [plugin.distribution, str(error)]
except HarnessError as error:
    found = {"error": [type(error).__name__, str(error)]}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed the toy."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "toy_backend.py", "toy_task.py", "toy_metrics.py", "toy_shift.py"):
        (source / name).write_bytes((HERE / name).read_bytes())
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    run = _python([*pip[1:], "--target", str(folder), str(source)])
    assert run.returncode == 0, run.stderr
    return folder


def _python(arguments: list[str], *folders: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def _backends(*folders: Path) -> Mapping[str, list[str]]:
    run = _python(["-c", LIST], *folders)
    assert run.returncode == 0, run.stderr
    backends: dict[str, list[str]] = json.loads(run.stdout)
    return backends


def test_installed_backend_is_found(installed: Path) -> None:
    before = _backends()  # a developer's environment may have other plug-ins
    assert "toy" not in before
    assert _backends(installed) == {**before, "toy": ["toy-backend", ""]}


def test_installed_backend_passes_the_kit(installed: Path) -> None:
    kit = [
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(HERE),
        str(HERE / "kit.py"),
    ]
    run = _python(kit, installed)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
    assert not any(word in run.stdout for word in ("xfailed", "no tests"))
    skipped = [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    # Its memory is the host's, and it tells no times of its kernels.
    assert all(line.endswith(("has no bind_device", "has no profile")) for line in skipped)


#: What the test adds to the file that init writes.
COUNTING = """
[task]
most = 6
[variants.worse]
files = { onnx = "worse.onnx" }
[[gate]]
name = "worse"
suite = "accuracy"
metric = "count_exact_loss"
variant = "worse"
max = "5 pt"
"""


def _linear(path: Path, weights: list[float]) -> None:
    """A model that adds up three numbers with weights."""
    specs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("x", 3), ("count", 1))
    ]
    stored = [numpy_helper.from_array(np.array(weights, np.float32)[:, None], "w")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["count"])], "g", specs[:1], specs[1:], stored
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _rows(run: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Clean rows as they ship, by variant, metric and reference."""
    with (run / "measurements.csv").open(newline="") as file:
        return {
            (row["variant"], row["metric"], row["reference"]): row
            for row in csv.DictReader(file)
            if row["case"] == "clean" and row["setting"] == "deploy"
        }


def test_installed_task_is_proposed_measured_and_judged(installed: Path, tmp_path: Path) -> None:
    """Nothing in the harness knows the task: options, labels, metrics, gates and words are its own."""
    things = np.random.default_rng(0).integers(0, 4, (240, 3))
    labels = np.minimum(things.sum(axis=1), 6)
    table = np.column_stack([things, labels])
    np.savetxt(tmp_path / "data.csv", table, "%d", ",", header="a,b,c,label", comments="")
    _linear(tmp_path / "model.onnx", [1, 1, 1])
    _linear(tmp_path / "worse.onnx", [1, 1, 0.5])
    harness = ["-m", "harness.cli.main"]
    begin = [*harness, "init", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "data.csv")]
    run = _python([*begin, "--task", "counting"], installed)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "share of right counts" in run.stdout
    written = tmp_path / "validation.toml"
    text = written.read_text()
    assert 'task = "counting"' in text
    assert 'metric = "count_exact_loss"' in text
    text = text.replace("[suites.accuracy]\n", '[suites.accuracy]\nkeep = "reduced"\n')
    written.write_text(text + COUNTING)
    results = tmp_path / "results"
    begin = [
        *harness,
        "validate",
        "--model",
        str(tmp_path),
        "--suite",
        "accuracy",
        "--variant",
        "float32,worse",
    ]
    run = _python([*begin, "--explain", "0", "--results", str(results)], installed)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "right counts %" in run.stdout
    rows = _rows(next(path for path in results.iterdir() if (path / "measurements.csv").exists()))
    assert float(rows["float32", "count_exact", ""]["value"]) == 1
    exact, lost = rows["worse", "count_exact", ""], rows["worse", "count_exact_loss", "float32@host"]
    assert float(lost["value"]) == 100 * (1 - float(exact["value"])) > 5
    assert float(rows["worse", "agreement", "float32@host"]["value"]) == float(exact["value"])
    assert (exact["unit"], lost["unit"], lost["n"]) == ("1", "pt", exact["n"])
    written.write_text(written.read_text().replace("most = 6", "least = 6"))
    run = _python([*begin, "--results", str(results)], installed)
    assert run.returncode == 2
    assert "task.least" in run.stderr


SHIFT = """
import numpy as np
from harness.data.shifts import apply, catalogue
from harness.data.shifts.family import Kind
family = catalogue.named("condensation", Kind.IMAGE)
raw = np.zeros((3, 16, 16, 1), np.uint8)
shift = lambda ids, severity: apply.shift(
    raw[: len(ids)], np.array(ids), family, severity, seed=0, about=apply.about(Kind.IMAGE, raw)
)
print([int((shift([0, 1, 2], severity) > 0).sum()) for severity in (1, 5)])
print(bool((shift([2, 0], 3) == shift([0, 1, 2], 3)[[2, 0]]).all()))
print(family.reason_against(apply.about(Kind.IMAGE, raw[:, :12])))
"""


def test_installed_family_of_shifts_is_in_the_catalogue(installed: Path) -> None:
    run = _python(["-c", SHIFT], installed)
    assert run.returncode == 0, run.stderr
    drops, same, reason = run.stdout.splitlines()
    mild, strong = json.loads(drops)
    assert 0 < mild < strong
    assert same == "True"
    assert reason == "condensation does not apply: it needs 16 pixels a side"


def test_broken_backend_is_listed_with_its_reason(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "broken_backend.py").write_text("raise OSError('libmissing.so: cannot open')\n")
    register(tmp_path, {"harness.backends": {"broken": "broken_backend:Backend"}}, distribution="broken-dist")
    backends = _backends(installed, tmp_path)
    assert backends["toy"] == ["toy-backend", ""]
    distribution, reason = backends["broken"]
    assert distribution == "broken-dist"
    assert "libmissing.so" in reason
    assert "uninstall broken-dist" in reason


def test_duplicate_name_names_both_distributions(installed: Path, tmp_path: Path) -> None:
    register(tmp_path, {"harness.backends": {"toy": "toy_backend:ToyBackend"}}, distribution="other-dist")
    kind, message = _backends(installed, tmp_path)["error"]
    assert kind == "UsageError"
    assert "toy-backend" in message
    assert "other-dist" in message
