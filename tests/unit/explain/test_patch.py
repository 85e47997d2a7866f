"""A remedy becomes lines of the user's own file: comments stay, and nothing else is changed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.config.folders import shipped_folder
from harness.config.load import read_toml
from harness.config.targets import TargetTable
from harness.core.errors import ConfigurationError, HarnessError, UsageError
from harness.explain import patch
from harness.explain.patch import Patch, keys_of
from harness.explain.scene import Finding, Remedy, State
from harness.explain.search.explanation import Explanation

TARGET = """\
# our board
description = "d"   # it stands in the hall
backends = ["onnxruntime"]

[deploy]
threads = 1  # one core
extra = { "session.a" = "1" }
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "targets" / "board.toml"
    path.parent.mkdir()
    path.write_text(TARGET)
    return path


def explanation(line: str, side: str = "board", *, was_run: bool = True) -> Explanation:
    remedy = Remedy("float32 arithmetic", line, side, was_run)
    finding = Finding("precision", State.CONFIRMED, "", 1.0, "bf16", remedy=remedy)
    sides = [SimpleNamespace(label=name, target=name) for name in ("host", "board")]
    scene = SimpleNamespace(reference=sides[0], other=sides[1])
    return Explanation(cast(Any, scene), causes=[finding])


def of(made: Explanation, run: dict[str, Any] | None = None) -> list[Patch]:
    return list(patch.of_remedies([made, made], run, None))


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ('[deploy] precision = "f32"', {"deploy": {"precision": "f32"}}),
        ('[deploy] extra = { "session.x" = "0" }', {"deploy": {"extra": {"session.x": "0"}}}),
        ('[input."a/0"] mean = [0.5]\nlayout = "NCHW"',
         {"input": {"a/0": {"mean": [0.5], "layout": "NCHW"}}}),
        ("[deploy] threads = None", None),
        ("ship that file", None),
        ("[input.NAME]", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_line_is_read_as_toml_and_words_are_not(line: str, keys: dict[str, Any] | None) -> None:
    assert keys_of(line) == keys


def test_only_the_keys_are_changed(target: Path) -> None:
    target.chmod(0o640)
    (one,) = of(explanation('[deploy] precision = "f32"\nextra = { "session.b" = "0" }'))
    diff = one.apply()
    text = target.read_text()
    assert [line for line in TARGET.splitlines() if line not in text.splitlines()] == [
        'extra = { "session.a" = "1" }'
    ]
    deploy = read_toml(target, TargetTable).deploy
    assert (deploy.threads, deploy.precision) == (1, "f32")
    assert deploy.extra == {"session.a": "1", "session.b": "0"}
    assert '+precision = "f32"' in diff
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["board.toml"]


def test_a_table_that_is_missing_is_added(target: Path) -> None:
    target.write_text(TARGET.partition("[deploy]")[0])
    (one,) = of(explanation("[deploy] threads = 2"))
    one.apply()
    assert read_toml(target, TargetTable).deploy.threads == 2


@pytest.mark.parametrize(
    "made",
    [
        explanation('[deploy] precision = "f32"', was_run=False),
        explanation('[deploy] precision = "f32"', "host"),
        explanation("ship that file"),
    ],
)
def test_what_was_not_run_or_is_not_of_a_file_is_no_patch(target: Path, made: Explanation) -> None:
    assert of(made) == []


def test_a_change_that_the_schema_refuses_is_not_written(target: Path) -> None:
    (one,) = of(explanation("[deploy] threads = -1"))
    with pytest.raises(ConfigurationError):
        one.apply()
    assert target.read_text() == TARGET


def test_a_file_that_was_changed_since_the_run_is_refused(target: Path) -> None:
    run = {"targets": {"board": read_toml(target, TargetTable).to_target("board").to_json()}}
    assert of(explanation("[deploy] threads = 2"), run)
    target.write_text(TARGET.replace("threads = 1", "threads = 3"))
    with pytest.raises(HarnessError, match="changed since the run"):
        of(explanation("[deploy] threads = 2"), run)


def test_a_file_of_the_harness_is_refused() -> None:
    file = shipped_folder("targets") / "cpu.toml"
    before = file.read_bytes()
    with pytest.raises(UsageError, match="belongs to the harness"):
        Patch(file, {"deploy": {"threads": 2}}, TargetTable).apply()
    assert file.read_bytes() == before


def test_in_a_checkout_a_target_that_git_does_not_track_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in docs/int8-wrong-on-one-device.md; in an installed package, every file is the harness's."""
    folder = tmp_path / "targets"
    folder.mkdir()
    for name in ("ours", "board"):
        (folder / f"{name}.toml").write_text(TARGET)
    monkeypatch.setattr(patch, "shipped_folder", lambda name: tmp_path / name)
    assert patch.is_shipped(folder / "board.toml")  # there is no repository
    for command in (["init", "--quiet"], ["add", "targets/ours.toml"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert patch.is_shipped(folder / "ours.toml")
    assert not patch.is_shipped(folder / "board.toml")
    monkeypatch.setattr(patch, "INSTALLED", tmp_path.name)
    assert patch.is_shipped(folder / "board.toml")
