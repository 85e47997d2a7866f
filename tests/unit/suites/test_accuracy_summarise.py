from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.artifact import Artifact, File, Quantization
from harness.core.errors import DataError
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement
from harness.core.reductions import hash_rows, limits
from harness.core.suite import SummaryContext
from harness.core.task import Block
from harness.stats import accuracy, intervals, paired
from suites.accuracy.summarise import AccuracySuite
from suites.accuracy.tasks.classification.task import Classification

N, CLASSES = 200, 10
SCALE = 0.125
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, CLASSES, N)
FLOAT, OWN = "float32@host", "int8@host"


def logits(answers: NDArray[Any]) -> NDArray[Any]:
    """Whole steps of the quantizer, highest at the answer."""
    y = RNG.integers(-40, 0, (len(answers), CLASSES)).astype(np.float32)
    y[np.arange(len(answers)), answers] = RNG.integers(8, 40, len(answers))
    return y * np.float32(SCALE)


def samples(
    *outputs: NDArray[Any],
    keep: str = "outputs",
    names: tuple[str, ...] = (),
    sha: str = "d",
    scored: int = 0,
) -> Samples:
    """What the device keeps of outputs; reduced, the one at `scored` as scores of classes."""
    arrays: dict[str, NDArray[Any]] = {}
    for i, y in enumerate(outputs):
        stored = {"output": y} if keep == "outputs" else {**limits(y), "row_hash": hash_rows(y)}
        arrays |= {f"{name}:{i}": array for name, array in stored.items()}
    if keep == "reduced":
        task, block = Classification(), Block({"y": outputs[scored]})
        reduced = task.reduce(task.reading("y"), block)
        arrays |= {f"answer:{name}": array for name, array in reduced.items()}
    named = [[names[i] if names else f"y{i}", list(y.shape[1:])] for i, y in enumerate(outputs)]
    return Samples(arrays, {"outputs": named, "input_sha256": sha})


def rows(
    measured: Samples,
    host: dict[str, Samples] | None = None,
    *,
    labels: NDArray[Any] | None = LABELS,
    task: str = "classification",
    setting: str = "deploy",
    variant: str = "int8",
    reference: bool = False,
    steps: dict[str, Quantization] | None = None,
    name: str = "",
    bounds: dict[str, float] | None = None,
    same_runtime: str = "",
) -> dict[tuple[str, str], Measurement]:
    case = Case(
        name or "clean", setting=setting, samples=N, params={"reference": reference, "input_sha256": "d"}
    )
    job = Job("cpu", "onnxruntime", variant, "accuracy", case)
    context = SummaryContext(
        artifact=Artifact(variant, "onnx", (File("m", "0", 1),), Path(), output_quantization=steps or {}),
        options=Options(),
        task=task,
        labels=labels,
        reference=lambda name, case_name, severity: (host or {}).get(name),
        emulated=False,
        settings={},
        rounding=bounds or {},
        no_rounding="not derived",
        same_runtime=same_runtime,
    )
    metrics = AccuracySuite().summarise(job, JobResult(job.key, Status.OK, samples=measured), context)
    by_key = {(row.metric, row.reference, row.case): row for row in metrics}
    assert len(by_key) == len(metrics), "a row's key is its own"
    return {
        (metric + case.removeprefix("clean"), reference): row
        for (metric, reference, case), row in by_key.items()
    }


def planted(harmful: int, beneficial: int, wrong: int = 20) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores of a reference with `wrong` wrong answers, and of a variant with flips both ways."""
    answers = LABELS.copy()
    answers[:wrong] = (answers[:wrong] + 1) % CLASSES
    flipped = answers.copy()
    flipped[:beneficial] = LABELS[:beneficial]
    flipped[wrong : wrong + harmful] = (LABELS[wrong : wrong + harmful] + 3) % CLASSES
    return logits(answers), logits(flipped)


def test_planted_flips_are_the_loss() -> None:
    base, scores = planted(harmful=9, beneficial=4)
    metrics = rows(samples(scores), {"float32": samples(base)})
    expected = paired.tango(4, 9, N)
    loss = metrics["accuracy_loss", FLOAT]
    assert (loss.value, loss.ci_low, loss.ci_high) == (2.5, 100 * expected.low, 100 * expected.high)
    assert (loss.unit, loss.n, loss.status) == ("pt", N, Status.OK)
    assert loss.per_sample is not None
    np.testing.assert_array_equal(loss.per_sample, [-100] * 4 + [0] * 16 + [100] * 9 + [0] * 171)
    assert metrics["flips_harmful", FLOAT].value == 9 / N
    assert metrics["flips_beneficial", FLOAT].value == 4 / N
    share = metrics["accuracy", ""]
    wilson = intervals.wilson(175, N)
    assert (share.value, share.ci_low, share.ci_high) == (wilson.value, wilson.low, wilson.high)
    assert metrics["agreement", FLOAT].value == (N - 13) / N
    assert metrics["input_digest_equal", ""].value == 1


def test_the_loss_of_one_class_is_not_hidden_by_the_others() -> None:
    base = logits(LABELS.copy())
    scores = base.copy()
    lost = np.flatnonzero(LABELS == 3)
    scores[lost] = logits(np.full(N, 5))[lost]
    metrics = rows(samples(scores), {"float32": samples(base)})
    assert metrics["class_accuracy_loss/3", FLOAT].value == 100
    expected = paired.tango(0, len(lost), len(lost))
    assert metrics["class_accuracy_loss/3", FLOAT].ci_low == 100 * expected.low
    assert metrics["class_accuracy_loss/3", FLOAT].n == len(lost)
    others = [row.value for (metric, _), row in metrics.items() if metric.startswith("class_accuracy_loss")]
    assert sorted(others) == [0] * (CLASSES - 1) + [100]
    worst = metrics["worst_class_accuracy_loss", FLOAT]
    sizes = np.bincount(LABELS, minlength=CLASSES)
    if sizes[3] >= 20:
        assert (worst.value, worst.n) == (100, sizes[3])
        joint = paired.tango(0, len(lost), len(lost), alpha=0.05 / (sizes >= 20).sum())
        assert worst.ci_low == 100 * joint.low, "at the level of all classes together"
        assert worst.reason.startswith("class 3 lost 100 pt, the worst of")


def test_distances_are_those_of_the_outputs() -> None:
    base, scores = planted(harmful=9, beneficial=4)
    metrics = rows(samples(scores), {"float32": samples(base)})
    assert metrics["sqnr", FLOAT].value == accuracy.sqnr_db(base, scores)
    assert metrics["max_abs_difference", FLOAT].value == np.abs(base - scores).max()
    assert metrics["ece", ""].value == pytest.approx(accuracy.expected_calibration_error(scores, LABELS))


def test_ece_takes_the_float_models_word_for_probabilities() -> None:
    base, scores = (np.exp(y) / np.exp(y).sum(axis=1, keepdims=True) for y in planted(9, 4))
    expected = accuracy.expected_calibration_error(scores * 0.9, LABELS, probabilities=True)
    metrics = rows(samples(scores * 0.9), {"float32": samples(base)})
    assert metrics["ece", ""].value == pytest.approx(expected)


def test_outputs_without_a_number_are_wrong_answers() -> None:
    base = logits(np.zeros(N, np.int64))  # argmax calls a row of NaN class 0
    scores = base.copy()
    scores[:30] = np.nan
    scores[30:40, 7] = np.nan
    metrics = rows(samples(scores), {"float32": samples(base)}, labels=np.zeros(N, np.int64))
    assert metrics["accuracy", ""].value == 0.8
    assert metrics["accuracy_loss", FLOAT].value == 20
    assert metrics["agreement", FLOAT].value == 0.8
    assert metrics["sqnr", FLOAT].value == -math.inf
    assert metrics["max_abs_difference", FLOAT].value == math.inf
    assert metrics["ece", ""].value == pytest.approx(
        accuracy.expected_calibration_error(scores, np.zeros(N, np.int64))
    )
    # Two that fail on the same sample do not agree on an answer.
    assert rows(samples(scores), {"float32": samples(scores)})["agreement", FLOAT].value == 0.8


def test_planted_offsets_are_counted_in_steps_of_the_quantizer() -> None:
    base = logits(LABELS)
    scores = base.copy()
    scores[:10, 2] += 3 * np.float32(SCALE)
    scores[50:60, 5] -= 1 * np.float32(SCALE)
    host = {"float32": samples(base), "int8": samples(base)}
    metrics = rows(samples(scores), host, setting="parity", steps={"y0": Quantization(SCALE, 0)})
    exact = metrics["bit_exact", OWN]
    assert exact.value == 0.9
    assert exact.ci_low == intervals.wilson(180, N).low
    assert (metrics["max_lsb", OWN].value, metrics["max_lsb", OWN].unit) == (3, "LSB")
    assert metrics["mean_lsb", OWN].value == pytest.approx((30 + 10) / (N * CLASSES))


def test_steps_are_found_by_name_and_where_outputs_were_renamed_by_position() -> None:
    base, other = logits(LABELS), logits(LABELS)
    pair = samples(base, other)
    steps = {"y1": Quantization(SCALE / 2, 0), "y0": Quantization(SCALE, 0)}
    scores = samples(base, other + np.float32(SCALE))
    metrics = rows(scores, {"float32": pair, "int8": pair}, setting="parity", steps=steps)
    assert metrics["max_lsb", OWN].value == 2
    renamed = samples(base, other + np.float32(SCALE), names=("a", "b"))
    metrics = rows(
        renamed, {"float32": pair, "int8": pair}, setting="parity", steps=dict(reversed(steps.items()))
    )
    assert metrics["max_lsb", OWN].value == 2
    metrics = rows(
        renamed, {"float32": pair, "int8": pair}, setting="parity", steps={"y": Quantization(SCALE, 0)}
    )
    assert metrics["max_lsb", OWN].status is Status.ERROR


def test_outputs_in_another_order_are_paired_by_name() -> None:
    base, scores = planted(9, 4)
    other = RNG.normal(size=(N, 3)).astype(np.float32)
    host = {"float32": samples(base, other, names=("scores", "features"))}
    metrics = rows(samples(other, scores, names=("features", "scores")), host)
    assert metrics["accuracy", ""].value == 175 / N
    assert metrics["accuracy_loss", FLOAT].value == 2.5
    assert metrics["sqnr", FLOAT].value == accuracy.sqnr_db(base, scores), "the worst output counts"


def test_fewer_samples_are_compared_on_the_common_prefix() -> None:
    base, scores = planted(harmful=9, beneficial=4)
    metrics = rows(samples(scores[:25]), {"float32": samples(base)})
    loss = metrics["accuracy_loss", FLOAT]
    expected = paired.tango(4, 5, 25)
    assert (loss.n, loss.value, loss.ci_high) == (25, 4.0, 100 * expected.high)
    assert metrics["sqnr", FLOAT].value == accuracy.sqnr_db(base[:25], scores[:25])
    # The reference may be the shorter one; the absolute figure then still is over all that was run.
    metrics = rows(samples(scores), {"float32": samples(base[:25])})
    assert (metrics["accuracy_loss", FLOAT].n, metrics["accuracy", ""].n) == (25, N)


@pytest.mark.parametrize("keep", [("reduced", "reduced"), ("outputs", "reduced"), ("reduced", "outputs")])
def test_reduced_gives_the_same_figures_where_it_gives_any(keep: tuple[str, str]) -> None:
    base, scores = planted(harmful=9, beneficial=4)
    scores[150] = np.nan
    steps = {"y0": Quantization(SCALE, 0)}

    def all_rows(own_keep: str, base_keep: str) -> dict[tuple[str, str], Measurement]:
        host = {"float32": samples(base, keep=base_keep), "int8": samples(base, keep=base_keep)}
        return rows(samples(scores, keep=own_keep), host, setting="parity", steps=steps)

    whole, reduced = all_rows("outputs", "outputs"), all_rows(*keep)
    assert whole.keys() == reduced.keys()
    lost = {"sqnr", "max_abs_difference", "max_lsb", "mean_lsb"}
    for key, row in reduced.items():
        if key[0] in lost:
            assert row.status is Status.SKIPPED
            assert "reduced" in row.reason
        else:
            assert repr(row) == repr(whole[key]), "NaN is unequal to itself, but is written the same"


def test_bit_exact_rows_exist_for_clean_parity_outputs_only() -> None:
    base, scores = planted(1, 1)
    host = {"float32": samples(base), "int8": samples(scores)}
    assert rows(samples(scores), host, setting="parity")["bit_exact", OWN].value == 1
    assert ("bit_exact", OWN) not in rows(samples(scores), host)
    as_reference = rows(samples(scores), host, setting="parity", reference=True)
    assert ("bit_exact", OWN) not in as_reference, "it would be compared with itself"
    assert ("accuracy_loss", FLOAT) in as_reference


def test_the_float_reference_is_not_compared_with_itself() -> None:
    base, _ = planted(1, 1)
    metrics = rows(
        samples(base), {"float32": samples(base)}, setting="parity", variant="float32", reference=True
    )
    absolute = {metric for metric, _ in metrics if not metric.startswith("bin_")}
    assert absolute == {"accuracy", "ece", "ece_equal_mass", "nll", "brier", "input_digest_equal"}


def test_without_labels_there_is_agreement_and_the_reason() -> None:
    base, scores = planted(9, 4)
    metrics = rows(samples(scores), {"float32": samples(base)}, labels=None)
    assert metrics["agreement", FLOAT].value == (N - 13) / N
    assert metrics["sqnr", FLOAT].status is Status.OK
    for key in [("accuracy", ""), ("accuracy_loss", FLOAT), ("flips_harmful", FLOAT)]:
        assert metrics[key].status is Status.SKIPPED
        assert "no labels" in metrics[key].reason
        assert math.isnan(metrics[key].value)


def test_without_a_reference_the_relative_rows_say_so() -> None:
    _, scores = planted(9, 4)
    metrics = rows(samples(scores), setting="parity")
    assert metrics["accuracy", ""].value == 175 / N
    for key in [("accuracy_loss", FLOAT), ("agreement", FLOAT), ("sqnr", FLOAT), ("bit_exact", OWN)]:
        assert metrics[key].status is Status.SKIPPED
        assert key[1] in metrics[key].reason


def test_other_inputs_than_the_hosts_make_every_figure_unbelievable() -> None:
    base, scores = planted(9, 4)
    metrics = rows(samples(scores, sha="other"), {"float32": samples(base)})
    digest = metrics.pop(("input_digest_equal", ""))
    assert (digest.value, digest.status) == (0, Status.OK)
    assert {row.status for row in metrics.values()} == {Status.INVALID}


@pytest.mark.parametrize(
    ("scores", "labels", "metric", "text"),
    [
        (np.zeros((N, 4, 4), np.float32), LABELS, ("accuracy_loss", FLOAT), "shape"),
        (np.zeros((N, CLASSES), np.float32), LABELS + 1, ("accuracy", ""), "labels run from"),
        (np.zeros((N, CLASSES), np.float32), LABELS - 1, ("accuracy", ""), "labels run from -1"),
        (np.zeros((N, CLASSES), np.float32), LABELS[:9], ("accuracy", ""), "labels of shape"),
    ],
)
def test_what_does_not_fit_is_an_error_and_not_a_figure(
    scores: NDArray[Any], labels: NDArray[Any], metric: tuple[str, str], text: str
) -> None:
    row = rows(samples(scores), {"float32": samples(logits(LABELS))}, labels=labels)[metric]
    assert row.status is Status.ERROR
    assert text in row.reason
    assert math.isnan(row.value)


def test_a_model_without_classes_has_no_accuracy() -> None:
    y = RNG.normal(size=(N, 1)).astype(np.float32)
    metrics = rows(samples(y), {"float32": samples(y)}, labels=np.zeros(N, np.int64))
    assert metrics["accuracy", ""].status is Status.ERROR
    assert metrics["agreement", FLOAT].status is Status.ERROR
    assert metrics["sqnr", FLOAT].value == math.inf


TARGETS = RNG.normal(size=(N, 2))


def test_regression_figures_are_numpys() -> None:
    base = (TARGETS + RNG.normal(size=TARGETS.shape) * 0.1).astype(np.float32)
    scores = (base + RNG.normal(size=TARGETS.shape) * 0.05).astype(np.float32)
    metrics = rows(samples(scores), {"float32": samples(base)}, labels=TARGETS, task="regression")
    error = scores.astype(np.float64) - TARGETS
    assert metrics["mae", ""].value == pytest.approx(np.abs(error).mean())
    assert metrics["rmse", ""].value == pytest.approx(math.sqrt(np.square(error).mean()))
    spread = np.square(TARGETS - TARGETS.mean(axis=0)).mean()
    assert metrics["r2", ""].value == pytest.approx(1 - np.square(error).mean() / spread)
    reference = np.abs(base.astype(np.float64) - TARGETS).mean()
    increase = metrics["error_increase", FLOAT]
    assert increase.value == pytest.approx(np.abs(error).mean() / reference - 1)
    for key in [("mae", ""), ("rmse", ""), ("r2", ""), ("error_increase", FLOAT)]:
        assert metrics[key].ci_low < metrics[key].value < metrics[key].ci_high
    assert increase.per_sample is not None
    assert increase.per_sample.mean() == pytest.approx(increase.value)
    assert ("agreement", FLOAT) not in metrics


def test_a_regression_that_gives_no_number_has_no_bound() -> None:
    base = (TARGETS + 0.1).astype(np.float32)
    scores = base.copy()
    scores[3, 1] = np.nan
    metrics = rows(samples(scores), {"float32": samples(base)}, labels=TARGETS, task="regression")
    for key in [("mae", ""), ("rmse", ""), ("error_increase", FLOAT)]:
        assert metrics[key].ci_low == metrics[key].value == math.inf
    assert metrics["r2", ""].value == -math.inf


def test_a_regression_without_error_or_spread_has_nothing_to_share() -> None:
    constant = np.full((N, 2), 2.0)
    exact = samples(constant.astype(np.float32))
    metrics = rows(exact, {"float32": exact}, labels=constant, task="regression")
    assert metrics["mae", ""].value == 0
    assert metrics["r2", ""].status is Status.SKIPPED
    assert metrics["error_increase", FLOAT].status is Status.ERROR
    reduced = replace(samples(constant.astype(np.float32), keep="reduced"))
    assert rows(reduced, labels=constant, task="regression")["mae", ""].status is Status.SKIPPED


@pytest.mark.parametrize("keep", ["outputs", "reduced"])
def test_two_devices_agree_where_the_arrays_do_over_the_samples_that_both_ran(keep: str) -> None:
    one = logits(LABELS)
    other = one.copy()
    other[:7] = np.roll(other[:7], 1, axis=1)  # another class
    other[7:30, 0] -= SCALE  # another score, as low as before
    other[30] = np.nan
    suite, few = AccuracySuite(), N - 20
    read = [suite.answers(samples(y, keep=keep), "classification") for y in (one, other[:few])]
    same = suite.alike(*read, "classification")
    top = np.argmax(one[:few], axis=1) == np.argmax(np.nan_to_num(other[:few], nan=-1e9), axis=1)
    top[30] = False
    assert same["top-1"].tolist() == top.tolist()
    assert same["bits"].tolist() == (one[:few] == other[:few]).all(axis=1).tolist()
    assert "top-1" not in suite.alike(*read, "regression")


def test_no_answer_agrees_with_no_answer_in_bits_alone() -> None:
    suite = AccuracySuite()
    read = suite.answers(samples(np.full((3, CLASSES), np.nan, np.float32)), "classification")
    same = suite.alike(read, read, "classification")
    assert (same["bits"].all(), same["top-1"].any()) == (True, False)


def test_devices_whose_outputs_have_other_shapes_cannot_agree() -> None:
    suite = AccuracySuite()
    one, other = (
        suite.answers(samples(np.zeros((3, size), np.float32)), "classification") for size in (4, 5)
    )
    with pytest.raises(DataError, match="outputs of shapes"):
        suite.alike(one, other, "classification")
