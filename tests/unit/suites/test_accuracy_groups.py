"""Rows by group and window, from the outputs of the clean case; the interval of the worst one is honest."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from harness import tasks
from harness.core.artifact import Artifact, File
from harness.core.cause import Cause
from harness.core.groups import Groups
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement
from harness.core.suite import SummaryContext
from harness.stats import intervals, paired
from harness.stats.sequences import mean_over_sequences
from suites.accuracy import groups as by_group
from suites.accuracy.summarise import AccuracySuite

N, K, FLOAT = 240, 3, "float32@host"
SITE = np.arange(N) % 3
SITES = Groups("site", ("A", "B", "C"), SITE)
DAYS = Groups("day", ("1..2", "3..9"), (np.arange(N) >= N // 2).astype(np.int64), is_time=True)
LABELS = np.arange(N) % K


def samples(values: NDArray[Any]) -> Samples:
    described = {"outputs": [["y", list(values.shape[1:])]], "input_sha256": "d"}
    return Samples({"output:0": values}, described)


def scores(wrong: Any) -> NDArray[np.float32]:
    """Scores that are highest at the label, but at the next class for the samples `wrong`."""
    answers = LABELS.copy()
    answers[wrong] = (answers[wrong] + 1) % K
    return np.eye(K, dtype=np.float32)[answers]


def measured(
    variant: NDArray[Any],
    base: NDArray[Any],
    groups: tuple[Groups, ...] = (SITES,),
    *,
    labels: NDArray[Any] | None = LABELS,
    task: str = "classification",
    setting: str = "deploy",
    name: str = "clean",
    digest: str = "d",
    sequences: list[int] | None = None,
    **settings: Any,
) -> dict[tuple[str, str], Measurement]:
    params: dict[str, Any] = {"reference": False, "input_sha256": digest}
    params |= {} if sequences is None else {"sequences": sequences}
    case = Case(name, setting=setting, samples=N, params=params)
    job = Job("cpu", "onnxruntime", "int8", "accuracy", case)
    context = SummaryContext(
        artifact=Artifact("int8", "onnx", (File("m", "0", 1),), Path()), options=Options(), task=task,
        labels=labels, reference=lambda *_: samples(base), emulated=False, settings=settings, groups=groups,
    )  # fmt: skip
    rows = AccuracySuite().summarise(job, JobResult(job.key, Status.OK, samples=samples(variant)), context)
    return {
        (row.metric, row.case or name): row
        for row in rows
        if "group_" in row.metric or "window_" in row.metric
    }


def test_the_loss_of_each_group_is_that_of_its_own_pairs() -> None:
    lost = np.flatnonzero(SITE == 1)[:12]
    won = np.flatnonzero(SITE == 2)[:3]
    rows = measured(scores(lost), scores(won))
    for group, (b, c) in enumerate([(0, 0), (0, 12), (3, 0)]):
        expected = paired.tango(b, c, 80)
        row = rows["group_accuracy_loss", f"clean/site={'ABC'[group]}"]
        assert (row.value, row.ci_low, row.ci_high) == tuple(
            100 * x for x in (expected.value, expected.low, expected.high)
        )
        assert (row.unit, row.n, row.reference, row.status) == ("pt", 80, FLOAT, Status.OK)
    share = rows["group_accuracy", "clean/site=B"]
    wilson = intervals.wilson(68, 80)
    assert (share.value, share.ci_low, share.ci_high) == (wilson.value, wilson.low, wilson.high)
    assert rows["group_agreement", "clean/site=C"].value == 77 / 80
    assert {name for name, _ in rows} <= set(AccuracySuite().metrics)
    assert {row.unit for row in rows.values()} == {"1", "pt"}


def test_the_worst_group_is_named_and_bounded_for_all_groups() -> None:
    rows = measured(scores(np.flatnonzero(SITE == 1)[:12]), scores([]))
    worst = rows["worst_group_accuracy_loss", "clean"]
    alone, together = paired.tango(0, 12, 80), paired.tango(0, 12, 80, alpha=0.05 / 3)
    assert (worst.value, worst.ci_low, worst.ci_high) == (15, 100 * together.low, 100 * alone.high)
    assert worst.reason == "site B lost 15 pt, the worst of 3"
    assert (worst.n, worst.reference, worst.per_sample) == (80, FLOAT, None)
    share = rows["worst_group_accuracy", "clean"]
    alone, together = intervals.wilson(68, 80), intervals.wilson(68, 80, alpha=0.05 / 3)
    assert (share.value, share.ci_low, share.ci_high) == (0.85, alone.low, together.high)
    assert share.reason == "site B has 85 % right, the worst of 3"


def test_the_bound_of_a_small_group_can_be_the_farthest() -> None:
    small = Groups("site", ("A", "B"), (np.arange(N) < 25).astype(np.int64))
    rows = measured(scores(np.arange(30, 34)), scores([]), (small,))
    worst = rows["worst_group_accuracy_loss", "clean"]
    assert worst.ci_high == 100 * paired.tango(0, 0, 25).high
    assert worst.reason == "site A lost 1.86 pt, the worst of 2; the bound is that of B (25 samples)"


def test_groups_with_too_few_samples_are_named() -> None:
    index = np.zeros(N, np.int64)
    index[:5], index[5:105] = 2, 1
    few = Groups("site", ("A", "B", "C", "D"), index)
    rows = measured(scores([0, 1, 2]), scores([]), (few,))
    row = rows["group_accuracy_loss", "clean/site=C"]
    assert (row.status, row.cause, row.value) == (Status.INVALID, Cause.TOO_FEW_SAMPLES, 60)
    assert row.reason == "5 samples, fewer than group_samples = 20"
    worst = rows["worst_group_accuracy_loss", "clean"]
    assert worst.reason.endswith(
        "; not compared, with fewer than group_samples = 20 samples: site C (5), D (0)"
    )
    assert ("group_accuracy_loss", "clean/site=D") not in rows
    assert measured(scores([0]), scores([]), (few,), group_samples=5)[
        "worst_group_accuracy_loss", "clean"
    ].reason.startswith("site C lost 20 pt, the worst of 3")
    everywhere = measured(scores([0]), scores([]), (few,), group_samples=200)
    assert everywhere["worst_group_accuracy", "clean"].status is Status.INVALID


def test_a_target_that_ran_a_part_of_the_samples_compares_those() -> None:
    rows = measured(scores([1])[:30], scores([]))
    worst = rows["worst_group_accuracy_loss", "clean"]
    assert (worst.status, worst.cause) == (Status.SKIPPED, Cause.MISSING_DATA)
    assert (
        worst.reason
        == "not compared, with fewer than group_samples = 20 samples: site A (10), B (10), C (10)"
    )
    rows = measured(scores([1])[:90], scores([]))
    assert rows["worst_group_accuracy_loss", "clean"].n == 30


def test_windows_have_rows_of_their_own() -> None:
    rows = measured(scores(np.arange(N // 2, N // 2 + 6)), scores([]), (SITES, DAYS))
    assert rows["window_accuracy_loss", "clean/day=3..9"].value == 5
    assert rows["worst_window_accuracy_loss", "clean"].reason == "day 3..9 lost 5 pt, the worst of 2"
    assert rows["worst_group_accuracy_loss", "clean"].reason == "site A lost 2.5 pt, the worst of 3"


def test_without_labels_there_is_agreement() -> None:
    rows = measured(scores(np.flatnonzero(SITE == 2)[:8]), scores([]), labels=None)
    assert rows["worst_group_agreement", "clean"].reason == "site C agrees in 90 %, the worst of 3"
    skipped = rows["worst_group_accuracy_loss", "clean"]
    assert (skipped.status, skipped.reason) == (Status.SKIPPED, "the data have no labels")


def test_a_regression_has_errors_by_group() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(N, 2))
    base = targets + rng.normal(scale=0.1, size=(N, 2))
    variant = base + np.where(SITE == 1, 0.3, 0.0)[:, None]
    rows = measured(
        variant.astype(np.float32), base.astype(np.float32), labels=targets, task="regression"
    )  # fmt: skip
    errors = np.abs(variant.astype(np.float32) - targets).mean(axis=1)
    host = np.abs(base.astype(np.float32) - targets).mean(axis=1)
    for group, name in enumerate("ABC"):
        mae, increase = (
            rows[f"group_{metric}", f"clean/site={name}"] for metric in ("mae", "error_increase")
        )
        assert mae.value == pytest.approx(errors[group == SITE].mean())
        expected = intervals.clustered_mean(errors[group == SITE])
        assert (mae.ci_low, mae.ci_high) == pytest.approx((expected.low, expected.high))
        assert increase.value == pytest.approx((errors - host)[group == SITE].mean() / host.mean())
    worst = rows["worst_group_mae", "clean"]
    part = errors[SITE == 1]
    half = stats.t.ppf(1 - 0.05 / 3, 79) * part.std(ddof=1) / math.sqrt(80)
    assert (worst.value, worst.ci_low) == pytest.approx((part.mean(), part.mean() - half))
    assert worst.reason.startswith("site B has a mean absolute error of 0.298, the worst of 3")


def test_several_labels_are_divided_by_the_share_that_is_right() -> None:
    right = np.where(SITE == 1, 0.5, 1.0)
    whole = [
        Measurement("label_accuracy", "1", 0.8, per_sample=right),
        Measurement("label_accuracy_loss", "pt", 16.0, per_sample=100 * (1 - right), reference=FLOAT),
    ]
    rows = {(row.metric, row.case): row for row in by_group.rows(whole, (SITES,), 20)}
    assert rows["group_label_accuracy", "clean/site=A"].value == 1.0
    assert rows["group_label_accuracy", "clean/site=B"].value == 0.5
    worst = rows["worst_group_label_accuracy_loss", ""]
    assert (worst.value, worst.reason) == (50.0, "site B lost 50 pt of the labels, the worst of 3")


def test_a_prediction_that_is_not_finite_is_no_good_group() -> None:
    targets = np.ones((N, 1))
    variant = np.ones((N, 1), np.float32)
    variant[5] = np.inf
    rows = measured(variant, 2 * np.ones((N, 1), np.float32), labels=targets, task="regression")
    for metric in ("worst_group_mae", "worst_group_error_increase"):
        assert (rows[metric, "clean"].value, rows[metric, "clean"].ci_high) == (math.inf, math.inf)


@pytest.mark.parametrize("other", [{"setting": "parity"}, {"name": "fog"}, {"groups": ()}])
def test_only_the_clean_case_as_it_ships_is_divided(other: dict[str, Any]) -> None:
    assert not measured(scores([1]), scores([]), **other)


def test_other_inputs_make_groups_invalid_too() -> None:
    rows = measured(scores([1]), scores([]), digest="other")
    assert {row.status for row in rows.values()} == {Status.INVALID}


def test_the_rows_of_a_whole_case_are_enough() -> None:
    """Whatever the task: what a row says of each sample is divided, and nothing else is looked at."""
    rng = np.random.default_rng(1)
    lost = 100 * rng.uniform(-0.2, 0.4, N)  # a loss in parts of a sample, as of several classes
    whole = Measurement("accuracy_loss", "pt", 1.0, reference=FLOAT, n=N, per_sample=lost)
    rows = {(row.metric, row.case): row for row in by_group.rows([whole], (SITES,), 20)}
    expected = intervals.clustered_mean(lost[SITE == 2], reach=100)
    row = rows["group_accuracy_loss", "clean/site=C"]
    assert (row.value, row.ci_low, row.ci_high) == (expected.value, expected.low, expected.high)
    assert not by_group.rows([replace(whole, metric="sqnr")], (SITES,), 20)


def test_the_interval_of_the_worst_group_holds_for_all_groups_together() -> None:
    """Ten groups lose 10 % each: the bounds may be wrong in one of twenty runs on either side."""
    rng = np.random.default_rng(7)
    k, n, truth, runs = 10, 60, 10.0, 600
    site = Groups("site", tuple(map(str, range(k))), np.repeat(np.arange(k), n))
    above = below = uncorrected = 0
    for _ in range(runs):
        per_sample = 100.0 * (rng.random(k * n) < truth / 100)
        whole = Measurement("accuracy_loss", "pt", per_sample.mean(), reference=FLOAT, per_sample=per_sample)
        rows = by_group.rows([whole], (site,), 20)
        worst = rows[-1]
        assert worst.metric == "worst_group_accuracy_loss"
        above += worst.ci_low > truth
        below += worst.ci_high < truth
        uncorrected += max(row.ci_low for row in rows[:-1]) > truth
    assert above / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert below == 0, "ten upper bounds are hardly ever all below"
    assert uncorrected / runs > 0.2, "the test can tell: without the correction it fails"
    # Where one group alone is bad, the upper bound is that of one group, and no wider than it has to be.
    one = np.where(site.index == 3, 1, 0)
    missed = 0
    for _ in range(runs):
        per_sample = 100.0 * one * (rng.random(k * n) < 0.4)
        whole = Measurement("accuracy_loss", "pt", per_sample.mean(), reference=FLOAT, per_sample=per_sample)
        missed += by_group.rows([whole], (site,), 20)[-1].ci_high < 40
    assert 0.01 < missed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_steps_of_sequences_are_not_independent_samples() -> None:
    lengths = [8] * 30
    wrong = np.flatnonzero(np.arange(N) // 8 < 3)  # three sequences are wrong as a whole
    rows = measured(scores(wrong), scores([]), (DAYS,), sequences=lengths)
    plain = measured(scores(wrong), scores([]), (DAYS,))
    index = np.repeat(np.arange(30), 8)
    part = np.zeros(N // 2)
    part[:24] = 100
    expected = mean_over_sequences(part, index[: N // 2], reach=100, lowest=-100)
    row = rows["window_accuracy_loss", "clean/day=1..2"]
    assert (row.value, row.ci_low, row.ci_high) == (20, expected.low, expected.high)
    assert row.status is Status.INVALID, "15 sequences are fewer than 20"
    assert plain["window_accuracy_loss", "clean/day=1..2"].status is Status.OK
    # Where each sequence has one step in the group, they are independent.
    steps = Groups("step", tuple("01234567"), np.arange(N) % 8)
    first = measured(scores(wrong), scores([]), (steps,), sequences=lengths)["group_accuracy", "clean/step=0"]
    wilson = intervals.wilson(27, 30)
    assert (first.ci_low, first.ci_high, first.status) == (wilson.low, wilson.high, Status.OK)


def test_the_rows_of_a_whole_case_have_intervals_over_sequences() -> None:
    lengths = [8] * 30
    wrong = np.flatnonzero(np.arange(N) // 8 < 3)
    case = Case("fog", 1, samples=N, params={"reference": False, "input_sha256": "d", "sequences": lengths})
    job = Job("cpu", "onnxruntime", "int8", "accuracy", case)
    context = SummaryContext(
        artifact=Artifact("int8", "onnx", (File("m", "0", 1),), Path()), options=Options(),
        task="classification", labels=LABELS, reference=lambda *_: samples(scores([])), emulated=False,
        settings={},
    )  # fmt: skip
    result = JobResult(job.key, Status.OK, samples=samples(scores(wrong)))
    rows = {row.metric: row for row in AccuracySuite().summarise(job, result, context)}
    right = np.where(np.arange(N) // 8 < 3, 0.0, 1.0)
    expected = mean_over_sequences(right, np.repeat(np.arange(30), 8), reach=1, lowest=0)
    assert (rows["accuracy"].ci_low, rows["accuracy"].ci_high) == (expected.low, expected.high)
    assert rows["accuracy"].ci_high > intervals.wilson(216, N).high
    assert rows["accuracy_loss"].ci_high > 100 * paired.tango(0, 24, N).high


def test_tasks_that_divide_a_metric_of_one_name_divide_the_same() -> None:
    shared: dict[str, set[object]] = {}
    for host in tasks.every_on_host().values():
        for name, quantity in host.quantities.items():
            shared.setdefault(name, set()).add((quantity, host.metrics[name]))
    assert {name for name, made in shared.items() if len(made) > 1} == set()
