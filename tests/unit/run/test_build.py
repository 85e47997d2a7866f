"""One variant that cannot be built does not keep the others from being measured."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from harness.compression import runtime
from harness.compression.variant import Variant
from harness.core.errors import ModelError, PassFailed, RecipeRefused
from harness.run.build import _variants


class Cached:
    """Makes each variant once, where a runtime may be opened, and has it from then on in a file."""

    def __init__(self, folder: Path, deadly: str = "") -> None:
        self._folder, self._deadly, self.told = folder, deadly, lambda text: None

    def telling(self, progress: Any) -> Cached:
        other = copy(self)
        other.told = progress
        return other

    def build(self, names: Iterable[str], formats: Any, data: Any) -> tuple[Variant, ...]:
        for name in names:
            if not (self._folder / name).exists():
                runtime.begin()
                self.told(f"{name}: made")
                if name == self._deadly:
                    os.write(2, b"out of luck\n")
                    os.kill(os.getpid(), signal.SIGSEGV)
                (self._folder / name).write_text(str(os.getpid()))
        return tuple(Variant(name, {}, {}, quantized=False) for name in names)


class Builder:
    def __init__(self, error: Exception, at: str = "int8") -> None:
        self._error, self._at = error, at

    def build(self, names: Iterable[str], formats: Any, data: Any) -> tuple[Variant, ...]:
        if self._at in names:
            raise self._error
        return tuple(Variant(name, {}, {}, quantized=False) for name in names)


def build(builder: Any) -> tuple[list[str], dict[str, Exception]]:
    failed: dict[str, Exception] = {}
    names = ("float32", "int8", "float16")
    made = _variants(builder, names, ("onnx",), None, failed, lambda text: None)  # type: ignore[arg-type]
    return [variant.name for variant in made], failed


@pytest.mark.parametrize(
    "error", [PassFailed("it broke"), RuntimeError("planted"), RecipeRefused("quantized already")]
)
def test_a_variant_that_cannot_be_had_fails_alone(error: Exception) -> None:
    assert build(Builder(error)) == (["float32", "float16"], {"int8": error})


@pytest.mark.parametrize(
    ("error", "at"), [(ModelError("a wrong option"), "int8"), (RuntimeError("planted"), "float32")]
)
def test_a_mistake_of_the_user_or_no_float_model_ends_the_run(error: Exception, at: str) -> None:
    with pytest.raises(type(error)):
        build(Builder(error, at))


def test_variants_are_made_in_a_child_once(tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        made = _variants(Cached(tmp_path), ("float32", "int8"), (), None, {}, told.append)  # type: ignore[arg-type]
        assert [variant.name for variant in made] == ["float32", "int8"]
    assert told == ["float32: made", "int8: made"]
    assert str(os.getpid()) not in {path.read_text() for path in tmp_path.iterdir()}


def test_a_runtime_that_dies_costs_its_variant(tmp_path: Path) -> None:
    made, failed = build(Cached(tmp_path, "int8"))
    assert made == ["float32", "float16"]
    assert "int8 could not be made: the runtime died: the process was killed by SIGSEGV" in str(
        failed["int8"]
    )
    assert "out of luck" in str(failed["int8"])


def test_without_float32_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(PassFailed, match="float32 could not be made"):
        build(Cached(tmp_path, "float32"))
