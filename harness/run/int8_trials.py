"""Where a gate on a quantized variant fails: other int8 recipes, and what they give on calibration data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from harness.compression import model_file
from harness.compression.choice import Int8Choice
from harness.compression.choose import MOST_FEEDS, choose_int8, reading_of
from harness.config.validation import FLOAT32
from harness.core.errors import HarnessError
from harness.core.verdict import State
from harness.run import forked
from harness.run.outcome import Outcome
from harness.run.prepare import Prepared
from harness.store.cache import write_atomically

#: In the folder of a run, only where a gate failed.
FILE = "int8_trials.json"


def try_others(folder: Path, prepared: Prepared, outcome: Outcome) -> None:
    """Try other recipes for the first quantized variant that a gate fails, and write the best into the run.

    Only a recipe of the one step ``quantize`` or ``dynamic`` is replaced: what other steps are for, the
    figures on calibration data do not say.
    """
    inputs = prepared.inputs
    if inputs is None:
        return
    variants = {variant.name: variant for variant in inputs.variants}
    recipes = {name: table.recipe for name, table in inputs.validation.variants.items()}
    failing = (v.variant for v in outcome.verdicts if v.state is State.FAIL and v.blocks)
    name = next((variant for variant in failing if _is_replaced(recipes.get(variant, ()))), None)
    source = variants[FLOAT32].artifacts.get("onnx") if FLOAT32 in variants else None
    feeds = list(islice(inputs.data.calibration_feeds(), MOST_FEEDS))
    if name is None or source is None or not feeds:
        return

    def choose(tell: forked.Tell) -> bytes:
        model = model_file.load_onnx(source.path)
        reading = reading_of(model, inputs.validation)
        choice = choose_int8(model, feeds, inputs.data.calibration.labels, reading=reading)
        return _content(name, choice, recipes[name])

    try:
        content = forked.run(choose, lambda text: None)
    except HarnessError:
        return  # the gate's verdict stands without advice
    write_atomically(folder / FILE, content)


def _content(name: str, choice: Int8Choice, recipe: Iterable[Mapping[str, object]]) -> bytes:
    content = {
        "variant": name, "recipe": choice.best.toml, "text": choice.text(),
        "used": _with_default(choice.best.recipe) == _with_default(recipe),
    }  # fmt: skip
    return json.dumps(content, indent=1).encode()


def _with_default(recipe: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    minmax = {"calibration": "minmax"}
    return [(minmax if "quantize" in step.values() else {}) | dict(step) for step in recipe]


def _is_replaced(recipe: tuple[dict[str, object], ...]) -> bool:
    return len(recipe) == 1 and recipe[0].get("pass") in ("quantize", "dynamic")


def advice(folder: Path, variant: str) -> tuple[str, str]:
    """Return the recipe to try for a variant, as TOML, and what all gave; empty where there is none."""
    try:
        content = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return "", ""
    if content["variant"] != variant or content["used"]:
        return "", ""
    return content["recipe"], content["text"]
