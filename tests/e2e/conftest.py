"""A tiny model of the user's own, and the command ``harness``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.e2e.shell import SAMPLES, VALIDATION, Ended, Forge, MakeModel, Shell, copy_model, save_onnx


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    forge = Forge(tmp_path_factory.mktemp("forge"))
    yield forge
    forge.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all tests that do not look into it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def harness(forge: Forge, cache: Path, tmp_path: Path) -> Shell:
    return Shell(forge, tmp_path, cache)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of two Gemm, 300 labelled samples of 8 features, and a validation.toml."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    weights = {"w1": (8, 16), "b1": (16,), "w2": (16, 4), "b2": (4,)}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"]),
    ]
    save_onnx(folder / "model.onnx", nodes, ["n", 8], values)
    x = rng.normal(size=(SAMPLES, 8)).astype(np.float32)
    hidden = np.maximum(x @ values["w1"] + values["b1"], 0)
    np.savez(folder / "data.npz", x=x, labels=np.argmax(hidden @ values["w2"] + values["b2"], axis=1))
    (folder / "validation.toml").write_text(VALIDATION)
    return folder


@pytest.fixture(scope="session")
def whole(
    tiny: Path, forge: Forge, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Shell, Ended]:
    """One run of all suites on one target, as JSON; tests that change it copy it."""
    shell = Shell(forge, tmp_path_factory.mktemp("whole"), cache)
    return shell, shell("validate", "--model", tiny, "--json")


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> MakeModel:
    """Make a copy of the tiny model's folder: texts replaced in its validation.toml, text added, new data."""
    return partial(copy_model, tiny, tmp_path / "model")
