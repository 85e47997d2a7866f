"""The workflows of docs/ci.md, step by step, in a repository of the user's own.

A step that runs commands is given to the shell that CI would use. Actions are known by name; the checkout is
a folder with the model, a baseline and the tracked files of the harness.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from harness.cli.arguments import make_parser
from harness.run import checks
from tests.e2e.conftest import MakeModel
from tests.e2e.shell import VALIDATION, Shell

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ci.md").read_text()
GITHUB, GITLAB = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
#: What each action does is done by the fixture, or nothing that a command needs.
ACTIONS = {"actions/checkout", "actions/setup-python", "actions/cache", "actions/upload-artifact"}
#: Jobs that need what is not here.
NOT_RUN = {"board": "needs a Raspberry Pi behind pi@board; its arguments are parsed below"}
HOST_JOBS = {
    "github": [step["run"] for step in GITHUB["jobs"]["host"]["steps"] if "run" in step],
    "gitlab": [*GITLAB["validate"]["script"], *GITLAB["validate"]["after_script"]],
}


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_every_step_is_a_command_or_a_known_action() -> None:
    used = {step["uses"].partition("@")[0] for step in steps(GITHUB) if "uses" in step}
    assert used == ACTIONS
    assert all(("run" in step) != ("uses" in step) for step in steps(GITHUB))
    assert set(GITHUB["jobs"]) - {"host"} == set(NOT_RUN) == set(GITLAB) - {"validate"}


def test_no_exit_code_is_hidden() -> None:
    commands = [step["run"] for step in steps(GITHUB) if "run" in step]
    commands += [line for job in GITLAB.values() for line in (*job["script"], *job.get("after_script", ()))]
    assert not [line for line in commands if re.search(r"\|\||;|set \+e|continue-on-error", line)]
    assert "continue-on-error" not in TEXT
    assert "allow_failure" not in TEXT


@pytest.mark.parametrize("commands", [
    [step["run"] for step in GITHUB["jobs"]["board"]["steps"] if "run" in step], GITLAB["board"]["script"]
])  # fmt: skip
def test_the_board_is_asked_for_real_hardware(commands: list[str]) -> None:
    (line,) = [line for line in commands if "harness validate" in line]
    arguments = make_parser().parse_args(line.split()[1:])
    assert (arguments.target, arguments.host, arguments.release) == ("raspberrypi", "pi@board", True)


@pytest.fixture
def repository(harness: Shell, model: MakeModel) -> Path:
    """The user's repository after the checkout: a model, its baseline, the harness as a submodule."""
    slow = VALIDATION[VALIDATION.index("[suites.reliability]") : VALIDATION.index("[[gate]]")]
    model(('name = "tiny"', 'name = "mymodel"'), (slow, ""))
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).exists() and not name.startswith(("tests/", "docs/images/")):
            copied = harness.folder / "deployment-validation-harness" / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copied)
    ended = harness("validate", "--model", "model", "--target", "cpu")
    assert ended.code == 0, ended.out + ended.err
    ended = harness("baseline", "save", "latest", "--reason", "the first", "--by", "jane")
    assert ended.code == 0, ended.err
    return harness.folder


@pytest.fixture
def machine(repository: Path, harness: Shell) -> dict[str, str]:
    """The environment of a fresh machine whose Python has every package but the harness."""
    made = repository.parent / f"{repository.name}-machine"
    venv.create(made, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = made / "lib" / version / "site-packages"
    here = Path(yaml.__file__).parents[1]
    for entry in here.iterdir():
        # Not this project's: pip would write through the links into the environment of the tests.
        if not re.search(
            r"deployment_validation_harness|\.pth$|^(__pycache__|harness|suites|backends)$", entry.name
        ):
            (packages / entry.name).symlink_to(entry)
    scripts = {"PATH": f"{made / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(made)}
    # What pip would fetch is here already; it builds and installs the harness alone.
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    return {**harness.env, **scripts, **offline, "GITHUB_STEP_SUMMARY": str(repository / "step-summary.md")}


@pytest.mark.parametrize("job", ["github", pytest.param("gitlab", marks=pytest.mark.full)])
def test_the_job_on_a_hosted_machine(job: str, repository: Path, machine: dict[str, str]) -> None:
    for command in HOST_JOBS[job]:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=repository, env=machine, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    cases = list(ElementTree.parse(repository / "junit.xml").iter("testcase"))  # noqa: S314
    cases = [case for case in cases if "mymodel" in case.attrib["name"]]
    checks_ = {name.replace("-", "_") for name in checks.installed(("accuracy",))}
    of_checks = [case for case in cases if case.attrib["name"].rstrip("]").rpartition("-")[2] in checks_]
    assert len(cases) - len(of_checks) == 6  # two gates on three targets
    assert len(of_checks) >= 6
    assert all(case.find("properties") is not None for case in cases)
    assert "against baseline accepted" in (repository / "summary.md").read_text()
    if job == "github":
        assert (repository / "step-summary.md").read_text() == (repository / "summary.md").read_text()
