"""Where a cause lies in how a variant was made, it is made again with another recipe, and run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.core.errors import HarnessError
from harness.explain.recipes.toml import as_toml
from harness.explain.recipes.variants import Recipe, changed
from harness.explain.scene import Remedy, Scene
from harness.explain.sides.runner import FEWEST_S
from harness.explain.sides.side import Side

#: A change that takes away so much of the difference is a cause: what 8 bits make in all layers stays.
ENOUGH = 0.3
#: A variant of a large model is not begun where less time is left, by the size of the float file: that of
#: digits (0.4 MB) takes 1.0 to 1.7 s.
S_PER_MB = 1.0


@dataclass(frozen=True, slots=True)
class Made:
    """A side that runs its variant as another recipe makes it.

    Parameters
    ----------
    side : Side
    text : str
        The options that were changed.
    line : str
        For ``validation.toml``.
    share : float
        Of the difference, that it takes away.
    """

    side: Side
    text: str
    line: str
    share: float

    @property
    def remedy(self) -> Remedy:
        """As a remedy."""
        return Remedy(f"made again with {self.text}", self.line, self.side.label)


def best(scene: Scene, side: Side, options: Sequence[Mapping[str, Any]], enough: float) -> Made | None:
    """Make the variant of a side with one set of options after the other, while there is time.

    Parameters
    ----------
    options : sequence of mapping
        Of the step ``quantize``, the ones that cost least first.
    enough : float
        The first that takes away this share of the difference is the one; else the one that takes most.
    """
    if scene.recipes is None:
        return None
    tried: list[Made] = []
    longest_s = max(FEWEST_S, S_PER_MB * scene.reference.artifact.size_byte / 1e6)
    before = scene.recipes.of(side.variant)
    for one in options:
        recipe = changed(before, one)
        began_s = time.monotonic()
        if recipe is None or began_s + longest_s > scene.end_s:
            continue
        try:
            made = _made(scene, side, recipe, one)
        except HarnessError:
            continue  # the model does not allow it
        longest_s = max(longest_s, time.monotonic() - began_s)
        tried.append(made)
        if made.share >= enough:
            return made
    nearest = max(tried, key=lambda one: one.share, default=None)
    return nearest if nearest is not None and nearest.share >= ENOUGH else None


def _made(scene: Scene, side: Side, recipe: Recipe, options: Mapping[str, Any]) -> Made:
    assert scene.recipes is not None
    artifacts = scene.recipes.made(side.variant, recipe, side.artifact.format)
    text = ", ".join(f"{key} = {as_toml(value)}" for key, value in options.items())
    # A name of its own: what is explained next is read from the ONNX file of that name.
    variant = f"{side.variant} with {text}"
    if "onnx" in artifacts:
        scene.onnx[variant] = artifacts["onnx"]
    changed = replace(
        side, variant=variant, artifact=replace(artifacts[side.artifact.format], variant=variant)
    )
    trace = scene.runner.samples(changed, scene.rows)
    return Made(
        changed, text, scene.recipes.line(side.variant, recipe), scene.share(*scene.in_place_of(side, trace))
    )
