"""Outputs → rows: against the labels, the float reference, and the same variant on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.cause import Cause
from harness.core.errors import DataError
from harness.core.job import DEPLOY, PARITY, Case, Job, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric, Noise, Role
from harness.core.suite import (
    CLEAN,
    CaseContext,
    ProposalContext,
    ProposedGate,
    StoredAnswers,
    SummaryContext,
)  # fmt: skip
from harness.stats import accuracy, intervals, paired
from harness.stats.intervals import Interval
from suites.accuracy import cases as plan
from suites.accuracy.answers import Answers
from suites.accuracy.propose import propose

_clean = partial(Metric, case=CLEAN, per_data_set=True)
METRICS: Mapping[str, Metric] = {
    "accuracy": _clean(
        "1", "higher", role=Role.RESULT, share="simple", column=Column("accuracy %", 100, ".2f"),
        shift_column=Column("worst shift pt", 100, "+.0f", spare=3),
    ),
    "ece": _clean("1", "lower", Noise.SAMPLE),
    "mae": _clean("1", "lower"),
    "rmse": _clean("1", "lower", role=Role.RESULT, column=Column("rmse")),
    "r2": _clean("1", "higher"),
    "agreement": _clean(
        "1", "higher", role=Role.AGREEMENT, share="simple", column=Column("agreement %", 100, ".2f"),
        drift=True,
    ),
    "accuracy_loss": _clean(
        "pt", "lower", role=Role.LOSS, share="paired",
        column=Column("loss pt [bound]", 1, ".2f", bound=True), drift=True,
    ),
    "class_accuracy_loss": Metric("pt", "lower", role=Role.CLASS_LOSS, per_data_set=True),
    "error_increase": _clean("1", "lower", role=Role.LOSS),
    "flips_harmful": _clean("1", "lower", role=Role.HARMFUL, drift=True),
    "flips_beneficial": _clean("1", role=Role.BENEFICIAL, drift=True),
    "sqnr": _clean("dB", "higher", Noise.SAMPLE, drift=True),
    "max_abs_difference": _clean("1", "lower", Noise.SAMPLE, drift=True),
    "bit_exact": _clean("1", "higher", role=Role.BIT_EXACT, drift=True),
    "max_lsb": _clean("LSB", "lower"),
    "mean_lsb": _clean("LSB", "lower", Noise.SAMPLE),
    "input_digest_equal": _clean("1", "higher"),
}  # fmt: skip
#: Points in a share of 1.
PT = 100.0


class AccuracySuite:
    """The metric on clean and shifted data, and every distance to the reference on the host."""

    name = "accuracy"
    metrics = METRICS

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        """List the cases of one variant."""
        return plan.cases(context)

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the problems of the suite's table, as pairs of key and message."""
        return plan.check(settings)

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        """Make the rows of one case that was measured.

        A metric that cannot be computed is a SKIPPED row with the reason, one whose outputs do not fit is an
        ERROR row. Where the device fed other inputs than the host computed, all other rows are INVALID.
        """
        case = job.case
        on_device = Answers.read(result.samples)

        @cache
        def on_host(variant: str) -> Answers | None:
            samples = context.reference(variant, case.name, case.severity)
            return None if samples is None else Answers.read(samples)

        rows = [row for group in _groups(job, context) for row in _rows(group, on_device, on_host, context)]
        equal = result.samples.values["input_sha256"] == case.params["input_sha256"]
        if not equal:
            reason = "the model inputs on the device differ from those of the host"
            rows = [
                replace(row, status=Status.INVALID, reason=reason, cause=Cause.OTHER_INPUTS)
                if row.status is Status.OK
                else row
                for row in rows
            ]
        return [*rows, _row("input_digest_equal", float(equal), n=case.samples)]

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """See `suites.accuracy.propose.propose`."""
        return propose(context)

    def score(self, answers: StoredAnswers, reference: tuple[str, StoredAnswers] | None) -> list[Measurement]:
        """Return every metric of stored predictions, also against those of a reference."""
        one = Answers.of_array(answers.values, answers.threshold)
        classes = answers.task == "classification"
        facts = _Facts(one, one, "", answers.labels, None)
        rows = list((_quality if classes else _errors)(facts))
        if reference is not None:
            name, base = reference
            facts = _Facts(one, Answers.of_array(base.values, base.threshold), name, answers.labels, None)
            against = (_loss, _agreement, _class_loss) if classes else (_error_increase,)
            rows += [row for make in (*against, _distance) for row in make(facts)]
        return rows

    def answers(self, samples: Samples) -> Answers:
        """Read the outputs of a case; `alike` takes them any number of times."""
        return Answers.read(samples)

    def alike(self, one: Answers, other: Answers, task: str) -> Mapping[str, NDArray[np.bool_]]:
        """Compare the samples that both devices ran.

        Returns
        -------
        mapping
            ``top-1``, of a classifier: the same class, which no answer at all is not; ``bits``.

        Raises
        ------
        DataError
            They have other outputs, or scores that are no classes.
        """
        other = other.ordered_like(one)
        n = min(len(one), len(other))  # samples come in one order everywhere
        same = {"bits": _same_bits(one, other, n)}
        if task == "classification":
            _ = one.classes  # raises for a model that is no classifier
            same["top-1"] = (one.predicted[:n] == other.predicted[:n]) & (one.predicted[:n] >= 0)
        return same


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a group of metrics is made from: rows in one order, as many of each.

    ``base`` are the answers on the host of the variant that ``reference`` names; of an absolute metric, whose
    ``reference`` is empty, those of the float model, or ``answers`` where there are none.
    """

    answers: Answers
    base: Answers
    reference: str
    labels: NDArray[Any]
    artifact: Artifact | None


@dataclass(frozen=True, slots=True)
class _Group:
    """Metrics with the same requirements; ``variant`` is the one that the host ran."""

    metrics: tuple[str, ...]
    make: Callable[[_Facts], Iterator[Measurement]]
    variant: str = ""
    labels: bool = False
    outputs: bool = False


def _groups(job: Job, context: SummaryContext) -> Iterator[_Group]:
    float32 = "" if job.case.params["reference"] and job.variant == plan.FLOAT else plan.FLOAT
    if context.task == "classification":
        yield _Group(("accuracy", "ece"), _quality, labels=True)
        if float32:
            yield _Group(("accuracy_loss", "flips_harmful", "flips_beneficial"), _loss, float32, labels=True)
            yield _Group(("agreement",), _agreement, float32)
            if job.case.name == CLEAN and (job.case.setting == DEPLOY or job.case.params["reference"]):
                yield _Group(("class_accuracy_loss",), _class_loss, float32, labels=True)
    else:
        yield _Group(("mae", "rmse", "r2"), _errors, labels=True, outputs=True)
        if float32:
            yield _Group(("error_increase",), _error_increase, float32, labels=True, outputs=True)
    if float32:
        yield _Group(("sqnr", "max_abs_difference"), _distance, float32, outputs=True)
    if job.case.setting == PARITY and job.case.name == CLEAN and not job.case.params["reference"]:
        yield _Group(("bit_exact",), _bit_exact, job.variant)
        if context.artifact.output_quantization:
            yield _Group(("max_lsb", "mean_lsb"), _lsb, job.variant, outputs=True)


def _rows(
    group: _Group, answers: Answers, on_host: Callable[[str], Answers | None], context: SummaryContext
) -> list[Measurement]:
    reference = f"{group.variant}@host" if group.variant else ""

    def without(status: Status, reason: str, cause: Cause = Cause.MISSING_DATA) -> list[Measurement]:
        return [
            replace(_row(metric, math.nan, reference), status=status, reason=reason, cause=cause)
            for metric in group.metrics
        ]

    # Absolute metrics, too, use the float model's order of outputs and its kind of scores.
    base = on_host(group.variant or plan.FLOAT)
    if base is None:
        if reference:
            return without(Status.SKIPPED, f"there are no outputs of {reference} for this case")
        base = answers
    if group.labels and context.labels is None:
        return without(Status.SKIPPED, "the data have no labels")
    if group.outputs and not (answers.outputs and base.outputs):
        return without(Status.SKIPPED, 'needs the raw outputs, and keep = "reduced" stores reductions only')
    try:
        answers = answers.ordered_like(base)
        if reference:
            # Samples come in one order everywhere: a target that ran fewer ran the first of them.
            n = min(len(answers), len(base))
            answers, base = answers.head(n), base.head(n)
        labels = np.empty(0) if context.labels is None else context.labels[: len(answers)]
        return list(group.make(_Facts(answers, base, reference, labels, context.artifact)))
    except DataError as error:
        return without(Status.ERROR, error.what, Cause.UNSPECIFIED)


def _row(
    metric: str,
    value: float | Interval,
    reference: str = "",
    *,
    n: int = 0,
    factor: float = 1.0,
    per_sample: NDArray[Any] | None = None,
) -> Measurement:
    if not isinstance(value, Interval):
        value = Interval(value, math.nan, math.nan, n)
    return Measurement(
        metric=metric,
        unit=METRICS[metric].unit,
        value=value.value * factor,
        ci_low=value.low * factor,
        ci_high=value.high * factor,
        n=value.n,
        reference=reference,
        per_sample=None if per_sample is None else per_sample.astype(np.float64),
    )


def _right(answers: Answers, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each answer is the label; False where there is no prediction."""
    classes = answers.classes
    if labels.shape != (len(answers),):
        raise DataError(f"{len(answers)} answers do not fit labels of shape {labels.shape}")
    if classes is not None and labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, and the model has {classes} classes"
        )
    right: NDArray[np.bool_] = answers.predicted == labels
    return right


def _share(hits: NDArray[np.bool_]) -> Interval:
    return intervals.wilson(int(np.count_nonzero(hits)), hits.size)


def _quality(facts: _Facts) -> Iterator[Measurement]:
    answers, right = facts.answers, _right(facts.answers, facts.labels)
    yield _row("accuracy", _share(right), per_sample=right)
    if answers.indices:
        reason = "the model gives class indices without scores"
        yield replace(_row("ece", math.nan), status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_DATA)
        return
    sure = answers.confidence(probabilities=facts.base.are_probabilities)
    yield _row("ece", accuracy.calibration_error(sure, right), n=right.size)


def _loss(facts: _Facts) -> Iterator[Measurement]:
    base, right = _right(facts.base, facts.labels), _right(facts.answers, facts.labels)
    flips = paired.flips(base, right)
    lost = PT * (base.astype(np.float64) - right)
    yield _row("accuracy_loss", flips.loss, facts.reference, factor=PT, per_sample=lost)
    yield _row("flips_harmful", flips.harmful, facts.reference, per_sample=base & ~right)
    yield _row("flips_beneficial", flips.beneficial, facts.reference, per_sample=~base & right)


def _class_loss(facts: _Facts) -> Iterator[Measurement]:
    """Class by class, in the case ``clean/<label>``: a mean hides a single class that is lost."""
    base, right = _right(facts.base, facts.labels), _right(facts.answers, facts.labels)
    for label in np.unique(facts.labels):
        of_class = facts.labels == label
        loss = paired.flips(base[of_class], right[of_class]).loss
        case = f"{CLEAN}/{label}"
        yield replace(_row("class_accuracy_loss", loss, facts.reference, factor=PT), case=case)


def _agreement(facts: _Facts) -> Iterator[Measurement]:
    _ = facts.answers.classes  # raises for a model that is no classifier
    predicted = facts.answers.predicted
    same = (predicted == facts.base.predicted) & (predicted >= 0)
    yield _row("agreement", _share(same), facts.reference, per_sample=same)


def _distance(facts: _Facts) -> Iterator[Measurement]:
    """The worst of several outputs."""
    pairs = list(zip(facts.base.outputs, facts.answers.outputs, strict=True))
    n = len(facts.answers)
    yield _row("sqnr", min(accuracy.sqnr_db(*pair) for pair in pairs), facts.reference, n=n)
    yield _row(
        "max_abs_difference", max(accuracy.max_abs_difference(*pair) for pair in pairs), facts.reference, n=n
    )


def _bit_exact(facts: _Facts) -> Iterator[Measurement]:
    """A sample is exact where all outputs are. Samples are counted: elements of one are not independent."""
    same = _same_bits(facts.base, facts.answers, len(facts.answers))
    yield _row("bit_exact", _share(same), facts.reference, per_sample=same)


def _same_bits(base: Answers, answers: Answers, n: int) -> NDArray[np.bool_]:
    pairs = zip(base.hashes, answers.hashes, strict=True)
    exact = [accuracy.bit_exact_rows(one[:n], other[:n]) for one, other in pairs]
    same: NDArray[np.bool_] = np.logical_and.reduce(exact)
    return same


def _lsb(facts: _Facts) -> Iterator[Measurement]:
    """Over all outputs of integer tensors, each in its own quantization step."""
    assert facts.artifact is not None, "stored predictions have no quantization steps"
    answers, steps = facts.answers, facts.artifact.output_quantization
    if not any(name in steps for name in answers.names) and len(steps) == len(answers.names):
        # The runtime renamed the outputs; the artifact lists them in the order of the file.
        steps = dict(zip(answers.names, steps.values(), strict=True))
    pairs = zip(answers.names, facts.base.outputs, answers.outputs, strict=True)
    distances = [
        accuracy.lsb_distance(base, output, steps[name].scale).ravel()
        for name, base, output in pairs
        if name in steps
    ]
    if not distances:
        raise DataError(f"no quantization step is known for the outputs {', '.join(answers.names)}")
    every = np.concatenate(distances)
    yield _row("max_lsb", float(every.max(initial=0.0)), facts.reference, n=len(answers))
    yield _row("mean_lsb", float(every.mean()), facts.reference, n=len(answers))


def _targets_and_predictions(answers: Answers, labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Targets and predictions, shape (n, outputs)."""
    predicted = answers.outputs[answers.position].reshape(len(answers), -1).astype(np.float64)
    targets = labels.reshape(len(labels), -1).astype(np.float64)
    if predicted.shape != targets.shape:
        raise DataError(f"predictions of shape {predicted.shape} do not fit targets of shape {targets.shape}")
    return targets, predicted


def _errors(facts: _Facts) -> Iterator[Measurement]:
    targets, predicted = _targets_and_predictions(facts.answers, facts.labels)
    measured = accuracy.regression_metrics(targets, predicted)
    with np.errstate(all="ignore"):
        errors = np.abs(targets - predicted).mean(axis=1)
        squares = np.square(targets - predicted).mean(axis=1)
    if not np.isfinite(squares).all():
        # One prediction that is not finite makes every mean infinite.
        for metric, value in (("mae", math.inf), ("rmse", math.inf), ("r2", -math.inf)):
            yield _row(metric, Interval(value, value, value, measured.n))
        return
    yield _row("mae", intervals.clustered_mean(errors), per_sample=errors)
    mean_square = intervals.clustered_mean(squares)
    low, high = max(0.0, mean_square.low), mean_square.high
    yield _row("rmse", Interval(measured.rmse, math.sqrt(low), math.sqrt(high), measured.n))
    if math.isnan(measured.r2):
        yield replace(
            _row("r2", math.nan),
            status=Status.SKIPPED,
            reason="the targets do not vary",
            cause=Cause.MISSING_DATA,
        )
    else:
        # The variance of the targets is a constant: all sides have the same targets.
        variance = float(np.square(targets - targets.mean(axis=0)).mean())
        yield _row("r2", Interval(measured.r2, 1 - high / variance, 1 - low / variance, measured.n))


def _error_increase(facts: _Facts) -> Iterator[Measurement]:
    """Mean increase of the absolute error, as a share of the reference's mean absolute error."""
    targets, predicted = _targets_and_predictions(facts.answers, facts.labels)
    _, expected = _targets_and_predictions(facts.base, facts.labels)
    with np.errstate(all="ignore"):
        errors, base = (np.abs(targets - y).mean(axis=1) for y in (predicted, expected))
    scale = float(base.mean())
    if not 0 < scale < math.inf:
        raise DataError(f"the reference's mean absolute error is {scale:g}; no share of it is defined")
    if not np.isfinite(errors).all():
        yield _row("error_increase", Interval(math.inf, math.inf, math.inf, errors.size), facts.reference)
        return
    increase = paired.paired_mean_difference(base / scale, errors / scale)
    yield _row("error_increase", increase, facts.reference, per_sample=(errors - base) / scale)
