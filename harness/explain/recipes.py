"""Variants that are made again with another recipe, and what answers are worth: for remedies that are run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compression import runtime
from harness.compression.export.kinds import Runtime
from harness.compression.recipe import VariantBuilder
from harness.config.validation import Validation
from harness.core import tasks
from harness.core.artifact import Artifact
from harness.core.errors import HarnessError, ModelError
from harness.core.tasks import Reading
from harness.data.sets import PreparedData
from harness.explain.sides import Trace
from harness.run import forked
from harness.store.cache import Cache

Recipe = tuple[dict[str, Any], ...]
#: A key that TOML takes without quotes.
_BARE = re.compile(r"[A-Za-z0-9_-]+")


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
        return f"[variants.{_key(variant)}] recipe = {as_toml(list(recipe))}"


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


def as_toml(value: object) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {as_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and booleans of JSON are TOML's


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Scorer:
    """What answers are worth.

    Parameters
    ----------
    reading : Reading
    labels : ndarray, shape (n,) or (n, …)
        Of the clean set.
    """

    reading: Reading
    labels: NDArray[Any]

    @property
    def name(self) -> str:
        """What the mean is called."""
        return tasks.named(self.reading.task).score_name

    def scores(self, trace: Trace, rows: Sequence[int]) -> NDArray[np.float64] | None:
        """Score of each sample, shape (rows,); None where the outputs cannot be read as answers."""
        name = self.reading.output if self.reading.output in trace.tensors else trace.outputs[0]
        values = trace.real(name)
        task = tasks.named(self.reading.task)
        try:
            answers = task.answers(self.reading, values.reshape(-1, *values.shape[2:]))
            return task.score(answers, self.labels[list(rows)])
        except (HarnessError, IndexError):
            return None
