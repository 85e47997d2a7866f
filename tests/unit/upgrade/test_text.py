"""The lines of an upgrade, and what is kept of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.core import metric
from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Samples
from harness.core.verdict import State
from harness.stats.intervals import Interval
from harness.stats.kernels import Profile
from harness.timing.interleave import Criterion, InterleavedTiming, TimedSide
from harness.upgrade import files, text
from harness.upgrade.decision import Decision, Failure, Findings
from harness.upgrade.run_both import Comparison, UpgradeRequest
from harness.upgrade.targets import NEW, OLD

MEDIAN = metric.Timed("performance", "latency_p50", "single_stream", 0.5)

ARTIFACT = Artifact("int8", "onnx", (File("m.onnx", "0" * 64, 1),), Path())


def profile(conv_ns: int, seed: int, *more: str) -> Profile:
    rng = np.random.default_rng(seed)
    nodes = (("c", "Conv"), *((name, name) for name in more))
    times = [(centre * rng.normal(1, 0.01, 100)).astype(np.int64) for centre in (conv_ns, 10_000)]
    return Profile(100, nodes, tuple(times[: len(nodes)]))


@pytest.fixture
def comparisons() -> list[Comparison]:
    loss = Interval(0, -0.34, 0.34, 800)
    same = Findings(bit_exact=1.0, samples=800, flips=0, loss_pt=loss, latency=State.PASS)
    slow = replace(same, bit_exact=0.9996, repeats=0.97, latency=State.FAIL)
    crash = Findings({NEW: Failure("import", "the probe was killed by SIGILL\nat x")})
    batch = Batch("t", "b", "int8", "performance", ARTIFACT, {}, {}, {}, ())
    executor: Any = None
    timed = InterleavedTiming(
        Criterion(MEDIAN), (TimedSide("old", executor, batch), TimedSide("new", executor, batch))
    )
    for arm, p50_ns in (("base", 100_000), ("control", 100_000), ("new", 110_000)):
        timed.times_ns[arm] = [np.full(9, p50_ns)] * 8
        timed.memory_byte[arm] = [15 if arm == "new" else 10] * 8
    origin = "made by the recipe"
    samples = {side: Samples({"output:0": np.zeros((2, 3))}) for side in (OLD, NEW)}
    return [
        Comparison("cpu", "int8", same, ARTIFACT, origin, samples, timed=timed),
        Comparison(
            "pi5", "int8", slow, ARTIFACT, origin, samples,
            timed=timed, profiles={
                OLD: [profile(50_000, seed, "Gemm") for seed in range(4)],
                NEW: [profile(60_000, 9 + seed) for seed in range(4)],
            },
        ),
        Comparison("pi4", "int8", crash),
    ]  # fmt: skip


def test_a_line_a_target_and_the_reasons_below(comparisons: list[Comparison], tmp_path: Path) -> None:
    request = UpgradeRequest("toy", "1.0", "2.0", Path(), tmp_path, criterion=Criterion(MEDIAN))
    console = Console(width=200, no_color=True, record=True, file=io.StringIO())
    assert text.show(files.store(request, comparisons), request, console) == 1
    output = console.export_text()
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "cpu int8 ok 100 % 0 0.00 [0.34] -- 1.50x same" in lines
    assert "pi5 int8 ok 99.9 % 0 0.00 [0.34] -- 1.50x slower: Conv, 1 node" in lines
    assert "pi4 int8 SIGILL at import -- -- -- -- -- blocked" in lines
    assert lines[1] == "target variant loads bit-equal flips loss pt [bound] p50 [interval] RSS decision"
    assert "blocked pi4 int8: the probe was killed by SIGILL; at x" in lines
    assert any(line.startswith("slower pi5 int8: Conv, 1 node: 1.2") for line in lines)
    assert "kernels pi5 int8: Gemm 1 -> 0" in lines
    assert "bits pi5 int8: the old version itself repeats 97.0 % of its outputs" in lines
    assert "artifacts cpu int8, pi5 int8: made by the recipe" in lines
    assert lines[-2:] == ["FAIL 1 of 3 may be upgraded", "verdict: FAIL (1)"]


def test_a_narrow_terminal_keeps_what_decides(comparisons: list[Comparison], tmp_path: Path) -> None:
    request = UpgradeRequest("toy", "1.0", "2.0", Path(), tmp_path, criterion=Criterion(MEDIAN))
    console = Console(width=80, no_color=True, record=True, file=io.StringIO())
    text.show(files.store(request, comparisons), request, console)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "pi4 int8 SIGILL at import -- -- -- blocked" in lines
    assert "pi5 int8 ok 99.9 % 0 -- slower: Conv, 1 node" in lines


@pytest.mark.parametrize(
    ("stage", "reason", "says"),
    [
        ("install", "x==9 cannot be installed; ERROR: No matching distribution found for x==9", "no wheel"),
        ("install", "x==9 cannot be installed; error: subprocess-exited-with-error", "not installed"),
        ("import", "ImportError: libx.so.1: cannot open", "error at import"),
        ("import", "the probe did not answer within 120 s", "hangs at import"),
        ("run", "the worker was killed by SIGSEGV\nFatal", "SIGSEGV with the model"),
        ("run", "the job passed its deadline of 9 s and was ended", "hangs with the model"),
    ],
)
def test_a_reason_in_a_few_words(stage: str, reason: str, says: str) -> None:
    assert text.short(Failure(stage, reason)) == says
    old = Comparison("cpu", "int8", Findings({OLD: Failure(stage, reason)}))
    assert text.loads(old) == f"old: {says}"


def test_the_last_error_of_pip_is_shown() -> None:
    output = (
        "x==9 cannot be installed; ERROR: Ignored 1.0; 2.0; ERROR: No matching distribution found for x==9"
    )
    comparisons = [Comparison("cpu", "int8", Findings({NEW: Failure("install", output)}))]
    (line,) = text.details(comparisons, [(Decision.BLOCKED, output)])
    assert line.endswith(" cpu int8: x==9 cannot be installed; No matching distribution found for x==9")


def test_only_all_is_a_hundred_percent() -> None:
    shares = [1.0, 0.99999, 0.961, 1e-9, 0.0, float("nan")]
    assert [text.share_text(share) for share in shares] == [
        "100 %",
        "99.9 %",
        "96.1 %",
        "0.1 %",
        "0 %",
        "--",
    ]


def test_facts_are_stored_one_after_the_other(comparisons: list[Comparison], tmp_path: Path) -> None:
    request = UpgradeRequest("toy", "1.0", "2.0", Path(), tmp_path, criterion=Criterion(MEDIAN))
    seen = []

    def coming() -> object:
        for comparison in comparisons:
            yield comparison
            (folder,) = (tmp_path / "upgrade").iterdir()
            seen.append(len(json.loads((folder / "upgrade.json").read_text())["comparisons"]))

    stored = files.store(request, coming())  # type: ignore[arg-type]
    assert seen == [1, 2, 3]
    facts = json.loads((stored.folder / "upgrade.json").read_text())
    assert [comparison["decision"] for comparison in facts["comparisons"]] == ["same", "slower", "blocked"]
    assert facts["comparisons"][2]["findings"]["bit_exact"] is None
    with np.load(stored.folder / "pi5-int8.npz") as arrays:
        assert arrays["new/output:0"].shape == (2, 3)
        assert arrays["old/3/kernel1_ns"].shape == (100,)


def test_facts_are_stored_when_it_is_interrupted(comparisons: list[Comparison], tmp_path: Path) -> None:
    def coming() -> Iterator[Comparison]:
        yield comparisons[0]
        raise KeyboardInterrupt

    request = UpgradeRequest(
        "onnxruntime", "1.0", "2.0", tmp_path, tmp_path / "results", criterion=Criterion(MEDIAN)
    )
    with pytest.raises(KeyboardInterrupt, match=r"what was compared is stored in .*upgrade"):
        files.store(request, coming())
    (facts,) = (tmp_path / "results" / "upgrade").glob("*/upgrade.json")
    assert len(json.loads(facts.read_text())["comparisons"]) == 1
