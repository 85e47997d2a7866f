"""``make mutate``: run mutmut, one module at a time with that module's tests, and print a table of scores.

Each module has a folder of its own under ``.mutants/`` with the mutants, mutmut's cache and
``survivors.diff``. mutmut forks one process per mutant, with the tests that reach the changed function.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".mutants"
ALL = ("harness/gates", "harness/stats", "harness/store", "harness/tasks", "suites")
LINKED = ("harness", "suites", "backends", "models", "targets", "tests")
#: Modules of the accuracy suite that make rows.
TASKS = ("anomaly", "classification", "embedding", "multi_label", "regression")
ACCURACY = (
    *(f"suites/accuracy/tasks/{name}/metrics.py" for name in TASKS), "harness/tasks/rows.py",
    "suites/accuracy/numbers.py", "suites/accuracy/summarise.py",
)  # fmt: skip
#: Tests that reach a module beside those that bear its name.
ALSO = {
    "harness/gates/judge.py": ["tests/unit/gates"],
    **{
        name: [
            "tests/unit/suites/test_accuracy_summarise.py",
            "tests/unit/suites/test_accuracy_rows.py",
            "tests/unit/suites/test_accuracy_tasks.py",
        ]
        for name in ACCURACY
    },
}
NOTICED = ("killed", "timeout", "segfault", "suspicious", "caught by type check")


@dataclass
class Score:
    """How the mutants of one module ended.

    Parameters
    ----------
    module : str
    mutants, tested, noticed, untested : int
        All; those that were run so far; those that made a test fail or hang; those of functions that no test
        calls.
    text : int
        Survivors that only change the words of a message (see `only_text`).
    survivors : mapping of mutant to its diff
        The rest.
    """

    module: str
    mutants: int = 0
    tested: int = 0
    noticed: int = 0
    untested: int = 0
    text: int = 0
    survivors: dict[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Noticed, of those that change more than words."""
        counted = self.tested - self.text
        return self.noticed / counted if counted else 1.0


def modules(paths: list[str]) -> list[str]:
    """List the modules under the paths, relative to the repository."""
    selected = []
    for path in paths or ALL:
        place = ROOT / path
        files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
        if not files:
            raise SystemExit(f"no module lies in {path}")
        names = [str(file.relative_to(ROOT)) for file in files if file.name != "__init__.py"]
        selected += [
            name
            for name in names
            if not name.startswith("suites/") or name.endswith("summarise.py") or name in ALSO
        ]
    return selected


def tests_of(module: str) -> list[str]:
    """Name the tests that are run against the mutants of a module."""
    if module in ALSO:
        return ALSO[module]
    room, name = Path(module).parent.name, Path(module).name
    if module.startswith("suites/"):
        return [f"tests/unit/suites/test_{room}_{name}"]
    own_tests = f"tests/unit/{room}/test_{name}"
    return [own_tests] if (ROOT / own_tests).exists() else [f"tests/unit/{room}"]


def prepare(module: str) -> Path:
    """Make the folder that mutmut works in: links to the sources, and its configuration for this module."""
    folder = WORK / module.removesuffix(".py").replace("/", ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        symlink = folder / name
        if not symlink.is_symlink():
            symlink.symlink_to(ROOT / name)
    text = (ROOT / "pyproject.toml").read_text()
    text = re.sub(r"^only_mutate = .*$", f"only_mutate = {json.dumps([module])}", text, flags=re.MULTILINE)
    selection = f"pytest_add_cli_args_test_selection = {json.dumps(tests_of(module))}\n"
    (folder / "pyproject.toml").write_text(text.replace("[tool.mutmut]\n", f"[tool.mutmut]\n{selection}", 1))
    return folder


def forget_survivors(module: str, folder: Path) -> None:
    """Make mutmut run the survivors of the last run again: the tests may have changed."""
    path = folder / "mutants" / f"{module}.meta"
    if path.exists():
        meta = json.loads(path.read_text())
        results = meta["exit_code_by_key"]
        noticed = {name for name, code in results.items() if status_by_exit_code[code] in NOTICED}
        meta["exit_code_by_key"] = {name: results[name] if name in noticed else None for name in results}
        path.write_text(json.dumps(meta))


class _Wordless(ast.NodeTransformer):
    """Removes what only people read: texts with a space, and the arguments of a raised error."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) and " " in node.value else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return node


def only_text(before: str, after: str) -> bool:
    """Whether two functions differ only in words: texts with a space, or the arguments of an error."""
    plain = [ast.dump(_Wordless().visit(ast.parse(text))) for text in (before, after)]
    return plain[0] == plain[1]


def score(module: str, folder: Path) -> Score:
    """Read how the mutants ended from mutmut's files."""
    results = json.loads((folder / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    tree = ast.parse((folder / "mutants" / module).read_text())
    sources = {node.name: ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    summary = Score(module, len(results))
    for name, code in results.items():
        status = status_by_exit_code[code]
        if status not in (*NOTICED, "survived", "no tests"):
            continue  # mutmut was stopped before it
        summary.tested += 1
        function = name.rpartition(".")[2]
        stem = function.rpartition("__mutmut_")[0]
        before, after = (
            sources[variant].replace(variant, stem) for variant in (f"{stem}__mutmut_orig", function)
        )
        if status in NOTICED:
            summary.noticed += 1
        elif only_text(before, after):
            summary.text += 1
        else:
            summary.untested += status == "no tests"
            lines = difflib.unified_diff(
                before.splitlines(), after.splitlines(), name, status, n=1, lineterm=""
            )
            summary.survivors[name] = "\n".join(lines)
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutate ONLY=", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help=f"modules or folders (default: {', '.join(ALL)})"
    )
    parser.add_argument("--processes", type=int, default=1, help="mutants tested at a time (default: 1)")
    parser.add_argument("--scores", action="store_true", help="only print what earlier runs came to")
    options = parser.parse_args()
    heads = "".join(f"{head:>9}" for head in ("mutants", "tested", "noticed", "text", "untested", "survived"))
    print(f"{'module':<34}{heads}{'score %':>9}")
    failed = 0
    for module in modules(options.paths):
        folder = prepare(module)
        if not options.scores:
            forget_survivors(module, folder)
            command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.processes)]
            with (folder / "log").open("w") as log:
                code = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False).returncode
            if code:
                print(f"{module:<34}mutmut ended with {code}: {folder / 'log'}", flush=True)
                failed = 1
                continue
        elif not (folder / "mutants" / f"{module}.meta").exists():
            continue
        result = score(module, folder)
        (folder / "survivors.diff").write_text("\n\n".join(result.survivors.values()) + "\n")
        survived = len(result.survivors) - result.untested
        counts = (result.mutants, result.tested, result.noticed, result.text, result.untested, survived)
        numbers = "".join(f"{count:>9}" for count in counts)
        print(f"{module:<34}{numbers}{100 * result.share:>9.1f}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
