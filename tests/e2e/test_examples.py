"""The bundled examples beside digits pass, from their own validation.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import harness as api
from tests.e2e.shell import Shell

MODELS = Path(__file__).parents[2] / "models"


INIT = {
    "cancer": ("--group", "site", "--time", "record"),
    "rows": ("--sequence", "image", "--state", "state=next_state", "--group", "row"),
}


@pytest.mark.parametrize("name", ["rows", pytest.param("cancer", marks=pytest.mark.full)])
def test_an_example_passes(harness: Shell, name: str) -> None:
    ended = harness("validate", "--model", str(MODELS / name), "--suite", "accuracy", "--target", "cpu")
    assert ended.code == 0, ended.out + ended.err
    assert ended.out.rstrip().endswith("verdict: PASS (0)")
    rows = api.load("latest", results=harness.folder / "results")
    clean = rows[(rows.metric == "accuracy") & (rows.case == "clean") & (rows.target == "cpu")]
    share = clean[(clean.variant == "float32") & (clean.setting == "deploy")].value.item()
    assert f"**{100 * share:.2f} %**" in (MODELS / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "least"), [("cancer", 0.92), ("rows", 0.68)])
def test_init_reads_an_example(harness: Shell, name: str, least: float) -> None:
    model, data = MODELS / name / "model.onnx", MODELS / name / "test.csv"
    ended = harness("init", str(model), "--data", str(data), *INIT[name], "--out", ".")
    assert ended.code == 0, ended.out + ended.err
    share = re.search(r"ran as written: float32 accuracy ([\d.]+) %", ended.out)
    assert share is not None
    assert float(share[1]) / 100 > least
    written = tomllib.loads((harness.folder / "validation.toml").read_text(encoding="utf-8"))
    assert written["data"]["group"] == INIT[name][INIT[name].index("--group") + 1]
    assert written["data"]["label_column"] == {"cancer": "diagnosis", "rows": "digit"}[name]
    if name == "rows":
        assert written["input"]["state"] == {"value": 0.0, "state": "next_state"}
        assert written["data"]["sequence"] == "image"


@pytest.mark.full
def test_the_bad_int8_of_characters_fails_by_its_sentence(harness: Shell) -> None:
    ended = harness("validate", "--model", str(MODELS / "characters"), "--target", "cpu")
    assert ended.code == 1, ended.out + ended.err
    failed = [line for line in ended.out.splitlines() if line.startswith("FAIL  ")]
    assert any("int8 perplexity: int8 on cpu: perplexity_ratio in clean is 1.1" in line for line in failed)
    assert not any("int8-weights on cpu" in line for line in failed)


@pytest.mark.full
def test_the_bad_int8_of_the_wake_word_is_deaf_and_the_good_one_is_not(harness: Shell) -> None:
    asked = ("--model", str(MODELS / "wakeword"), "--suite", "accuracy", "--target", "cpu", "--explain", "0")
    assert harness("validate", *asked).code == 0
    ended = harness("validate", *asked, "--variant", "int8-static")
    assert ended.code == 1, ended.out + ended.err
    failed = next(line for line in ended.out.splitlines() if line.startswith("FAIL  "))
    assert "int8-static words lost: int8-static on cpu: event_recall_loss in clean is 23.8" in failed


@pytest.mark.full
def test_init_reads_a_segmenter_and_three_runtimes_keep_its_masks(harness: Shell) -> None:
    model = harness.folder / "model.onnx"
    model.write_bytes((MODELS / "scenes" / "model.onnx").read_bytes())
    ended = harness("init", str(model), "--data", "harness.data.scenes:scenes")
    assert ended.code == 0, ended.out + ended.err
    assert "float32 mean IoU by image 9" in ended.out
    written = harness.folder / "validation.toml"
    text = re.sub(r"families = .*", 'families = ["contrast"]', written.read_text())
    written.write_text(re.sub(r"severities = \[1, 3, 5\] ", "severities = [1] ", text))
    ended = harness("validate", "--model", ".", "--suite", "accuracy", "--target", "cpu,openvino,tflite")
    assert ended.code == 0, ended.out + ended.err
    rows = api.load("latest", results=harness.folder / "results")
    clean = rows[(rows.metric == "miou_loss") & (rows.case == "clean") & (rows.setting == "deploy")]
    assert set(clean.target) == {"cpu", "openvino", "tflite"}
    assert (clean.ci_high < 5).all()
    assert (clean.ci_low < clean.ci_high).all()


@pytest.mark.full
def test_two_values_a_layer_spoil_the_masks(harness: Shell) -> None:
    asked = ("--model", str(MODELS / "scenes"), "--suite", "accuracy", "--target", "cpu", "--explain", "0")
    ended = harness("validate", *asked, "--variant", "float32,two-values")
    assert ended.code == 1, ended.out + ended.err
    failed = [line for line in ended.out.splitlines() if line.startswith("FAIL  ")]
    assert "two values, mIoU: two-values on cpu: miou_loss in clean" in failed[0]
    assert len(failed) == 2, "the gate and the verdict"
