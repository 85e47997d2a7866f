"""What the end-to-end tests share: a tiny model of the user's own, and the command ``harness``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

VALIDATION = """\
schema = 1
[model]
name = "tiny"
file = "model.onnx"
[data]
path = "data.npz"
calibration_samples = 50
[variants.int8]
recipe = [{ pass = "quantize", calibration = "minmax" }]
[shifts]
kind = "features"
families = ["gaussian_noise"]
severities = [1, 3]
[suites.accuracy]
[suites.reliability]
processes = 1
truncations = 2
bit_flips = 2
[suites.performance]
processes = 2
rounds = 2
seconds = 0.01
max_seconds = 0.2
warm_up_seconds = 0.01
offline_seconds = 0.01
batch_sizes = [8]
[[gate]]
name = "accuracy"
suite = "accuracy"
metric = "accuracy"
variant = "float32"
case = "clean"
min = 0.9
[[gate]]
name = "loss"
suite = "accuracy"
metric = "accuracy_loss"
variant = "int8"
case = "clean"
reference = "float32@host"
max = "30 pt"
"""
SAMPLES = 300
#: The quickest run: two batches of one suite.
ACCURACY = ("--suite", "accuracy", "--variant", "float32")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def check(ended: Ended, code: int, *says: str) -> None:
    """One message, in words, and no other output."""
    assert "Traceback" not in ended.err, ended.err
    assert ended.code == code, ended.err
    assert ended.err.count("harness: ") == 1, ended.err
    assert ended.out == ""
    for text in says:
        assert text in ended.err, ended.err


class Started:
    """A command that runs; its standard error is a pipe that can be read line by line."""

    def __init__(self, forge: Forge, pid: int, out: Path, err: int) -> None:
        self._forge, self.pid, self._out = forge, pid, out
        self.err = os.fdopen(err)

    def wait(self) -> Ended:
        rest = self.err.read()
        self.err.close()
        return Ended(self._forge.answer()["code"], self._out.read_text(), rest)


class Forge:
    """Starts commands as children of ``forge.py``, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forge.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")},
        )

    def start(self, *argv: str | Path, cwd: Path, env: Mapping[str, str], limit_byte: int = 0) -> Started:
        out, err = self._folder / "out", self._folder / "err"
        for path in (out, err):
            path.unlink(missing_ok=True)
        os.mkfifo(err)
        request = {
            "argv": [str(word) for word in argv], "cwd": str(cwd), "env": dict(env),
            "out": str(out), "err": str(err), "limit_byte": limit_byte,
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Started(self, self.answer()["pid"], out, os.open(err, os.O_RDONLY))

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass(frozen=True)
class Shell:
    """``harness`` in a folder of the test's own, with a results folder that is not there yet."""

    forge: Forge
    folder: Path
    cache: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def env(self) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
        return {
            **environment,
            "HARNESS_CACHE": str(self.cache),
            "HARNESS_EXPLAIN": "0",  # test_explain_runs.py asks for it
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    def start(self, *argv: str | Path, env: Mapping[str, str] | None = None, limit_byte: int = 0) -> Started:
        merged = {**self.env, **(env or {})}
        return self.forge.start(*argv, cwd=self.folder, env=merged, limit_byte=limit_byte)

    def __call__(self, *argv: str | Path, env: Mapping[str, str] | None = None, limit_byte: int = 0) -> Ended:
        return self.start(*argv, env=env, limit_byte=limit_byte).wait()

    def run(self) -> Path:
        """The one run in the results folder."""
        (run_folder,) = (path for path in self.results.iterdir() if not path.is_symlink())
        return run_folder


def save_onnx(
    path: Path, nodes: list[Any], shape: list[Any], weights: Mapping[str, NDArray[np.float32]]
) -> None:
    """Save a float model from ``x`` to ``y`` of 4 numbers a sample."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


MakeModel = Callable[..., Path]


def copy_model(
    source: Path, folder: Path, *replaced: tuple[str, str], added: str = "", **arrays: NDArray[Any]
) -> Path:
    """Copy a folder that has a validation.toml of `VALIDATION`, with other text and other data."""
    shutil.copytree(source, folder)
    text = VALIDATION
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "validation.toml").write_text(text + added)
    if arrays:
        np.savez(folder / "data.npz", **arrays)
    return folder
