"""``harness`` names no metric and no case of a suite: what it must know, the suites declare."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from harness import tasks
from harness.core.suite import CLEAN
from harness.run.declared import installed

ROOT = Path(__file__).parents[2]
SUITES = ("accuracy", "performance", "reliability")
#: Where such a name stands nevertheless, and why. An entry that matches nothing fails.
EXCEPTIONS = {
    ("harness/core/profile.py", "soak"): "the profile, after which the case is named",
    ("harness/core/metric.py", "agreement"): "the name of a role",
    ("harness/core/suite.py", "clean"): "the family of the data set without a corruption; the one definition",
    ("harness/report/html/sections/agreement.py", "agreement"): "the name of a table of the report",
    ("harness/variants/search_files.py", "accuracy"): "a column of the files of a search, not of the table",
}
#: The variant that is the reference has its name from the harness.
REFERENCE = "float32"


def cases() -> set[str]:
    """Names of the cases that our suites plan: the constants of their ``cases.py``."""
    names = {CLEAN}
    for suite in SUITES:
        module = importlib.import_module(f"suites.{suite}.cases")
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                (target,) = node.targets
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    names.add(node.value.value)
    return names - {REFERENCE}


def metrics() -> set[str]:
    return {name for suite, name, _ in installed().every() if suite in SUITES}


def literals(path: Path) -> Iterator[tuple[str, int]]:
    """Every text of a module that is no docstring, and its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value, node.lineno


def test_harness_names_no_metric_and_no_case_of_a_suite() -> None:
    names = metrics() | cases()
    assert {"accuracy_loss", "latency_p99", "deterministic_repeat", "single_stream"} <= names
    names_ = {
        (str(path.relative_to(ROOT)), text): line
        for path in sorted((ROOT / "harness").rglob("*.py"))
        for text, line in literals(path)
        if text in names
    }
    new = [
        f"{path}:{line}: {text}" for (path, text), line in names_.items() if (path, text) not in EXCEPTIONS
    ]
    assert not new, "let the suite declare it: harness/core/metric.py"
    assert not set(EXCEPTIONS) - set(names_), "no such text any more: take the exception out"


#: Where the name of a task stands nevertheless, and why.
TASK_EXCEPTIONS = {
    ("harness/config/validation.py", "classification"): "the task of a [model] table that names none",
    ("harness/stats/coco_metrics.py", "detection"): "the extra that has the library",
}


def named_tasks(path: Path) -> Iterator[tuple[str, int]]:
    """Every installed task that a text of a module is, or that it asks for: ``task = "x"``, ``--task x``."""
    names_ = set(tasks.names())
    for text, line in literals(path):
        asked = re.findall(r"""task = ["']([\w-]+)|--task ([\w-]+)""", text)
        for name in names_ & {text, *(one or other for one, other in asked)}:
            yield name, line


def test_harness_names_no_task() -> None:
    assert {"classification", "regression", "multi-label"} <= set(tasks.names())
    places = {
        (str(path.relative_to(ROOT)), name): line
        for path in sorted((ROOT / "harness").rglob("*.py"))
        for name, line in named_tasks(path)
    }
    new = [f"{path}:{line}: {name}" for (path, name), line in places.items()]
    new = [text for place, text in zip(places, new, strict=True) if place not in TASK_EXCEPTIONS]
    assert not new, "let the task say it: harness/core/task.py, harness/tasks/host.py"
    assert not set(TASK_EXCEPTIONS) - set(places), "no such text any more: take the exception out"


def test_a_planted_task_is_found(tmp_path: Path) -> None:
    module = tmp_path / "planted.py"
    module.write_text(
        'def f(x):\n    """regression"""\n    return x.task == "anomaly" or "use --task embedding"\n'
    )
    assert {name for name, _ in named_tasks(module)} == {"anomaly", "embedding"}


def test_a_planted_name_is_found_and_a_docstring_is_none(tmp_path: Path) -> None:
    module = tmp_path / "planted.py"
    module.write_text(
        '"""latency_p99"""\n\n\ndef f(row):\n    """ece"""\n    return row["metric"] == "accuracy_loss"\n'
    )
    assert {text for text, _ in literals(module)} & metrics() == {"accuracy_loss"}
