"""``harness challenge`` on real sessions: what is caught, what is missed, what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.testing.faults import FAULTS, Kind
from tests.e2e.shell import Ended, MakeModel, Shell, check


def lines(ended: Ended) -> list[str]:
    return [" ".join(line.split()) for line in ended.out.splitlines()]


def facts(harness: Shell) -> dict[str, Any]:
    (folder,) = (harness.results / "challenge").iterdir()
    document = json.loads((folder / "challenge.json").read_text())
    assert isinstance(document, dict)
    assert (folder / "run.json").is_file()
    return document


def by_name(document: dict[str, Any]) -> dict[str, Any]:
    return {fault["fault"]: fault for fault in document["faults"]}


def test_caught_missed_and_not_planted(harness: Shell, model: MakeModel, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    ended = harness(
        "challenge", "--quick", "--model", model(), "--json", copy,
        "--fault", "changes-its-input", "claims-version", "crashes-on-nan", "permuted-classes", "too-short",
    )  # fmt: skip
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    faults = by_name(facts(harness))
    fault = faults["changes-its-input"]
    assert (fault["result"], fault["by_kind"], fault["named"]) == ("caught", "check", True)
    assert "changed its input" in fault["said"]
    assert faults["permuted-classes"]["result"] == "caught"
    assert faults["too-short"]["result"] == "caught"  # after it, the process of another fault crashes
    assert faults["crashes-on-nan"]["result"] == "caught"
    assert list(faults)[-1] == "crashes-on-nan"
    assert (faults["claims-version"]["result"], faults["claims-version"]["named"]) == ("caught", True)
    assert lines(ended)[-1] == "verdict: FAIL (1)"
    assert json.loads(copy.read_text()) == facts(harness)
    # The runs of the user are as they were: no challenge is the latest one.
    assert not (harness.results / "latest").exists()


def test_mistakes_of_the_user(harness: Shell, model: MakeModel) -> None:
    check(harness("challenge", "--fault", "ofset"), 2, "unknown fault 'ofset'", "did you mean 'offset'")
    check(harness("challenge", "--target", "cpu,tflite"), 2, "a challenge has one target, not 2")
    check(harness("challenge", "--target", "nowhere"), 2, "nowhere")
    check(harness("challenge", "--model", "nowhere"), 2, "nowhere")


@pytest.mark.full
@pytest.mark.parametrize("target", ["cpu", "openvino", "tflite"])
def test_the_whole_catalogue(harness: Shell, target: str) -> None:
    ended = harness("challenge", "--target", target)
    assert "Traceback" not in ended.err
    assert ended.code in (0, 1), ended.err
    document = facts(harness)
    planted = {fault.name for fault in FAULTS if fault.kind is not Kind.HEALTHY}
    assert set(by_name(document)) == planted
    assert document["blocking_without_a_fault"] == []
    numeric = [fault for fault in document["faults"] if fault["kind"] in ("numeric", "per call", "input")]
    caught = sum(fault["result"] == "caught" for fault in numeric)
    assert caught >= len(numeric) / 2
