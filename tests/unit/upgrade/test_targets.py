"""Which targets have a runtime, and what they are request for when its version is pinned."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.upgrade.targets import NEW, OLD, SIDES, pairs

OWN = """\
description = "a runtime of its own"
backends = ["tflite", "onnxruntime"]
[executor]
kind = "local"
requirements = ["Own_Runtime[fast]>=1", "numpy<2", "./somewhere/else.whl"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "own.toml").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize(
    ("runtime", "target", "backend"),
    [
        ("onnxruntime", "cpu", "onnxruntime"),
        ("openvino", "openvino", "openvino"),
        ("ai-edge-litert", "tflite", "tflite"),
        ("AI_Edge.LiteRT", "tflite", "tflite"),
    ],
)
def test_every_local_target_of_a_runtime(runtime: str, target: str, backend: str) -> None:
    chosen = pairs(runtime, "1.0", "2.0")
    kernels = {"tflite": ["tflite", "tflite-builtin", "tflite-reference"]}.get(target, [target])
    assert sorted(pair.name for pair in chosen) == kernels
    (pair,) = (pair for pair in chosen if pair.name == target)
    assert (pair.backend, pair.emulated) == (backend, False)
    assert [pair.targets[side].name for side in (OLD, NEW)] == [f"{target}@1.0", f"{target}@2.0"]
    assert pair.targets[NEW].executor == {"kind": "local", "requirements": [f"{runtime}==2.0"]}
    assert pair.targets[NEW].backends == (backend,)


def test_what_a_target_names_stays() -> None:
    (pair,) = pairs("own-runtime", "1.0", "2.0")
    assert pair.backend == "tflite"  # whose runtime is none that we know: the headline
    assert pair.targets[OLD].executor["requirements"] == [
        "numpy<2",
        "./somewhere/else.whl",
        "own-runtime[fast]==1.0",
    ]


def test_the_cuda_wheel_is_a_runtime_of_its_own() -> None:
    (pair,) = pairs("onnxruntime-gpu", "1.31.0", "1.31.1")
    assert pair.name == "cuda"
    assert pair.targets[NEW].executor["requirements"] == ["onnxruntime-gpu[cuda,cudnn]==1.31.1"]


def test_of_another_architecture_all_wheels_are_named() -> None:
    (pair,) = pairs("onnxruntime", "1.31.0", "1.31.1", ["raspberrypi4"])
    assert pair.emulated
    assert pair.backend == "onnxruntime"  # the second of that target
    assert pair.targets[NEW].backends == ("onnxruntime",)
    assert pair.targets[NEW].executor["requirements"] == [
        f"numpy=={version('numpy')}", "onnxruntime==1.31.1",
    ]  # fmt: skip
    (pair,) = pairs("onnxruntime", "1.31.0", "1.31.1", ["haswell"])
    assert pair.targets[NEW].executor["requirements"] == ["onnxruntime==1.31.1"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("onnxrt", "1.0", "2.0"), "unknown runtime 'onnxrt'; did you mean 'onnxruntime'?"),
        (("onnxruntime", "1.0", "1.0"), "are one version"),
        (("onnxruntime", "1.0", "../2.0"), "'../2.0' is not a version"),
        (("onnxruntime", "1.0,<2", "2.0"), "'1.0,<2' is not a version"),
        (("onnxruntime", "1.0", "2.0", ["cpu", "openvino"]), "the target openvino does not run onnxruntime"),
        (("onnxruntime", "1.0", "2.0", ["cpi"]), "did you mean 'cpu'"),
        (("onnxruntime", "1.0", "2.0", ["fleet"]), "two versions cannot take turns on fleet"),
        (("onnxruntime", "1.0", "2.0", ["boards"]), "boards has 2 boards, and two versions are compared on"),
    ],
)
def test_what_is_refused(folder: Path, argv: tuple[str, ...], says: str) -> None:
    text = 'description = "b"\nbackends = ["onnxruntime"]\n[executor]\nkind = '
    (folder / "targets" / "boards.toml").write_text(f'{text}"ssh"\nhosts = ["pi@one", "pi@two"]\n')
    (folder / "targets" / "fleet.toml").write_text(f'{text}"dask"\nscheduler = "tls://s:8786"\n')
    with pytest.raises(UsageError, match=says.replace("?", r"\?").replace("(", r"\(")):
        pairs(*argv)  # type: ignore[arg-type]


def test_both_versions_on_a_board_share_its_lock(folder: Path) -> None:
    text = 'description = "b"\nbackends = ["onnxruntime"]\n[executor]\nkind = "ssh"\n'
    (folder / "targets" / "board.toml").write_text(text)
    (pair,) = pairs("onnxruntime", "1.0", "2.0", ["board"], ("pi@board",))
    tables = [pair.targets[side].executor for side in SIDES]
    assert [table["hosts"] for table in tables] == [["pi@board"]] * 2
    assert {table["lock_name"] for table in tables} == {"board"}
    for table, wanted in zip(tables, ("1.0", "2.0"), strict=True):
        assert f"onnxruntime=={wanted}" in table["requirements"]
        assert any(
            requirement.startswith("numpy") for requirement in table["requirements"]
        )  # a board has no pip
