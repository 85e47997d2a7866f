"""``harness challenge`` on real sessions: what is caught, what is missed, what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.challenge import command
from harness.challenge.trials import Bench
from harness.core.metric import Role
from harness.report.progress import Quiet
from harness.testing.faults import FAULTS, Fault, Kind
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
        "challenge", "--quick", "--json", copy,
        "--model", model(added='\n[checks.relax]\nversion-confirmed = "a build of our own"\n'),
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
    assert faults["claims-version"]["result"] == "missed"
    assert faults["claims-version"]["would"] == "the check version-confirmed, which [checks.relax] lets pass"
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


CATALOGUE = {fault.name: fault for fault in FAULTS}
TRIALS = 5


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A quick challenge of the bundled model after its healthy run."""
    request = command.read(target="cpu", results=tmp_path, quick=True)
    with command._prepared(request, Quiet()) as prepared:
        yield command._healthy_run(prepared, prepared.targets[0], request)


def is_seen(bench: Bench, fault: Fault) -> bool:
    """Whether a check that declares the fault fails in the jobs that it looks at."""
    names = {(limit.kind, limit.gate.name) for limit in bench.work.limits if fault.name in limit.faults}
    declared, *_ = bench.work.steps(fault, quick=True)
    measured, rows = bench._measure(declared, fault)
    caught, _ = bench._judge(fault, measured.results, rows)
    return caught is not None and (caught.kind, caught.name) in names


def loses(bench: Bench, fault: Fault) -> bool:
    """Whether the interval of the accuracy lost lies above zero."""
    (accuracy,) = (batch for batch in bench.work.batches if batch.suite == "accuracy")
    clean = replace(accuracy, cases=tuple(case for case in accuracy.cases if not case.severity))
    _, rows = bench._measure(clean, fault)
    losses = [
        row.measurement.ci_low > 0
        for row in rows
        if (metric := bench.work.metrics.find("accuracy", row.measurement.metric)) is not None
        and metric.role is Role.LOSS
        and row.case == metric.case
    ]
    return any(losses)


@pytest.mark.full
def test_smallest_effects_are_seen_as_they_are_stated(bench: Bench) -> None:
    """Twice the effect is nearly always seen, once at its power of 95 %, half mostly not."""
    stated = {effect.name: effect for effect in command._effects(bench)}
    seen: dict[str, list[int]] = {}
    for name in ("slower-10", "leak-per-call"):
        planted = [
            [
                is_seen(bench, replace(CATALOGUE[name], size=share * bench.smallest[name]))
                for _ in range(TRIALS)
            ]
            for share in (0.5, 1.0, 2.0)
        ]
        seen[name] = list(map(sum, planted))
        print(f"{name}: {bench.smallest[name]:.4g}; seen of {TRIALS} at half, once, twice: {seen[name]}")
    loss = stated["lost accuracy"].value / 100
    # The samples that are changed are the same in each trial: another share of them is another trial.
    shares = {0.5: (0.4, 0.5, 0.6), 1.0: (0.95, 1.0, 1.05), 2.0: (1.9, 2.0, 2.1)}
    seen["swapped-scores"] = [
        sum(loses(bench, replace(CATALOGUE["swapped-scores"], size=share * loss)) for share in near)
        for near in shares.values()
    ]
    print(f"accuracy: {loss:.4g}; seen of 3 at about half, once, twice: {seen['swapped-scores']}")
    for half, once, twice in seen.values():
        assert twice >= once >= half
    for half, once, twice in (seen["slower-10"], seen["leak-per-call"]):
        assert twice >= TRIALS - 1
        assert once >= TRIALS - 2
        assert half <= 2
    assert seen["swapped-scores"][2] == 3
