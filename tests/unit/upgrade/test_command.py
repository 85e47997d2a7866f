"""What comes before the comparison: environments that cannot be had, and which files are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.compare.side_by_side import parse_criterion
from harness.core.artifact import Artifact, describe_file
from harness.core.contracts import Availability
from harness.core.errors import ResultsError, TargetUnavailable, UsageError
from harness.core.plan import Plan
from harness.core.target import Target
from harness.gates.baselines import ARTIFACTS, DESCRIPTION, FOLDER, SCHEMA_VERSION, Description
from harness.run.prepare import Prepared
from harness.store.cache import Cache, key_of
from harness.upgrade import command
from harness.upgrade.decision import Failure
from harness.upgrade.run_both import UpgradeRequest
from harness.upgrade.targets import NEW, OLD, TargetPair


class Probed:
    """An executor that answers, or raises."""

    def __init__(self, answer: Availability | Exception) -> None:
        self.answer, self.closed = answer, False

    def probe(self, names: list[str]) -> Mapping[str, Availability]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return dict.fromkeys(names, self.answer)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Availability("1.32.0", ("CPU",)), None),
        (
            TargetUnavailable("x==1.32 cannot be installed", cause="No matching distribution found"),
            Failure("install", "x==1.32 cannot be installed; No matching distribution found"),
        ),
        (
            Availability(reason="the probe was killed by SIGILL"),
            Failure("import", "the probe was killed by SIGILL"),
        ),
        (
            Availability("1.31.1", ("CPU",)),
            Failure("import", "1.32 was installed, and 1.31.1 answers"),
        ),
        (
            Availability("1.32.1", ("CPU",)),
            Failure("import", "1.32 was installed, and 1.32.1 answers"),
        ),
    ],
    ids=["fine", "no wheel", "crash", "another", "a later patch"],
)
def test_an_environment_that_cannot_be_had_is_an_answer(
    answer: Availability | Exception, failure: Failure | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executor = Probed(answer)
    monkeypatch.setattr(command, "make_executor", lambda target, store: executor)
    assert command.find_failure(Target("cpu@1.32", "", ("x",)), Cache(tmp_path)) == failure
    assert executor.closed


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"margin": 0.0}, "use points above 0 and below 100"),
        ({"margin": float("nan")}, "use points above 0 and below 100"),
        ({"max_ratio": 1.0}, "use a number above 1"),
        ({"decide_within": "3x"}, "3x"),
        ({"target": ","}, "names no target"),
    ],
)
def test_what_means_nothing_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        command.read(runtime="x", old="1", new="2", results=Path(), **given)


def test_default_is_every_local_target_and_default_variant() -> None:
    order = command.read(runtime="x", old="1", new="2", results=Path("r"))
    assert (order.targets, order.variants, order.results) == ((), (), Path("r"))
    assert command.read(runtime="x", old="1", new="2", results=Path(), target="a,b").targets == ("a", "b")


# Which file is compared


def made(folder: Path, content: bytes, cache: Cache) -> Artifact:
    path = folder / "model.onnx"
    path.write_bytes(content)
    artifact = Artifact("int8", "onnx", (describe_file(path),), folder)
    return replace(artifact, folder=cache.put_artifact(artifact.sha256, {"model.onnx": content}))


@pytest.fixture
def order(tmp_path: Path) -> UpgradeRequest:
    return UpgradeRequest(
        "toy", "1.0", "2.0", Path(), tmp_path / "results", criterion=parse_criterion("", 1.05, "2m")
    )


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def chosen(order: UpgradeRequest, cache: Cache, artifact: Artifact) -> tuple[Artifact, str]:
    run = {"model": {"name": "m"}}
    prepared = Prepared(Plan(()), run, None, {}, (), {}, (), cache, {}, (), 0.0)
    pair = TargetPair("cpu", "toy", {side: Target("t", "", ("toy",)) for side in (OLD, NEW)})
    return command.accepted_or_made(artifact, order, pair, prepared)


def accept(order: UpgradeRequest, sha256: str, variant: str = "int8") -> Path:
    """A baseline of a run in which that artifact ran."""
    folder = order.results / FOLDER / "m" / "cpu" / order.baseline
    folder.mkdir(parents=True)
    description = Description(
        "accepted", "m", "cpu", "20260101T000000-m-0000", "PASS", "me", "2026-01-01", "it is good", "cpu",
        {}, {f"toy/{variant}": sha256}, {},
    )  # fmt: skip
    body = {"schema_version": SCHEMA_VERSION, **asdict(description)}
    (folder / DESCRIPTION).write_text(json.dumps({**body, "sha256": key_of(body)}))
    return folder / DESCRIPTION


def test_without_a_baseline_the_recipes_file_is_taken(
    order: UpgradeRequest, cache: Cache, tmp_path: Path
) -> None:
    artifact = made(tmp_path, b"new", cache)
    file, origin = chosen(order, cache, artifact)
    assert file is artifact
    assert origin == "made by the recipe (there is no baseline accepted of cpu)"


def test_the_accepted_file_comes_from_the_cache(order: UpgradeRequest, cache: Cache, tmp_path: Path) -> None:
    old, new = (made(tmp_path, content, cache) for content in (b"old", b"new"))
    accept(order, old.sha256)
    file, origin = chosen(order, cache, new)
    assert (file.sha256, file.path.read_bytes()) == (old.sha256, b"old")
    assert origin == "accepted with 20260101T000000-m-0000"
    assert chosen(order, cache, old) == (old, origin)  # the recipe still makes it
    (cache.artifact_folder(old.sha256) / "model.onnx").write_bytes(b"odd")  # damaged since
    file, origin = chosen(order, cache, new)
    assert file is new
    assert "the one accepted with 20260101T000000-m-0000 differs and is no longer on this machine" in origin


def test_a_file_that_was_kept_beside_the_baseline(
    order: UpgradeRequest, cache: Cache, tmp_path: Path
) -> None:
    new = made(tmp_path, b"new", cache)
    sha256 = hashlib.sha256(b"old").hexdigest()
    folder = accept(order, sha256).parent / ARTIFACTS / sha256
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"old")
    file, origin = chosen(order, cache, new)
    assert (file.sha256, file.path) == (sha256, folder / "model.onnx")
    assert origin == "accepted with 20260101T000000-m-0000"


def test_a_baseline_without_that_variant_or_file(order: UpgradeRequest, cache: Cache, tmp_path: Path) -> None:
    artifact = made(tmp_path, b"new", cache)
    file = accept(order, "0" * 64)
    assert "no longer on this machine" in chosen(order, cache, artifact)[1]
    file.write_text(file.read_text().replace("it is good", "it is bad"))
    with pytest.raises(ResultsError, match="edited"):
        chosen(order, cache, artifact)
    file.unlink()
    file.parent.rmdir()
    accept(order, "0" * 64, variant="float32")
    assert chosen(order, cache, artifact)[1] == "made by the recipe (the baseline accepted has no int8)"
