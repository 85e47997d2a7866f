"""A variant is made again with another recipe, run, measured on other samples, and offered as a patch."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import numpy as np
import onnx
import pytest

from harness.compression.model_file import inspect_onnx
from harness.config.load import load_validation
from harness.data import sets
from harness.explain import patch
from harness.explain.hypotheses.quantization.concat import SharedScale
from harness.explain.hypotheses.quantization.constants import PerTensor
from harness.explain.hypotheses.quantization.ranges import ClippedRange
from harness.explain.patch import Patch, keys_of
from harness.explain.recipes.scores import Scorer
from harness.explain.recipes.toml import as_toml
from harness.explain.recipes.variants import Recipes, changed
from harness.explain.requests import between, prepared
from harness.explain.scene import Scene
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.trace import Trace
from harness.store.cache import Cache
from harness.tasks import named
from tests.unit.explain import scenes
from tests.unit.explain.hypotheses.test_causes import with_a_large_channel
from tests.unit.explain.hypotheses.test_wrong_layer import network
from tests.unit.explain.scenes import Files

QUANTIZE = ({"pass": "prune", "sparsity": 0.5}, {"pass": "quantize", "calibration": "mse"})
VALIDATION = """\
schema = 1
[model]
name = "small"
file = "model.onnx"
[data]
path = "data.npz"
[input.x]
scale = 0.00392156862745098
mean = [0.45]
std = [0.22]
layout = "NCHW"
[variants.int8]
recipe = [{ pass = "quantize", per_channel = false }]  # one scale
[suites.accuracy]
[[gate]]
name = "int8"
suite = "accuracy"
metric = "accuracy_loss"
variant = "int8"
case = "clean"
reference = "float32@host"
max = "1 pt"
"""


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"calibration": "entropy"}, {"pass": "quantize", "calibration": "entropy"}),
        ({"per_channel": True}, {"pass": "quantize", "calibration": "mse", "per_channel": True}),
        ({"float_layers": ["a"]}, {"pass": "quantize", "calibration": "mse", "float_layers": ["a"]}),
        ({"calibration": "mse"}, None),
    ],
)
def test_options_of_the_quantizer_are_changed(options: dict[str, Any], step: dict[str, Any] | None) -> None:
    assert changed(QUANTIZE, options) == (None if step is None else (QUANTIZE[0], step))
    assert changed(({"pass": "dynamic"},), options) is None


def test_layers_are_added_to_those_in_float() -> None:
    recipe = ({"pass": "quantize", "float_layers": ["a", "b"]},)
    assert changed(recipe, {"float_layers": ["b", "c"]}) == (
        {"pass": "quantize", "float_layers": ["a", "b", "c"]},
    )
    assert changed(recipe, {"float_layers": ["b"]}) is None


def test_toml_is_read_as_it_was_written() -> None:
    value = [{"pass": "quantize", "b/c": True, "t": {"x": 1.5, "y": ["ä", '"']}}]
    assert tomllib.loads(f"value = {as_toml(value)}")["value"] == value


STEPS = '{ pass = "prune", sparsity = 0.5 }', '{ pass = "quantize" }'
TABLES = """[[variants.int8.recipe]]
pass = "prune"  # two
sparsity = 0.5
[[variants.int8.recipe]]
pass = "quantize"
"""


@pytest.mark.parametrize(
    "text",
    [
        f"[variants.int8]\nrecipe = [{STEPS[0]}, {STEPS[1]}]  # two\n",
        f"[variants.int8]\nrecipe = [\n  {STEPS[0]},  # two\n  {STEPS[1]},\n]\n",
        TABLES,
        '[variants.int8]  # two\nrecipe = [{ pass = "dynamic" }]\n',
    ],
)
def test_a_recipe_is_changed_where_it_stands(tmp_path: Path, text: str) -> None:
    file = tmp_path / "validation.toml"
    file.write_text(VALIDATION.partition("[variants")[0] + text)
    line = f"[variants.int8] recipe = {as_toml(list(QUANTIZE))}"
    keys = keys_of(line)
    assert keys is not None
    Patch(file, keys, patch.Validation).apply()
    written = file.read_text()
    assert tomllib.loads(written)["variants"]["int8"]["recipe"] == list(QUANTIZE)
    assert "# two" in written


def test_answers_are_scored_as_the_task_says() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])[:, np.newaxis]
    trace = Trace({"y": scores}, {}, ("y",))
    scorer = Scorer(named("classification").reading("y", width=2), np.array([9, 1, 1, 1]))
    assert scorer.name == "accuracy"
    np.testing.assert_array_equal(scorer.scores(trace, [1, 2, 3]), [1.0, 0.0, 1.0])
    assert scorer.scores(trace, [1, 2, 9]) is None


def put(folder: Path, model: onnx.ModelProto, validation: str) -> Path:
    """A model and its data."""
    onnx.save(model, folder / "model.onnx")
    images = np.concatenate([scenes.images(), 255 - scenes.images()])
    np.savez(folder / "data.npz", x=images, labels=np.arange(len(images)) % 6)
    (folder / "validation.toml").write_text(validation)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a large channel that is quantized with one scale."""
    files: Files = with_a_large_channel(Files(tmp_path, scenes.model(), onnx.ModelProto()))
    return put(tmp_path, files.float32, VALIDATION)


def scene_of(folder: Path) -> Scene:
    """The float model and the variant, as they are made of a folder, on a runtime in this process."""
    validation, _ = load_validation(folder)
    model = onnx.load(folder / "model.onnx")
    cache = Cache(folder)
    data = sets.prepare(validation, folder, cache, inspect_onnx(model).inputs, 6)
    made = Recipes(validation, folder, data, cache)
    int8 = onnx.load(made.made("int8", made.of("int8"), "onnx")["onnx"].path)
    files = Files(folder, model, int8)
    raw = {"x": np.load(cache.array_path(data.sets[0].ref.inputs["x"]))}
    sides = [replace(side, raw=raw, target=name) for name, side in
             (("cpu", files.side(model)), ("board", files.side(int8)))]  # fmt: skip
    scene = files.scene(*sides)
    scorer = Scorer(named("classification").reading("scores", width=6), np.asarray(data.labels))
    host = replace(scene.host, raw=raw)
    more = {"host": host, "recipes": made, "scorer": scorer}
    return replace(scene, rows=range(32), held_out=range(32, 64), **more)


def check(explanation: Explanation, folder: Path) -> None:
    (patched,) = patch.of_remedies([explanation], None, folder / "validation.toml")
    (cause,) = explanation.confirmed
    assert (cause.hypothesis, cause.layer) == (PerTensor.name, "conv3")
    assert cause.remedy is not None
    assert cause.remedy.line == '[variants.int8] recipe = [{ pass = "quantize", per_channel = true }]'
    assert explanation.effect is not None
    assert explanation.effect.left < 0.3
    assert explanation.effect.score is not None
    assert explanation.effect.score.name == "accuracy"
    assert "+recipe = " in patched.apply()
    (line,) = (one for one in (folder / "validation.toml").read_text().splitlines() if "recipe" in one)
    assert line.replace(" ", "") == 'recipe=[{pass="quantize",per_channel=true}]#onescale'


def test_a_variant_is_made_again_and_run(folder: Path) -> None:
    """One scale for all channels: with a scale for each the difference is gone."""
    check(procedure.explain(scene_of(folder), [ClippedRange(), PerTensor()], 600.0), folder)


def test_a_concat_is_made_again_in_float(tmp_path: Path) -> None:
    put(tmp_path, network(60.0), VALIDATION.replace(", per_channel = false", ""))
    finding = SharedScale().test(scene_of(tmp_path))
    assert finding.remedy is not None
    keep = '["conv5", "depthwise5"]'
    assert finding.remedy.line == f'[variants.int8] recipe = [{{ pass = "quantize", float_layers = {keep} }}]'
    assert finding.share > 0.5


def test_no_recipe_is_made_after_the_time(folder: Path) -> None:
    scene = scene_of(folder)
    scene.end_s = 0.0
    finding = PerTensor().test(scene)
    assert finding.remedy is not None
    assert (finding.remedy.line, finding.after) == (PerTensor.remedy, None)


@pytest.mark.full
def test_the_command_makes_it_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(folder / "cache"))
    sides = between.parse("cpu,cpu:int8")
    with prepared.opened(str(folder), sides, cast(Any, MagicMock())) as scene:
        check(procedure.explain(scene, [ClippedRange(), PerTensor()], 600.0), folder)
