"""The catalogue of plug-ins, with distributions in temporary folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import HarnessError, UsageError
from harness.device import plugins
from harness.testing.fakes import NullBackend, register

NULL = "harness.testing.fakes:NullBackend"


def test_built_in_plug_ins_come_through_entry_points() -> None:
    assert set(plugins.catalogue(plugins.BACKENDS)) >= {"onnxruntime", "openvino", "tflite"}
    assert set(plugins.catalogue(plugins.SUITES)) >= {"accuracy", "performance", "reliability"}
    assert set(plugins.catalogue(plugins.MEASURES)) >= {"accuracy", "performance", "reliability"}
    assert "local" in plugins.catalogue(plugins.EXECUTORS)
    assert "quantize" in plugins.catalogue(plugins.PASSES)


def test_a_third_party_plug_in_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(register(tmp_path, {plugins.BACKENDS: {"mine": NULL}}, distribution="theirs"))
    plugin = plugins.catalogue(plugins.BACKENDS)["mine"]
    assert plugin.distribution == "theirs"
    assert plugin.load() is NullBackend
    assert plugins.choose(plugins.BACKENDS, "mine") is NullBackend


def test_a_broken_plug_in_is_listed_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text("1 / 0\n")
    entries = {"broken": "broken_plugin:X", "absent": "no_such_module:X", "gone": "json:no_such_name"}
    monkeypatch.syspath_prepend(register(tmp_path, {plugins.BACKENDS: entries}, distribution="theirs"))
    for name, cause in (
        ("broken", "ZeroDivisionError"), ("absent", "ModuleNotFoundError"), ("gone", "AttributeError"),
    ):  # fmt: skip
        assert name in plugins.catalogue(plugins.BACKENDS)
        with pytest.raises(HarnessError, match=f"the plug-in {name} of theirs cannot be loaded") as caught:
            plugins.choose(plugins.BACKENDS, name)
        assert caught.value.cause == cause
        assert "theirs" in caught.value.next_step


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("probe = open = name = 1", "has no formats"),
        ("name = 'x'; formats = ('onnx',)", "has no probe and no open"),
        ("probe = open = name = 1; formats = 'onnx'", "has the formats 'onnx': a tuple of names"),
        ("probe = open = name = 1; formats = (1,)", r"has the formats \(1,\): a tuple of names"),
    ],
)
def test_a_backend_that_lacks_what_every_backend_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    name = f"lacking_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"class X: {body}\n")
    monkeypatch.syspath_prepend(
        register(tmp_path, {plugins.BACKENDS: {"mine": f"{name}:X"}}, distribution="theirs")
    )
    plugin = plugins.catalogue(plugins.BACKENDS)["mine"]
    with pytest.raises(HarnessError, match=f"the backend mine of theirs {says}"):
        plugin.load()
    assert plugins.formats(plugin) == ()


@pytest.mark.parametrize("package", ["backends", "suites"])
def test_a_module_that_hides_one_of_the_harness_is_named_with_its_file(tmp_path: Path, package: str) -> None:
    (tmp_path / package).mkdir()
    file = tmp_path / package / "__init__.py"
    file.write_text("")
    code = f"from harness.device import plugins\nplugins.choose('harness.{package}', sys.argv[1])"
    name = {"backends": "onnxruntime", "suites": "accuracy"}[package]
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys\n{code}", name],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert f"{name} cannot be loaded: another module named {package} hides the harness's" in done.stderr
    assert f"where  {file}" in done.stderr


def test_distributions_with_a_package_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plugins.same_names() == {}
    monkeypatch.syspath_prepend(register(tmp_path, {}, distribution="theirs"))
    (tmp_path / "theirs-1.0.dist-info" / "top_level.txt").write_text("backends\n")
    assert plugins.same_names() == {"backends": ("theirs",)}


def test_two_distributions_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution in ("one", "other"):
        folder = register(
            tmp_path / distribution, {plugins.BACKENDS: {"mine": NULL}}, distribution=distribution
        )
        monkeypatch.syspath_prepend(folder)
    with pytest.raises(UsageError, match=r"two distributions .* mine") as caught:
        plugins.catalogue(plugins.BACKENDS)
    assert "one" in caught.value.what
    assert "other" in caught.value.what
    assert plugins.catalogue(plugins.SUITES)  # the other groups still work


def test_a_distribution_that_is_found_twice_is_not_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for copy in ("a", "b"):
        monkeypatch.syspath_prepend(
            register(tmp_path / copy, {plugins.BACKENDS: {"mine": NULL}}, distribution="theirs")
        )
    assert plugins.choose(plugins.BACKENDS, "mine") is NullBackend


@pytest.mark.parametrize(
    ("group", "what"),
    [
        (plugins.BACKENDS, "backend"), (plugins.SUITES, "suite"), (plugins.PASSES, "pass"),
        (plugins.EXECUTORS, "executor"), (plugins.MEASURES, "measure"),
    ],
)  # fmt: skip
def test_an_unknown_name(group: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"^unknown {what} 'zzzz'\n"):
        plugins.choose(group, "zzzz")


def test_the_nearest_name() -> None:
    names = ("accuracy", "performance")
    assert "did you mean 'accuracy'?" in plugins.unknown("suite", "acuracy", names).what
    assert "did you mean" not in plugins.unknown("suite", "zzz", names).what
    assert plugins.unknown("suite", "zzz", ()).cause == "known: none"
