"""Two stored runs: what was changed between them is named, and each side is what its run stored."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest

from harness.core.errors import HarnessError
from harness.core.executor import Executor
from harness.core.job import Batch, Options
from harness.explain.hypotheses import HYPOTHESES
from harness.explain.requests import between, prepared, stored_sides
from harness.explain.requests.stored_sides import StoredSide
from harness.explain.requests.swapped import between_runs
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.side import Side
from harness.store.cache import Cache
from tests.unit.explain import scenes
from tests.unit.explain.scenes import PARITY, Files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def stored(side: Side, run_id: str, version: str = "1.0") -> StoredSide:
    batch = Batch(
        side.target, side.backend, side.variant, "accuracy", side.artifact, {"deploy": side.options},
        side.preprocess, {}, (),
    )  # fmt: skip
    return StoredSide(run_id, Path("nowhere"), batch, version)


def explained(files: Files, base: Side, new: Side) -> Explanation:
    swapped = between_runs(base, new, ("1.0", "2.0"), ({}, {}))
    return procedure.explain(files.scene(base, new), [*swapped, *HYPOTHESES], 600.0)


def with_mean(side: Side, mean: float) -> Side:
    return replace(side, preprocess={"x": replace(scenes.STEP, mean=(mean,))})


def test_another_preprocessing_is_named_with_its_key_and_the_line_that_takes_it_back(files: Files) -> None:
    base = files.side(files.float32)
    new = replace(with_mean(base, 0.1), executor=base.executor)
    (cause,) = explained(files, base, new).confirmed
    assert cause.cause == "preprocessing of x (mean): [0.45] became [0.1]"
    assert cause.remedy is not None
    assert (cause.remedy.line, cause.remedy.was_run) == ("[input.x] mean = [0.45]", True)


def test_another_runtime_version_is_named(files: Files) -> None:
    base = files.side(files.float32)
    new = replace(files.side(scenes.with_constant(files.float32, "fc.w", lambda w: 2 * w)), label="new")

    class Patched:
        """The base's version computes the new file's numbers as the base's file."""

        parallel_batches = 1

        def run(self, batches: Any) -> Any:
            sha256 = new.artifact.sha256
            return base.executor.run(
                replace(one, artifact=base.artifact) if one.artifact.sha256 == sha256 else one
                for one in batches
            )

    (cause,) = explained(files, replace(base, executor=cast(Executor, Patched())), new).confirmed
    assert cause.cause == "version of onnxruntime: 1.0 became 2.0"
    assert cause.layer == "fc7"


def test_a_changed_setting_that_changes_no_number_is_refuted(files: Files) -> None:
    base = files.side(files.float32)
    changed = scenes.with_constant(files.float32, "conv3.w", lambda w: 1.2 * w)
    new = replace(files.side(changed, options=Options(threads=2, precision="f32")), executor=base.executor)
    explanation = explained(files, base, new)
    refuted = explanation.rounds[0][0]
    assert (refuted.hypothesis, refuted.state.value) == ("settings (threads)", "refuted")
    assert [cause.hypothesis for cause in explanation.confirmed] == ["constants of the file"]


def test_the_version_that_a_run_stored_is_pinned_where_another_is_installed(files: Files) -> None:
    table = {
        "description": "d", "backends": ["onnxruntime", "tflite"], "executor": {"kind": "local"},
        "deploy": PARITY.to_json(), "max_samples": None, "disk_mb": 1, "for_runtime": "litert",
    }  # fmt: skip
    run = {"targets": {"onnxruntime": table}}
    side = files.side(files.float32)
    installed = version("onnxruntime")
    assert stored_sides._table(run, stored(side, "1", installed))["executor"] == {"kind": "local"}
    pinned = stored_sides._table(run, stored(side, "1", "1.31.0"))
    assert pinned["executor"]["requirements"] == ["onnxruntime==1.31.0"]
    assert pinned["backends"] == ["onnxruntime"]


def test_a_file_that_is_no_longer_there_is_named(files: Files, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="the float32 file of 7 is no longer on this machine"):
        stored(files.side(files.float32), "7").artifact_in(Cache(tmp_path))


def test_two_sides_of_one_target_that_pin_other_versions_are_told_apart(files: Files) -> None:
    base = files.side(files.float32)
    scene = files.scene(base, replace(base, target="cpu-onnxruntime==1.31.0"))
    plain, pinned = between.parse("cpu,cpu+requirements=onnxruntime==1.31.0 numpy==2.3.5")
    (swapped,) = prepared.versions((plain, pinned), scene)
    installed = version("onnxruntime")
    assert (swapped.name, swapped.before, swapped.after) == ("version of onnxruntime", installed, "1.31.0")
    assert swapped.changed.target == "onnxruntime"
    assert swapped.remedy == f'[executor] requirements = ["onnxruntime=={installed}"]'
    assert prepared.versions((plain, plain), scene) == []
    assert prepared.versions(between.parse("cpu,tflite+requirements=onnxruntime==1.31.0"), scene) == []
