"""Every command in a console block of the README and the docs is pasted here.

The folder stands for the reader's: its model is the tiny one, and commands that measure get options that keep
them quick. What cannot run here is listed with its reason; commands of ``harness`` are parsed all the same.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.cli.arguments import make_parser
from harness.store import tables
from tests.e2e.shell import VALIDATION, Forge, Shell

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Regular expression of a whole command → why it is not run. One that matches no command has to go.
NOT_RUN = {
    r"make .*": "builds an environment and measures for minutes; make -n shows that the target exists",
    r"pre-commit install .*|pre-commit install": "changes the repository's hooks",
    r".*raspberrypi\.local.*": "needs a Raspberry Pi; tests/e2e/test_boards.py",
    r".*--target (cpu,)?boards.*": "needs a fleet; tests/fleet/test_command.py",
    r".*--target cuda": "needs a GPU; tests/e2e/test_gpu.py",
    r".*pip install.*": "installs from the network; tests/e2e/test_ci_recipes.py installs offline",
    r"python3 -m venv venv": "installs pip for seconds; tests/e2e/test_ci_recipes.py makes one",
    r"venv/bin/dask .*": "starts a cluster; tests/fleet/cluster.py",
    r"harness upgrade .*": "installs two runtimes from an index; tests/e2e/test_upgrade.py",
    r"harness compare --side-by-side .*": "times for half a minute; tests/e2e/test_side_by_side.py",
    r"harness challenge .*": "runs for minutes; tests/e2e/test_challenge.py",
    r"harness search .*": "searches for minutes; tests/e2e/test_search.py",
    r"harness compress .* --recipe found/recipe\.toml .*": "needs that recipe; tests/e2e/test_search.py",
    r"harness validate --target cpu,openvino,tflite": "all suites; tests/e2e/test_ci_recipes.py",
    r"harness validate .*--profile soak .*": "takes as long as it says; tests/e2e/test_soak.py",
    r"harness validate --profile standard": "for minutes; tests/unit/suites/test_reliability_deeper.py",
    r"harness validate --resume latest": "needs a run that was ended; tests/e2e/test_resume.py",
    r"harness report .*--images.*": "starts a browser; tests/unit/report/test_images.py",
    r"\(cd results/.* && python reproduce\.py\)": "needs a FAIL; tests/e2e/test_explain_runs.py",
    r"harness init .*|harness validate --model \.": "needs a folder of images; tests/unit/init/test_init.py",
    r"harness validate --model (validation\.toml|models/detector) .*": "needs images with boxes; "
    "tests/unit/data/test_example_detector.py",
}
SHORT = {"validate": ("--model", "models/digits", "--suite", "accuracy", "--variant", "int8")}
#: Names of runs and files that a page invents.
INVENTED = {
    "20261127T194221": "FIRST",
    "BASE": "FIRST",
    "NEW": "latest",
    "RUN_CPU": "FIRST",
    "RUN_PI": "latest",
}


def commands(page: Path) -> Iterator[str]:
    """Commands of the console blocks of a page, without prompt, comment and the folder of the venv."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ "):
                yield re.sub(r"\s+# .*", "", line[2:]).replace(".venv/bin/", "")


ALL = [(page, command) for page in PAGES for command in commands(page)]


def reason(command: str) -> str:
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, command)), "")


def test_every_reason_still_has_a_command_and_a_test() -> None:
    for pattern, why in NOT_RUN.items():
        assert any(re.fullmatch(pattern, command) for _, command in ALL), pattern
        for path in re.findall(r"tests/\S+\.py", why):
            assert (ROOT / path).is_file(), path


def test_what_is_not_run_is_parsed() -> None:
    parsed = 0
    for page, command in ALL:
        words = shlex.split(command)
        if words[0] == "harness":
            assert make_parser().parse_args(words[1:]), f"{page.name}: {command}"
            parsed += 1
        elif words[0] == "make":
            done = subprocess.run(
                ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{page.name}: {command}\n{done.stderr}"
    assert parsed > 20


@pytest.fixture(scope="module")
def reader(forge: Forge, cache: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with a model, two runs and a table, as the pages take them to be."""
    harness = Shell(forge, tmp_path_factory.mktemp("reader"), cache)
    folder = harness.folder / "models" / "digits"
    shutil.copytree(tiny, folder)
    text = VALIDATION.replace('name = "loss"', 'name = "int8 accuracy, clean"')
    variant = '[variants.pruned-clustered-int8]\ndefault = false\nrecipe = [{ pass = "quantize" }]\n[shifts]'
    (folder / "validation.toml").write_text(text.replace("[shifts]", variant))
    ended = harness("validate", "--model", folder, "--suite", "accuracy,performance", "--variant", "int8")
    assert ended.code == 0, ended.out + ended.err
    first = (harness.results / "latest").resolve()
    ended = harness("validate", "--model", folder, "--target", "cpu,openvino,tflite", *SHORT["validate"][2:])
    assert ended.code == 0, ended.out + ended.err
    tables.read(first / "measurements.csv").to_parquet(harness.folder / "new.parquet")
    labels = np.arange(200) % 2  # and scores of which one in ten is on the wrong side
    np.save(harness.folder / "labels.npy", labels)
    for seed, name in enumerate(("float.npz", "int8.npz")):
        noise = np.random.default_rng(seed).normal(0, 0.8, len(labels))
        np.savez(harness.folder / name, scores=2 * labels - 1 + noise)
    return harness


def run(reader: Shell, command: str) -> tuple[int, str]:
    """Exit code and everything it printed."""
    words = [INVENTED.get(word, word) for word in shlex.split(command)]
    if "--matrix" in words:  # needs a run with latencies
        words = ["FIRST" if word == "latest" else word for word in words]
    first = min(path.name for path in reader.results.glob("2*"))
    # Commands of other pages may have measured since: latest is the run that the pages take it to be.
    latest = sorted(path.name for path in reader.results.glob("2*"))[1]
    words = [first if word == "FIRST" else re.sub(r"^latest\b", latest, word) for word in words]
    if words[0] == "harness":
        ended = reader(*words[1:], *SHORT.get(words[1], ()))
        return ended.code, ended.out + ended.err
    if words[:3] == ["python", "-m", "pytest"]:
        options = ["-p", "no:randomly", "-p", "no:cacheprovider"]
        names = ("--model", "--variant") if "suites" in words else ("--harness-model", "--harness-variant")
        options += [names[0], "models/digits", names[1], "int8"]
        # In a checkout; a copy of the folder here would hide the modules of the harness.
        words = [str(ROOT / word) if word == "suites" else word for word in words]
        argv = [sys.executable, *words[1:], *options]
    else:
        argv = ["bash", "-ec", command]
    done = subprocess.run(
        argv, cwd=reader.folder, env={**reader.env, "HOME": str(reader.folder)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_every_other_command_ends_well(reader: Shell) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
    (reader.folder / "test_deployed.py").write_text(block)
    failed = []
    for page, command in ALL:
        if reason(command):
            continue
        code, text = run(reader, command)
        if code:
            failed.append(f"{page.name}: {command}\n  ended with {code}: {text[-1500:]}")
    assert not failed, "\n".join(failed)


def test_python_blocks_run(reader: Shell) -> None:
    """Those of the README and of the table; the others are plug-ins, which have tests of their own."""
    for page in (ROOT / "README.md", ROOT / "docs" / "table.md"):
        (block,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        block = block.replace('"cpu", suite=', '"cpu", "models/digits", variant="int8", suite=')
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=reader.folder, env=reader.env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
