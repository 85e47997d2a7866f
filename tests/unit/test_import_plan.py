"""The contract on imports can fail: imports against the plan are planted in a copy of the tree."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACES = {"__init__.py", "deployed.py", "pytest_items.py", "pytest_plugin.py"}
RUNTIMES = ("ai_edge_litert", "onnxruntime", "openvino", "tflite_micro", "tflite_runtime")
#: Importing module to imported module, each from a lower room to a higher one.
UPWARD = {
    "harness/core/job.py": "harness.device.files",
    "harness/store/cache.py": "harness.config.load",
    "harness/executors/local.py": "harness.run.prepare",
    "harness/run/plan.py": "harness.report.screen",
    "harness/report/screen.py": "harness.cli.main",
}


def lint_imports(folder: Path) -> str:
    """Run the contracts; returns the report, empty if all are kept."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode else ""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    pytest.importorskip("importlinter")
    for name in ("harness", "backends", "suites"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_an_import_against_the_plan_fails_in_each_of_five_rooms(copy: Path) -> None:
    for file, imported in UPWARD.items():
        with (copy / file).open("a") as stream:
            stream.write(f"\nimport {imported}\n")
    (copy / "harness" / "attic.py").touch()  # a module that is in no layer
    report = lint_imports(copy)
    for file, imported in UPWARD.items():
        module = file.removesuffix(".py").replace("/", ".")
        assert f"{module} -> {imported}" in report
    assert "attic" in report


def test_no_module_lies_directly_in_harness_but_the_faces() -> None:
    assert {path.name for path in (ROOT / "harness").glob("*.py")} == FACES


@pytest.mark.parametrize(
    ("files", "own_rooms", "others"),
    [
        ("harness/core/**/*.py", {"harness.core"}, {"numpy"}),
        ("harness/device/[!b]*.py", {"harness.core", "harness.device"}, {"numpy"}),
        ("harness/device/bare.py", {"harness.core", "harness.device"}, {"numpy", *RUNTIMES}),
        ("suites/*/measure.py", {"harness.core", "harness.device", "suites"}, {"numpy"}),
        ("backends/*.py", {"harness.core", "backends"}, {"numpy", *RUNTIMES}),
    ],
)
def test_a_board_needs_numpy_and_one_runtime_only(files: str, own_rooms: set[str], others: set[str]) -> None:
    """The contracts list packages that are forbidden; this lists those that are allowed."""
    paths = sorted(ROOT.glob(files))
    assert paths
    for path in paths:
        for module in imports(path):
            rooms = {module, *(module.rsplit(".", count)[0] for count in range(1, module.count(".") + 1))}
            top_level = module.partition(".")[0]
            allowed = top_level in sys.stdlib_module_names or top_level in others or rooms & own_rooms
            assert allowed, f"{path} imports {module}"


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from harness import core` imports a module, too.
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def test_what_every_run_imports_is_quick_to_import() -> None:
    """A run asks all tasks which metrics they have; ``scipy.stats`` alone takes longer than all else."""
    script = (
        "import sys; from harness.run import declared, prepare; declared.installed();"
        "print([name for name in ('scipy.stats', 'pandas', 'onnxruntime', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
