from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.artifact import Artifact, File, Quantization
from harness.core.contracts import SummaryContext
from harness.core.errors import DataError
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement
from harness.stats import accuracy, intervals, paired
from suites.accuracy.measure import reduce
from suites.accuracy.summarise import AccuracySuite

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
    *outputs: NDArray[Any], keep: str = "outputs", names: tuple[str, ...] = (), sha: str = "d"
) -> Samples:
    arrays: dict[str, NDArray[Any]] = {}
    for i, y in enumerate(outputs):
        kept = {"output": y} if keep == "outputs" else reduce(y)
        arrays |= {f"{name}:{i}": array for name, array in kept.items()}
    named = [[names[i] if names else f"y{i}", list(y.shape[1:])] for i, y in enumerate(outputs)]
    return Samples(arrays, {"outputs": named, "input_sha256": sha})


def rows(
    own: Samples,
    host: dict[str, Samples] | None = None,
    *,
    labels: NDArray[Any] | None = LABELS,
    task: str = "classification",
    setting: str = "deploy",
    variant: str = "int8",
    reference: bool = False,
    steps: dict[str, Quantization] | None = None,
    name: str = "",
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
    )
    found = AccuracySuite().summarise(job, JobResult(job.key, Status.OK, samples=own), context)
    by_key = {(row.metric, row.reference, row.case): row for row in found}
    assert len(by_key) == len(found), "a row's key is its own"
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
    base, own = planted(harmful=9, beneficial=4)
    found = rows(samples(own), {"float32": samples(base)})
    known = paired.tango(4, 9, N)
    loss = found["accuracy_loss", FLOAT]
    assert (loss.value, loss.ci_low, loss.ci_high) == (2.5, 100 * known.low, 100 * known.high)
    assert (loss.unit, loss.n, loss.status) == ("pt", N, Status.OK)
    assert loss.per_sample is not None
    np.testing.assert_array_equal(loss.per_sample, [-100] * 4 + [0] * 16 + [100] * 9 + [0] * 171)
    assert found["flips_harmful", FLOAT].value == 9 / N
    assert found["flips_beneficial", FLOAT].value == 4 / N
    share = found["accuracy", ""]
    wilson = intervals.wilson(175, N)
    assert (share.value, share.ci_low, share.ci_high) == (wilson.value, wilson.low, wilson.high)
    assert found["agreement", FLOAT].value == (N - 13) / N
    assert found["input_digest_equal", ""].value == 1


def test_the_loss_of_one_class_is_not_hidden_by_the_others() -> None:
    base = logits(LABELS.copy())
    own = base.copy()
    lost = np.flatnonzero(LABELS == 3)
    own[lost] = logits(np.full(N, 5))[lost]
    found = rows(samples(own), {"float32": samples(base)})
    assert found["class_accuracy_loss/3", FLOAT].value == 100
    known = paired.tango(0, len(lost), len(lost))
    assert found["class_accuracy_loss/3", FLOAT].ci_low == 100 * known.low
    assert found["class_accuracy_loss/3", FLOAT].n == len(lost)
    others = [row.value for (metric, _), row in found.items() if metric.startswith("class_accuracy_loss")]
    assert sorted(others) == [0] * (CLASSES - 1) + [100]


def test_distances_are_those_of_the_outputs() -> None:
    base, own = planted(harmful=9, beneficial=4)
    found = rows(samples(own), {"float32": samples(base)})
    assert found["sqnr", FLOAT].value == accuracy.sqnr_db(base, own)
    assert found["max_abs_difference", FLOAT].value == np.abs(base - own).max()
    assert found["ece", ""].value == pytest.approx(accuracy.expected_calibration_error(own, LABELS))


def test_ece_takes_the_float_models_word_for_probabilities() -> None:
    base, own = (np.exp(y) / np.exp(y).sum(axis=1, keepdims=True) for y in planted(9, 4))
    known = accuracy.expected_calibration_error(own * 0.9, LABELS, probabilities=True)
    found = rows(samples(own * 0.9), {"float32": samples(base)})
    assert found["ece", ""].value == pytest.approx(known)


def test_outputs_without_a_number_are_wrong_answers() -> None:
    base = logits(np.zeros(N, np.int64))  # argmax calls a row of NaN class 0
    own = base.copy()
    own[:30] = np.nan
    own[30:40, 7] = np.nan
    found = rows(samples(own), {"float32": samples(base)}, labels=np.zeros(N, np.int64))
    assert found["accuracy", ""].value == 0.8
    assert found["accuracy_loss", FLOAT].value == 20
    assert found["agreement", FLOAT].value == 0.8
    assert found["sqnr", FLOAT].value == -math.inf
    assert found["max_abs_difference", FLOAT].value == math.inf
    assert found["ece", ""].value == pytest.approx(
        accuracy.expected_calibration_error(own, np.zeros(N, np.int64))
    )
    # Two that fail on the same sample do not agree on an answer.
    assert rows(samples(own), {"float32": samples(own)})["agreement", FLOAT].value == 0.8


def test_planted_offsets_are_counted_in_steps_of_the_quantizer() -> None:
    base = logits(LABELS)
    own = base.copy()
    own[:10, 2] += 3 * np.float32(SCALE)
    own[50:60, 5] -= 1 * np.float32(SCALE)
    host = {"float32": samples(base), "int8": samples(base)}
    found = rows(samples(own), host, setting="parity", steps={"y0": Quantization(SCALE, 0)})
    exact = found["bit_exact", OWN]
    assert exact.value == 0.9
    assert exact.ci_low == intervals.wilson(180, N).low
    assert (found["max_lsb", OWN].value, found["max_lsb", OWN].unit) == (3, "LSB")
    assert found["mean_lsb", OWN].value == pytest.approx((30 + 10) / (N * CLASSES))


def test_steps_are_found_by_name_and_where_outputs_were_renamed_by_position() -> None:
    base, other = logits(LABELS), logits(LABELS)
    pair = samples(base, other)
    steps = {"y1": Quantization(SCALE / 2, 0), "y0": Quantization(SCALE, 0)}
    own = samples(base, other + np.float32(SCALE))
    found = rows(own, {"float32": pair, "int8": pair}, setting="parity", steps=steps)
    assert found["max_lsb", OWN].value == 2
    renamed = samples(base, other + np.float32(SCALE), names=("a", "b"))
    found = rows(
        renamed, {"float32": pair, "int8": pair}, setting="parity", steps=dict(reversed(steps.items()))
    )
    assert found["max_lsb", OWN].value == 2
    found = rows(
        renamed, {"float32": pair, "int8": pair}, setting="parity", steps={"y": Quantization(SCALE, 0)}
    )
    assert found["max_lsb", OWN].status is Status.ERROR


def test_outputs_in_another_order_are_paired_by_name() -> None:
    base, own = planted(9, 4)
    other = RNG.normal(size=(N, 3)).astype(np.float32)
    host = {"float32": samples(base, other, names=("scores", "features"))}
    found = rows(samples(other, own, names=("features", "scores")), host)
    assert found["accuracy", ""].value == 175 / N
    assert found["accuracy_loss", FLOAT].value == 2.5
    assert found["sqnr", FLOAT].value == accuracy.sqnr_db(base, own), "the worst output counts"


def test_fewer_samples_are_compared_on_the_common_prefix() -> None:
    base, own = planted(harmful=9, beneficial=4)
    found = rows(samples(own[:25]), {"float32": samples(base)})
    loss = found["accuracy_loss", FLOAT]
    known = paired.tango(4, 5, 25)
    assert (loss.n, loss.value, loss.ci_high) == (25, 4.0, 100 * known.high)
    assert found["sqnr", FLOAT].value == accuracy.sqnr_db(base[:25], own[:25])
    # The reference may be the shorter one; the absolute figure then still is over all that was run.
    found = rows(samples(own), {"float32": samples(base[:25])})
    assert (found["accuracy_loss", FLOAT].n, found["accuracy", ""].n) == (25, N)


@pytest.mark.parametrize("kept", [("reduced", "reduced"), ("outputs", "reduced"), ("reduced", "outputs")])
def test_reduced_gives_the_same_figures_where_it_gives_any(kept: tuple[str, str]) -> None:
    base, own = planted(harmful=9, beneficial=4)
    own[150] = np.nan
    steps = {"y0": Quantization(SCALE, 0)}

    def all_rows(own_keep: str, base_keep: str) -> dict[tuple[str, str], Measurement]:
        host = {"float32": samples(base, keep=base_keep), "int8": samples(base, keep=base_keep)}
        return rows(samples(own, keep=own_keep), host, setting="parity", steps=steps)

    whole, reduced = all_rows("outputs", "outputs"), all_rows(*kept)
    assert whole.keys() == reduced.keys()
    lost = {"sqnr", "max_abs_difference", "max_lsb", "mean_lsb"}
    for key, row in reduced.items():
        if key[0] in lost:
            assert row.status is Status.SKIPPED
            assert "reduced" in row.reason
        else:
            assert repr(row) == repr(whole[key]), "NaN is unequal to itself, but is written the same"


def test_bit_exact_rows_are_told_for_pinned_clean_outputs_only() -> None:
    base, own = planted(1, 1)
    host = {"float32": samples(base), "int8": samples(own)}
    assert rows(samples(own), host, setting="parity")["bit_exact", OWN].value == 1
    assert ("bit_exact", OWN) not in rows(samples(own), host)
    as_reference = rows(samples(own), host, setting="parity", reference=True)
    assert ("bit_exact", OWN) not in as_reference, "it would be compared with itself"
    assert ("accuracy_loss", FLOAT) in as_reference


def test_the_float_reference_is_not_compared_with_itself() -> None:
    base, _ = planted(1, 1)
    found = rows(
        samples(base), {"float32": samples(base)}, setting="parity", variant="float32", reference=True
    )
    assert {metric for metric, _ in found} == {"accuracy", "ece", "input_digest_equal"}


def test_without_labels_there_is_agreement_and_the_reason() -> None:
    base, own = planted(9, 4)
    found = rows(samples(own), {"float32": samples(base)}, labels=None)
    assert found["agreement", FLOAT].value == (N - 13) / N
    assert found["sqnr", FLOAT].status is Status.OK
    for key in [("accuracy", ""), ("accuracy_loss", FLOAT), ("flips_harmful", FLOAT)]:
        assert found[key].status is Status.SKIPPED
        assert "no labels" in found[key].reason
        assert math.isnan(found[key].value)


def test_without_a_reference_the_relative_rows_say_so() -> None:
    _, own = planted(9, 4)
    found = rows(samples(own), setting="parity")
    assert found["accuracy", ""].value == 175 / N
    for key in [("accuracy_loss", FLOAT), ("agreement", FLOAT), ("sqnr", FLOAT), ("bit_exact", OWN)]:
        assert found[key].status is Status.SKIPPED
        assert key[1] in found[key].reason


def test_other_inputs_than_the_hosts_make_every_figure_unbelievable() -> None:
    base, own = planted(9, 4)
    found = rows(samples(own, sha="other"), {"float32": samples(base)})
    digest = found.pop(("input_digest_equal", ""))
    assert (digest.value, digest.status) == (0, Status.OK)
    assert {row.status for row in found.values()} == {Status.INVALID}


@pytest.mark.parametrize(
    ("own", "labels", "metric", "text"),
    [
        (np.zeros((N, 4, 4), np.float32), LABELS, ("accuracy_loss", FLOAT), "shape"),
        (np.zeros((N, CLASSES), np.float32), LABELS + 1, ("accuracy", ""), "labels run from"),
        (np.zeros((N, CLASSES), np.float32), LABELS - 1, ("accuracy", ""), "labels run from -1"),
        (np.zeros((N, CLASSES), np.float32), LABELS[:9], ("accuracy", ""), "labels of shape"),
    ],
)
def test_what_does_not_fit_is_an_error_and_not_a_figure(
    own: NDArray[Any], labels: NDArray[Any], metric: tuple[str, str], text: str
) -> None:
    row = rows(samples(own), {"float32": samples(logits(LABELS))}, labels=labels)[metric]
    assert row.status is Status.ERROR
    assert text in row.reason
    assert math.isnan(row.value)


def test_a_model_without_classes_has_no_accuracy() -> None:
    y = RNG.normal(size=(N, 1)).astype(np.float32)
    found = rows(samples(y), {"float32": samples(y)}, labels=np.zeros(N, np.int64))
    assert found["accuracy", ""].status is Status.ERROR
    assert found["agreement", FLOAT].status is Status.ERROR
    assert found["sqnr", FLOAT].value == math.inf


TARGETS = RNG.normal(size=(N, 2))


def test_regression_figures_are_numpys() -> None:
    base = (TARGETS + RNG.normal(size=TARGETS.shape) * 0.1).astype(np.float32)
    own = (base + RNG.normal(size=TARGETS.shape) * 0.05).astype(np.float32)
    found = rows(samples(own), {"float32": samples(base)}, labels=TARGETS, task="regression")
    error = own.astype(np.float64) - TARGETS
    assert found["mae", ""].value == pytest.approx(np.abs(error).mean())
    assert found["rmse", ""].value == pytest.approx(math.sqrt(np.square(error).mean()))
    spread = np.square(TARGETS - TARGETS.mean(axis=0)).mean()
    assert found["r2", ""].value == pytest.approx(1 - np.square(error).mean() / spread)
    reference = np.abs(base.astype(np.float64) - TARGETS).mean()
    increase = found["error_increase", FLOAT]
    assert increase.value == pytest.approx(np.abs(error).mean() / reference - 1)
    for key in [("mae", ""), ("rmse", ""), ("r2", ""), ("error_increase", FLOAT)]:
        assert found[key].ci_low < found[key].value < found[key].ci_high
    assert increase.per_sample is not None
    assert increase.per_sample.mean() == pytest.approx(increase.value)
    assert ("agreement", FLOAT) not in found


def test_a_regression_that_gives_no_number_has_no_bound() -> None:
    base = (TARGETS + 0.1).astype(np.float32)
    own = base.copy()
    own[3, 1] = np.nan
    found = rows(samples(own), {"float32": samples(base)}, labels=TARGETS, task="regression")
    for key in [("mae", ""), ("rmse", ""), ("error_increase", FLOAT)]:
        assert found[key].ci_low == found[key].value == math.inf
    assert found["r2", ""].value == -math.inf


def test_a_regression_without_error_or_spread_has_nothing_to_share() -> None:
    constant = np.full((N, 2), 2.0)
    exact = samples(constant.astype(np.float32))
    found = rows(exact, {"float32": exact}, labels=constant, task="regression")
    assert found["mae", ""].value == 0
    assert found["r2", ""].status is Status.SKIPPED
    assert found["error_increase", FLOAT].status is Status.ERROR
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
    read = [suite.answers(samples(y, keep=keep)) for y in (one, other[:few])]
    same = suite.alike(*read, "classification")
    top = np.argmax(one[:few], axis=1) == np.argmax(np.nan_to_num(other[:few], nan=-1e9), axis=1)
    top[30] = False
    assert same["top-1"].tolist() == top.tolist()
    assert same["bits"].tolist() == (one[:few] == other[:few]).all(axis=1).tolist()
    assert "top-1" not in suite.alike(*read, "regression")


def test_no_answer_agrees_with_no_answer_in_bits_alone() -> None:
    suite = AccuracySuite()
    read = suite.answers(samples(np.full((3, CLASSES), np.nan, np.float32)))
    same = suite.alike(read, read, "classification")
    assert (same["bits"].all(), same["top-1"].any()) == (True, False)


def test_devices_whose_outputs_have_other_shapes_cannot_agree() -> None:
    suite = AccuracySuite()
    one, other = (suite.answers(samples(np.zeros((3, size), np.float32))) for size in (4, 5))
    with pytest.raises(DataError, match="outputs of shapes"):
        suite.alike(one, other, "classification")


CLASSIFIED = {
    ("accuracy", ""): "1", ("ece", ""): "1", ("accuracy_loss", FLOAT): "pt", ("flips_harmful", FLOAT): "1",
    ("flips_beneficial", FLOAT): "1", ("agreement", FLOAT): "1", ("sqnr", FLOAT): "dB",
    ("max_abs_difference", FLOAT): "1", ("input_digest_equal", ""): "1",
}  # fmt: skip
BY_CLASS = {(f"class_accuracy_loss/{label}", FLOAT): "pt" for label in range(CLASSES)}
PINNED = {("bit_exact", OWN): "1", ("max_lsb", OWN): "LSB", ("mean_lsb", OWN): "LSB"}
REGRESSED = {
    ("mae", ""): "1", ("rmse", ""): "1", ("r2", ""): "1", ("error_increase", FLOAT): "1",
    ("sqnr", FLOAT): "dB", ("max_abs_difference", FLOAT): "1", ("input_digest_equal", ""): "1",
}  # fmt: skip


@pytest.mark.parametrize("shift", ["", "fog"])
@pytest.mark.parametrize("setting", ["deploy", "parity"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_case_has_exactly_its_rows(shift: str, setting: str, task: str) -> None:
    base, own = planted(9, 4)
    found = rows(
        samples(own),
        {"float32": samples(base), "int8": samples(base)},
        setting=setting,
        task=task,
        name=shift,
        labels=LABELS if task == "classification" else base + 0.5,
        steps={"y0": Quantization(SCALE, 0)},
    )
    expected = CLASSIFIED if task == "classification" else REGRESSED
    if task == "classification" and not shift and setting == "deploy":
        expected = expected | BY_CLASS
    if setting == "parity" and not shift:
        expected = expected | PINNED
    assert {key: row.unit for key, row in found.items()} == expected
    assert {row.n for key, row in found.items() if key not in BY_CLASS} == {N}


def test_what_each_sample_contributes_has_the_value_as_its_mean() -> None:
    base, own = planted(harmful=9, beneficial=4)
    found = rows(samples(own), {"float32": samples(base), "int8": samples(base)}, setting="parity")
    for key in [
        ("accuracy", ""), ("accuracy_loss", FLOAT), ("flips_harmful", FLOAT), ("flips_beneficial", FLOAT),
        ("agreement", FLOAT), ("bit_exact", OWN),
    ]:  # fmt: skip
        column = found[key].per_sample
        assert column is not None
        assert (column.shape, column.dtype) == ((N,), np.float64)
        assert column.mean() == pytest.approx(found[key].value)
    harmful, beneficial = (found[f"flips_{kind}", FLOAT] for kind in ("harmful", "beneficial"))
    known = paired.flips(base.argmax(axis=1) == LABELS, own.argmax(axis=1) == LABELS)
    assert (harmful.ci_low, harmful.ci_high) == (known.harmful.low, known.harmful.high)
    assert (beneficial.ci_low, beneficial.ci_high) == (known.beneficial.low, known.beneficial.high)


def test_intervals_of_a_regression_resample_samples() -> None:
    base = (TARGETS + RNG.normal(size=TARGETS.shape) * 0.1).astype(np.float32)
    own = (base + RNG.normal(size=TARGETS.shape) * 0.05).astype(np.float32)
    found = rows(samples(own), {"float32": samples(base)}, labels=TARGETS, task="regression")
    error, host = (np.abs(y.astype(np.float64) - TARGETS) for y in (own, base))
    mae = intervals.clustered_mean(error.mean(axis=1))
    assert (found["mae", ""].ci_low, found["mae", ""].ci_high) == pytest.approx((mae.low, mae.high))
    square = intervals.clustered_mean(np.square(error).mean(axis=1))
    assert found["rmse", ""].ci_low == pytest.approx(math.sqrt(square.low))
    assert found["rmse", ""].ci_high == pytest.approx(math.sqrt(square.high))
    variance = np.square(TARGETS - TARGETS.mean(axis=0)).mean()
    assert found["r2", ""].ci_low == pytest.approx(1 - square.high / variance)
    assert found["r2", ""].ci_high == pytest.approx(1 - square.low / variance)
    scale = host.mean()
    increase = paired.paired_mean_difference(host.mean(axis=1) / scale, error.mean(axis=1) / scale)
    row = found["error_increase", FLOAT]
    assert (row.ci_low, row.ci_high) == pytest.approx((increase.low, increase.high))
    assert found["mae", ""].per_sample == pytest.approx(error.mean(axis=1))
