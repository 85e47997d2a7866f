"""Variants that are made again with another recipe, for remedies that are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compression import runtime
from harness.compression.export.kinds import Runtime
from harness.compression.recipe import VariantBuilder
from harness.config.validation import Validation
from harness.core.artifact import Artifact
from harness.core.errors import ModelError
from harness.data.sets import PreparedData
from harness.explain.recipes.toml import as_key, as_toml
from harness.run import forked
from harness.store.cache import Cache

Recipe = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Recipes:
    """Makes variants of a validation again.

    Parameters
    ----------
    validation : Validation
    folder : Path
        Of its file.
    data : PreparedData
    cache : Cache
    runtime : {"litert", "tflite-2.14"}
        For which TFLite files are written.
    """

    validation: Validation
    folder: Path
    data: PreparedData
    cache: Cache
    runtime: Runtime = "litert"

    def of(self, variant: str) -> Recipe:
        """Steps of a variant; none where it is not made by a recipe."""
        table = self.validation.variants.get(variant)
        return () if table is None else table.recipe

    def made(self, variant: str, recipe: Recipe, fmt: str) -> Mapping[str, Artifact]:
        """Make a variant with another recipe: its files by format, ONNX and `fmt`.

        Raises
        ------
        HarnessError
            The model does not allow the recipe, or the variant has no file of that format.
        """
        table = self.validation.variants[variant].model_copy(update={"recipe": recipe})
        variants = {**self.validation.variants, variant: table}
        changed = self.validation.model_copy(update={"variants": variants})
        builder = VariantBuilder(changed, self.folder, self.cache, runtime=self.runtime)

        def make(tell: forked.Tell) -> bytes:
            builder.telling(tell).build([variant], [fmt], self.data)
            return b""

        forked.run(make, lambda text: None)
        with runtime.forbidden():
            (built,) = builder.build([variant], [fmt], self.data)
        artifact, why = built.artifact_for([fmt])
        if artifact is None:
            raise ModelError(f"{variant} with that recipe has no {fmt} file: {why}")
        return {**built.artifacts, fmt: artifact}

    def line(self, variant: str, recipe: Recipe) -> str:
        """What to write into ``validation.toml``."""
        return f"[variants.{as_key(variant)}] recipe = {as_toml(list(recipe))}"


def changed(recipe: Recipe, options: Mapping[str, Any]) -> Recipe | None:
    """The recipe with other options of its step ``quantize``; None where it has none, or they are set."""
    place = next((at for at, step in enumerate(recipe) if step.get("pass") == "quantize"), None)
    if place is None:
        return None
    step = dict(recipe[place])
    for key, value in options.items():
        is_list = isinstance(value, list | tuple)
        step[key] = [*dict.fromkeys([*step.get(key, ()), *value])] if is_list else value
    return None if step == recipe[place] else (*recipe[:place], step, *recipe[place + 1 :])
