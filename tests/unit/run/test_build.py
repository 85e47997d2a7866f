"""One variant that cannot be built does not keep the others from being measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from harness.compression.variant import Variant
from harness.core.errors import ModelError, PassFailed, RecipeRefused
from harness.run.build import _variants


class Builder:
    def __init__(self, error: Exception, at: str = "int8") -> None:
        self._error, self._at = error, at

    def build(self, names: Iterable[str], formats: Any, data: Any) -> tuple[Variant, ...]:
        if self._at in names:
            raise self._error
        return tuple(Variant(name, {}, {}, quantized=False) for name in names)


def build(builder: Any) -> tuple[list[str], dict[str, Exception]]:
    failed: dict[str, Exception] = {}
    made = _variants(builder, ("float32", "int8", "float16"), ("onnx",), None, failed)  # type: ignore[arg-type]
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
