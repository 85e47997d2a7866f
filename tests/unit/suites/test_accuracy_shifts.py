"""Rows over shifted copies together, and the gates of ``[gates]`` on planted variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import tasks
from harness.config.gates import Limited, LossLimits
from harness.core.artifact import Artifact, File
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement, Row
from harness.core.suite import SummaryContext
from harness.core.verdict import Gate, State, Verdict
from harness.gates.judge import Subject, judge
from harness.stats.corruption import Errors, corruption_errors
from suites.accuracy.summarise import AccuracySuite

N, CLASSES = 2000, 10
FAMILIES = tuple(f"family{index}" for index in range(6))
SEVERITIES = (1, 5)
LABELS = np.arange(N) % CLASSES
Answers = Callable[[str, int], NDArray[np.int64]]


def answered(answers: NDArray[np.int64]) -> Samples:
    scores = np.eye(CLASSES, dtype=np.float32)[answers] * 4
    return Samples({"output:0": scores}, {"outputs": [["y", [CLASSES]]], "input_sha256": "d"})


def reference(case: str, severity: int) -> NDArray[np.int64]:
    """5 % wrong, and 2 % more a severity: the same samples under every family."""
    wrong = np.random.default_rng(1).random(N) < 0.05 + 0.02 * severity
    return np.where(wrong, (LABELS + 1) % CLASSES, LABELS)


def healthy(case: str, severity: int) -> NDArray[np.int64]:
    """1 % of the answers of the reference are others, as likely for the better as for the worse."""
    base = reference(case, severity)
    rng = np.random.default_rng(sum(map(ord, case)) + severity)
    right, pick = base == LABELS, rng.random(N)
    harmed = right & (pick < 0.005)
    healed = ~right & (pick < 0.005 * right.sum() / max(1, (~right).sum()))
    return np.where(harmed, (LABELS + 3) % CLASSES, np.where(healed, LABELS, base))


def one_family(case: str, severity: int) -> NDArray[np.int64]:
    """Another 3 % of all answers are lost, under one family alone."""
    answers = healthy(case, severity)
    if case != FAMILIES[5]:
        return answers
    places = np.flatnonzero(answers == LABELS)[: round(0.03 * N)]
    answers[places] = (LABELS[places] + 2) % CLASSES
    return answers


def one_class(case: str, severity: int) -> NDArray[np.int64]:
    """Another 10 % of the answers to class 7 are lost."""
    answers = healthy(case, severity)
    places = np.flatnonzero((answers == LABELS) & (LABELS == 7))[: round(0.1 * N / CLASSES)]
    answers[places] = 2
    return answers


def measured(variant: Answers, cells: Sequence[tuple[str, int]] | None = None, n: int = N) -> list[Row]:
    """The rows of a variant, those over several cases last."""
    suite, rows, results = AccuracySuite(), [], []
    if cells is None:
        cells = [("clean", 0), *((family, severity) for family in FAMILIES for severity in SEVERITIES)]
    context = SummaryContext(
        artifact=Artifact("int8", "onnx", (File("m", "0", 1),), Path()), options=Options(),
        task="classification", labels=LABELS,
        reference=lambda variant, case, severity: answered(reference(case, severity)),
        emulated=False, settings={},
    )  # fmt: skip
    for name, severity in cells:
        params = {"reference": False, "input_sha256": "d"}
        case = Case(name, severity=severity, setting="deploy", samples=n, params=params)
        job = Job("cpu", "onnxruntime", "int8", "accuracy", case)
        result = JobResult(job.key, Status.OK, samples=answered(variant(name, severity)[:n]))
        results.append((job, result))
        rows += [Row(job.key, made) for made in suite.summarise(job, result, context)]
    return [*rows, *(Row(key, made) for key, made in suite.together(results, rows, context))]


def find(rows: Sequence[Row], metric: str, case: str) -> Measurement:
    (row,) = [one for one in rows if (one.measurement.metric, one.case) == (metric, case)]
    assert row.severity == 0
    return row.measurement


def limits(**keys: str) -> list[Gate]:
    return list(LossLimits(**keys).to_gates(Limited(tasks.on_host("classification"), "accuracy", (), True)))


def verdicts(rows: Sequence[Row]) -> dict[str, Verdict]:
    gates = limits(max_loss="2 pt", max_loss_mean="1.5 pt", max_loss_worst="1.5 pt")
    judged = judge(rows, gates, [Subject("cpu", "onnxruntime", "int8")]).verdicts
    return {verdict.gate: verdict for verdict in judged}


def test_a_healthy_variant_passes_all_limits() -> None:
    gates = limits(max_loss="2 pt", max_loss_mean="1.5 pt", max_loss_worst="6 pt")
    judged = judge(measured(healthy), gates, [Subject("cpu", "onnxruntime", "int8")]).verdicts
    assert [(verdict.gate, verdict.state) for verdict in judged] == [
        ("max_loss", State.PASS), ("max_loss_mean", State.PASS), ("max_loss_worst, family", State.PASS),
        ("max_loss_worst, class", State.PASS),
    ]  # fmt: skip


def test_what_is_lost_under_one_family_fails_the_worst_by_name_and_not_the_mean() -> None:
    judged = verdicts(measured(one_family))
    assert judged["max_loss"].state is State.PASS
    assert judged["max_loss_mean"].state is State.PASS
    worst = judged["max_loss_worst, family"]
    assert worst.state is State.FAIL
    assert f"{FAMILIES[5]} lost" in worst.sentence
    assert "the worst of 6" in worst.sentence


def test_what_is_lost_of_one_class_fails_the_worst_by_name_and_not_the_mean() -> None:
    judged = verdicts(measured(one_class))
    assert judged["max_loss"].state is State.PASS
    assert judged["max_loss_mean"].state is State.PASS
    assert judged["max_loss_worst, family"].state is not State.FAIL
    worst = judged["max_loss_worst, class"]
    assert worst.state is State.FAIL
    assert "class 7 lost" in worst.sentence


def test_ce_and_the_extra_loss_are_those_of_the_answers() -> None:
    rows = measured(one_family)
    cells = {
        (case, severity): ((one_family(case, severity) != LABELS), (reference(case, severity) != LABELS))
        for case in ("clean", *FAMILIES) for severity in ((0,) if case == "clean" else SEVERITIES)
    }  # fmt: skip
    ratios = []
    for family in FAMILIES:
        mine, theirs = (np.stack([cells[family, s][side] for s in SEVERITIES], 1) for side in (0, 1))
        ratios.append(mine.sum() / theirs.sum())
        error = find(rows, "corruption_error", family)
        assert (error.value, error.unit, error.n, error.reference) == (
            pytest.approx(ratios[-1]), "1", N, "float32@host"
        )  # fmt: skip
        assert error.reason == "severities 1, 5"
        clean, base = cells["clean", 0]
        extra = 100 * ((mine.mean() - clean.mean()) - (theirs.mean() - base.mean()))
        lost = find(rows, "extra_loss", family)
        assert (lost.value, lost.unit) == (pytest.approx(extra), "pt")
        assert lost.per_sample is not None
        assert lost.per_sample.mean() == pytest.approx(extra)
    expected = corruption_errors([
        Errors(*(np.mean([cells[family, s][side] for s in SEVERITIES], axis=0) for side in (0, 1)))
        for family in FAMILIES
    ]).mean  # fmt: skip
    assert expected is not None
    mean = find(rows, "mean_corruption_error", "shifts")
    assert mean.value == pytest.approx(np.mean(ratios))
    assert (mean.ci_low, mean.ci_high) == (expected.low, expected.high)
    assert find(rows, "extra_loss", FAMILIES[5]).ci_low > 1.5
    assert find(rows, "extra_loss", FAMILIES[0]).ci_low < 0
    mine, theirs = (np.mean([cells[FAMILIES[5], s][side] for s in SEVERITIES]) for side in (0, 1))
    assert find(rows, "worst_family_loss", "shifts").value == pytest.approx(100 * (mine - theirs))


def test_a_gate_takes_the_worst_extra_loss_of_samples_that_changed_twice() -> None:
    """A sample that clean data win and a shift loses counts 200 points: no reach of 100 refuses it."""

    def twice(case: str, severity: int) -> NDArray[np.int64]:
        answers = reference(case, severity)
        place = np.flatnonzero(reference("clean", 0) != LABELS)[0]
        answers[place] = LABELS[place] if case == "clean" else 0
        first = np.flatnonzero(reference("fog", 5) == LABELS)[0]
        answers[first] = LABELS[first] if case == "clean" else (LABELS[first] + 1) % CLASSES
        return answers

    rows = measured(twice)
    for combine in ("worst", "mean"):
        gate = Gate("g", "accuracy", "extra_loss", maximum=5.0, combine=combine)
        (verdict,) = judge(rows, [gate], [Subject("cpu", "onnxruntime", "int8")]).verdicts
        assert verdict.state is State.PASS


def test_a_target_with_few_samples_is_compared_on_them_and_without_shifts_there_are_no_rows() -> None:
    rows = measured(healthy, n=200)
    assert find(rows, "mean_corruption_error", "shifts").n == 200
    alone = measured(healthy, [("clean", 0)])
    assert {row.case for row in alone} == {row.case for row in alone if not row.case.startswith("family")}
    assert not any(row.case == "shifts" for row in alone)
    without_clean = measured(healthy, [("fog", 1)])
    assert not any(row.measurement.metric == "extra_loss" for row in without_clean)
    assert find(without_clean, "corruption_error", "fog").reason == "severities 1"


def test_a_family_without_errors_of_the_reference_is_skipped_and_named() -> None:
    rows = measured(reference)
    assert find(rows, "corruption_error", FAMILIES[0]).value == 1
    right = [replace(row, measurement=without_errors(row)) for row in rows if row.case != "shifts"]
    suite = AccuracySuite()
    cases = [
        Case(row.key.case, severity=row.key.severity, setting="deploy", params={"reference": False})
        for row in right
    ]
    jobs = [Job("cpu", "onnxruntime", "int8", "accuracy", case) for case in cases]
    context = SummaryContext(
        artifact=Artifact("int8", "onnx", (), Path()), options=Options(), task="classification", labels=None,
        reference=lambda *_: None, emulated=False, settings={},
    )  # fmt: skip
    made = suite.together([(job, JobResult(job.key, Status.OK)) for job in jobs], right, context)
    by_metric = {(one.metric, one.case): one for _, one in made}
    assert by_metric["corruption_error", FAMILIES[0]].status is Status.SKIPPED
    assert (
        f"without {FAMILIES[0]}, where the reference" in by_metric["mean_corruption_error", "shifts"].reason
    )


def without_errors(row: Row) -> Measurement:
    """The row of answers that are all right, under the first family."""
    m = row.measurement
    if row.key.case != FAMILIES[0] or m.metric not in ("accuracy", "accuracy_loss"):
        return m
    return replace(m, per_sample=np.full(N, 1.0 if m.metric == "accuracy" else 0.0))


def test_a_mistake_has_the_loss_against_clean_data_and_no_row_that_a_gate_on_losses_sees() -> None:
    params = {"reference": False, "mistake": True, "input_sha256": "d"}
    case = Case("rotated", severity=1, samples=N, params=params)
    job = Job("cpu", "onnxruntime", "float32", "accuracy", case)
    wrong = answered((LABELS + 1) % CLASSES)
    context = SummaryContext(
        artifact=Artifact("float32", "onnx", (File("m", "0", 1),), Path()), options=Options(),
        task="classification", labels=LABELS, emulated=False, settings={},
        reference=lambda variant, case, severity: answered(LABELS) if case == "clean" else None,
    )  # fmt: skip
    rows = AccuracySuite().summarise(job, JobResult(job.key, Status.OK, samples=wrong), context)
    loss, digest = rows
    assert (loss.metric, loss.unit, loss.value, loss.reference) == (
        "mistake_accuracy_loss", "pt", 100.0, "float32@host",
    )  # fmt: skip
    assert digest.metric == "input_digest_equal"
    made = [Row(job.key, row) for row in rows]
    gate = Gate("g", "accuracy", "accuracy_loss", maximum=1.0, severities=(1, 2, 3, 4, 5))
    assert [row for row in made if gate.looks_at(row)] == []
