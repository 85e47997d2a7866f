"""What executors declare, and how they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.targets import load_target, load_targets
from harness.core.errors import ConfigurationError, HarnessError, UsageError
from harness.core.executor import Abilities
from harness.core.target import Target
from harness.executors import settings
from harness.executors.abilities import abilities_of, make_executor
from harness.testing.fakes import register

MODULE = """
from harness.core.executor import Abilities
class Plain:
    def __init__(self, target, store):
        self.table = target.executor
class Declared(Plain):
    @staticmethod
    def abilities(table):
        return Abilities(takes_hosts=True, locks=True, emulated="cpu" in table)
class Failing(Plain):
    @staticmethod
    def abilities(table):
        return table["no such key"]
class Wrong(Plain):
    @staticmethod
    def abilities(table):
        return {"emulated": True}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    classes = {
        name: f"{tmp_path.name}_executors:{name.title()}"
        for name in ("plain", "declared", "failing", "wrong")
    }
    site = register(tmp_path / "site", {"harness.executors": classes}, distribution="third-party")
    (site / f"{tmp_path.name}_executors.py").write_text(MODULE)
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def target(**table: Any) -> Target:
    return Target("t", "", ("null",), table)


@pytest.mark.parametrize(
    ("table", "abilities"),
    [
        ({"kind": "local"}, {"uses_this_machine", "shares_python", "alternates"}),
        ({"kind": "local", "requirements": []}, {"uses_this_machine", "alternates"}),
        ({"kind": "emulated", "arch": "x86_64"}, {"uses_this_machine", "emulated", "alternates"}),
        (
            {"kind": "emulated", "arch": "armv7l"},
            {"uses_this_machine", "emulated", "alternates", "lists_wheels"},
        ),
        ({"kind": "ssh"}, {"takes_hosts", "locks", "alternates", "lists_wheels"}),
        ({"kind": "dask", "scheduler": "tls://a:1"}, set()),
        ({"kind": "plain"}, set()),
        ({"kind": "declared"}, {"takes_hosts", "locks"}),
        ({"kind": "declared", "cpu": "x"}, {"takes_hosts", "locks", "emulated"}),
    ],
)
def test_what_each_executor_declares(table: dict[str, Any], abilities: set[str]) -> None:
    declared = abilities_of(target(**table))
    flags = {name: getattr(declared, name) for name in Abilities.__dataclass_fields__}
    assert {name for name, value in flags.items() if value is True} == abilities


def test_a_declaration_that_fails_names_the_plug_in() -> None:
    with pytest.raises(HarnessError, match="the executor failing of third-party failed to declare") as caught:
        abilities_of(target(kind="failing"))
    assert "uninstall third-party" in caught.value.next_step
    with pytest.raises(HarnessError, match="the executor wrong of third-party declares dict"):
        abilities_of(target(kind="wrong"))
    with pytest.raises(UsageError, match="did you mean 'local'"):
        abilities_of(target(kind="locale"))


def test_only_an_executor_that_locks_gets_the_time_to_wait(tmp_path: Path) -> None:
    assert make_executor(target(kind="declared"), tmp_path, 90.0).table["wait_s"] == 90  # type: ignore[attr-defined]
    assert "wait_s" not in make_executor(target(kind="plain"), tmp_path, 90.0).table  # type: ignore[attr-defined]


def test_hosts_go_to_an_executor_that_takes_them(folder: Path) -> None:
    (folder / "targets").mkdir()
    text = 'description = "b"\nbackends = ["onnxruntime"]\nwithout_host = "cpu"\n[executor]\nkind = '
    for kind in ("plain", "declared"):
        (folder / "targets" / f"{kind}.toml").write_text(f'{text}"{kind}"\n')
    plain, declared = load_targets(["plain", "declared"], ("me@board",))
    assert "hosts" not in plain.executor
    assert declared.executor["hosts"] == ["me@board"]
    assert load_target("declared").name == "cpu-emulated"
    with pytest.raises(UsageError, match="no target uses the host me@board") as caught:
        load_targets(["plain"], ("me@board",))
    assert "ssh" not in str(caught.value)


def test_every_problem_of_a_table_at_once() -> None:
    rules = {"name": settings.text("a name"), "count": settings.integer, "kinds": settings.one_of("a", "b")}
    with pytest.raises(ConfigurationError) as caught:
        settings.check(target(kind="plain", nmae="x", count=True, kinds="c"), rules, required=("name",))
    assert [str(problem) for problem in caught.value.problems] == [
        "executor.nmae: unknown key; did you mean name?",
        "executor.name: is a name",
        "executor.count: is an integer",
        "executor.kinds: is one of a, b, not 'c'",
    ]
    settings.check(target(kind="plain", name="x"), rules, required=("name",))
