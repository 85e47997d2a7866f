"""Gates with ``design = "side-by-side"``: the accepted artifact and this run's, timed in real processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from harness.store import tables
from harness.timing.interleave import SERIES
from tests.e2e.conftest import MakeModel
from tests.e2e.shell import Forge, Shell, check, copy_model, save_onnx
from tests.e2e.test_release import in_pytest, sentence

GATE = """
[[gate]]
name = "side by side"
suite = "performance"
metric = "latency_p50"
variant = "int8"
baseline = "accepted"
design = "side-by-side"
max_ratio = 2.0
"""
RUN = ("validate", "--model", "model", "--variant", "int8", "--suite", "performance")
#: The other tests kept the machine busy; it says so.
BUSY = ("INVALID", "INCONCLUSIVE")


def slow(folder: Path) -> None:
    """A model of the same name and the same data, some fifty times the work."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 512), "w2": (512, 512), "w3": (512, 4)}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w3"], ["y"]),
    ]
    save_onnx(folder / "model.onnx", nodes, ["n", 8], values)


@pytest.fixture(scope="module")
def once(forge: Forge, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """An accepted run of the tiny model with its artifacts, and a cache of its own."""
    folder = tmp_path_factory.mktemp("accepted")
    harness = Shell(forge, folder, folder / "cache")
    copy_model(tiny, folder / "model", added=GATE)
    ended = harness(*RUN)
    assert ended.code == 3, ended.err + ended.out
    sentence_ = sentence(ended.out, "side by side")
    assert sentence_ == (
        "int8 on cpu: latency_p50 was not timed side by side: there is no baseline accepted of cpu"
    )
    saved = harness("baseline", "save", "latest", "--reason", "the first", "--by", "jane", "--artifacts")
    assert saved.code == 0, saved.err
    return harness


@pytest.fixture
def accepted(once: Shell, harness: Shell) -> Shell:
    """A copy of the accepted run, its model, its baseline and its cache, in the test's own folder."""
    shutil.copytree(once.folder, harness.folder, symlinks=True, dirs_exist_ok=True)
    return replace(harness, cache=harness.folder / "cache")


@pytest.mark.full
def test_a_slower_artifact_fails_everywhere_with_one_sentence(accepted: Shell) -> None:
    slow(accepted.folder / "model")
    shutil.rmtree(accepted.cache)  # as on another machine: the accepted artifact lies beside the baseline
    ended = accepted(*RUN, "--decide-within", "20s")
    assert "side by side: side by side, int8 on cpu/onnxruntime" in ended.err
    sentence_ = sentence(ended.out, "side by side")
    assert sentence_.startswith("int8 on cpu: latency_p50 of this run against accepted is "), ended.out
    if ended.code != 1:
        assert any(f"{state} " in ended.out for state in BUSY), ended.out
        return
    assert "limit 2x, 8 processes a side" in sentence_
    run = (accepted.results / "latest").resolve()
    stored = json.loads((run / "side_by_side" / "000" / "side_by_side.json").read_text())
    assert stored["of"] == ["side by side", "cpu", "onnxruntime", "int8"]
    assert all(
        len(stored["memory_byte"][series]) >= 8 and min(stored["memory_byte"][series]) > 1e6
        for series in SERIES
    )
    assert stored["sides"]["base"]["artifact_sha256"] != stored["sides"]["new"]["artifact_sha256"]
    again = accepted("judge", run.name)
    assert (again.code, sentence(again.out, "side by side")) == (1, sentence_)
    code, cases = in_pytest(accepted, run, accepted.folder / "model")
    failure = cases["test_gate[tiny-int8-side_by_side]"].find("failure")
    assert code == 1
    assert failure is not None
    assert f"FAIL side by side: {sentence_}" in failure.attrib["message"]
    # Times that are not there any more are no verdict.
    (run / "side_by_side" / "000" / "samples.npz").write_bytes(b"PK")
    check(accepted("judge", run.name), 2, "a side-by-side timing is damaged")


@pytest.mark.full
def test_the_accepted_artifact_against_itself_does_not_fail(accepted: Shell) -> None:
    ended = accepted(*RUN)
    assert "FAIL" not in ended.out
    assert "accepted (the same file) is " in ended.out or "verdict: PASS (0)" in ended.out, ended.out
    rows = accepted("judge", "latest", "--json").out
    (verdict_,) = [item for item in json.loads(rows)["verdicts"] if item["gate"] == "side by side"]
    assert "of this run against accepted (the same file) is " in verdict_["sentence"]
    assert verdict_["unit"] == "x"


def test_without_the_accepted_artifact_it_did_not_run(accepted: Shell) -> None:
    slow(accepted.folder / "model")
    shutil.rmtree(accepted.cache)
    ended = accepted("baseline", "save", "latest", "--reason", "b", "--replace", "--artifacts")
    check(ended, 2, "is not in the cache any more", "harness validate")
    folder = accepted.results / "baselines" / "tiny" / "cpu" / "accepted"
    shutil.rmtree(folder / "artifacts")
    check(accepted(*RUN), 2, "the baseline lacks artifacts/")
    assert accepted("baseline", "save", "latest", "--reason", "b", "--replace").code == 0
    ended = accepted(*RUN)
    assert ended.code == 3, ended.out
    assert "no longer on this machine; harness baseline save --artifacts stores it" in ended.out


@pytest.mark.full
def test_an_undecided_gate_is_measured_on(harness: Shell, model: MakeModel) -> None:
    """Limits at the median of a first run: two processes leave it open, and rounds are measured."""
    folder = model()
    harness(*RUN)
    frame = tables.read(harness.run() / "measurements.csv")
    p50 = frame.query("metric == 'latency_p50' and variant == 'int8'")["value"].item()
    gate = '[[gate]]\nname = "p50"\nsuite = "performance"\nmetric = "latency_p50"\ncase = "single_stream"\n'
    text = (folder / "validation.toml").read_text()
    (folder / "validation.toml").write_text(f'{text}{gate}max = "{p50:.0f} ns"\n')
    ended = harness(*RUN, "--decide-within", "20s")
    run = (harness.results / "latest").resolve()
    facts_ = json.loads((run / "run.json").read_text())
    assert facts_["decide_within_s"] == 20.0
    measured_on = "undecided, measured further: single_stream of int8 on cpu" in ended.err
    if not measured_on:  # this run's times lay clearly on one side, or were invalid
        assert "INCONCLUSIVE" not in ended.out
        return
    results = [
        body
        for line in (run / "journal.jsonl").read_text().splitlines()
        if (body := json.loads(line)["body"])["type"] == "result"
        and body["key"][5] == "single_stream" and body["key"][3] == "int8"
    ]  # fmt: skip
    assert [body["values"].get("looks", 1) for body in results] == list(range(1, len(results) + 1))
    assert len(results) > 1
    check(harness("validate", "--resume", "latest", "--decide-within", "1m"), 2, "--decide-within", "leave")
