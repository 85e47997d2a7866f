"""Run a model on a few samples with each common preprocessing and choose the one with the best score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import DataTable
from harness.core import preprocess
from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.errors import DataError
from harness.core.feeding import Feeding
from harness.core.preprocess import Preprocess
from harness.data.datasets import Dataset, Split, stratified_order, with_classes
from harness.data.sets import split_of
from harness.init.data import Source
from harness.init.preprocess import Fit, Guess, fit, guesses
from harness.stats import accuracy, intervals, paired

SAMPLES = 64
BATCH = 32
#: Ways of resizing are not compared if there are more images: each way decodes all of them.
RESIZE_MOST = 2000
#: Two preprocessings whose answers differ with a larger p are not told apart.
APART_P = 0.1
#: The preprocessing that is chosen without labels.
UNSCORED = "0-1"
SMALLEST_SIDE = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A preprocessing and its score on every sample.

    Parameters
    ----------
    guess : Guess
    per_sample : ndarray, shape (n,)
        1 or 0 for a right or wrong answer; minus the absolute error in a regression; empty without labels.
    """

    guess: Guess
    per_sample: NDArray[np.float64]

    @property
    def score(self) -> float:
        """Mean over the samples; higher is better."""
        return float(self.per_sample.mean()) if self.per_sample.size else math.nan


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of the trials.

    Parameters
    ----------
    table : DataTable
    split : Split
    trials : tuple of Trial
        The chosen one, then the others by score.
    task : str
    chance : float
        Accuracy of always answering with the most common label of the trial samples; NaN in a regression
        or without labels.
    shift_kind : str
        Kind of corruptions that apply: ``image``, ``features``, ``none``.
    notes : list of str
        What the user should check.
    """

    table: DataTable
    split: Split
    trials: tuple[Trial, ...]
    task: str
    chance: float
    shift_kind: str
    notes: list[str] = field(default_factory=list)


def explore(session: Session, artifact: Artifact, source: Source, *, channels_first: bool) -> Findings:
    """Try every preprocessing on the trial samples, then the ways of resizing with the best one.

    Raises
    ------
    DataError
        The data cannot be read, or do not fit the model.
    """
    specs = {spec.name: spec for spec in session.inputs}
    table = source.tables[0]
    split = split_of(table, Path(), tuple(specs))
    samples = _trial_samples(split)
    raw = samples.inputs
    fits = {name: fit(name, x, specs[name], channels_first=channels_first) for name, x in raw.items()}
    tried = guesses(fits, split.calibration)
    values = [answers(session, artifact, samples, guess.steps) for guess in tried]
    width = values[0].shape[1]
    task = _task(split.test.labels, width)
    if task == "classification":
        split = with_classes(split, width, where=table.path or table.callable)
        samples = _by_id(split, samples.ids)
    trials = [Trial(guess, score(y, samples.labels, task)) for guess, y in zip(tried, values, strict=True)]
    if samples.labels is None:
        trials.sort(key=lambda trial: UNSCORED not in trial.guess.text)
        notes = [
            "without labels no preprocessing can be scored: check [input], which has the most common one"
        ]
        return Findings(table, split, tuple(trials), task, math.nan, _shifts(fits, split), notes)
    trials.sort(key=lambda trial: -trial.score)  # stable: of equal scores the simplest stays first
    findings = Findings(table, split, tuple(trials), task, _chance(samples, task), _shifts(fits, split))
    if task == "classification":
        findings.notes.extend(_warnings(findings, width))
    return _resize(findings, session, artifact, source, samples.ids)


def answers(
    session: Session, artifact: Artifact, data: Dataset, steps: Mapping[str, Preprocess]
) -> NDArray[np.float64]:
    """Run the model on samples.

    Returns
    -------
    ndarray, shape (n, values), float64
        Its first output.
    """
    canonical = {name: preprocess.apply(raw, steps[name]) for name, raw in data.inputs.items()}
    ordered = {spec.name: steps[spec.name] for spec in session.inputs}
    feeding = Feeding(session.inputs, session.outputs, ordered, artifact)
    size, batches = feeding.size or BATCH, []
    for start in range(0, len(data), size):
        rows = {name: x[start : start + size] for name, x in canonical.items()}
        outputs = feeding.answers(session.run(feeding.feeds(rows)), min(size, len(data) - start))
        batches.append(outputs[session.outputs[0].name])
    return np.concatenate(batches).reshape(len(data), -1).astype(np.float64)


def score(values: NDArray[np.float64], labels: NDArray[np.generic] | None, task: str) -> NDArray[np.float64]:
    """Score the answer to every sample, see `Trial`."""
    if labels is None:
        return np.empty(0)
    if task == "classification":
        return accuracy.right_answers(values, labels).astype(np.float64)
    errors = np.abs(values - labels.reshape(len(labels), -1).astype(np.float64)).mean(axis=1)
    return np.where(np.isfinite(errors), -errors, -np.inf)


def _trial_samples(split: Split) -> Dataset:
    """Choose the trial samples: calibration samples first, test samples only if those are too few."""
    parts = []
    missing = SAMPLES
    for part in (split.calibration, split.test):
        parts.append(part.take(stratified_order(part.labels, part.ids, seed=0)[:missing]))
        missing -= len(parts[-1])
    first, second = parts
    if not len(first):
        return second
    labels = None
    if first.labels is not None and second.labels is not None:
        labels = np.concatenate([first.labels, second.labels])
    return Dataset(
        {name: np.concatenate([first.inputs[name], second.inputs[name]]) for name in first.inputs},
        labels,
        np.concatenate([first.ids, second.ids]),
        first.class_names,
    )


def _task(labels: NDArray[np.generic] | None, width: int) -> str:
    """Return the task: labels are classes if they are whole numbers and the model gives several scores."""
    if labels is None:
        return "classification" if width > 1 else "regression"
    targets = math.prod(labels.shape[1:])
    if width > 1 and targets == 1:  # others than whole numbers are refused by what they are
        return "classification"
    if targets != width:
        raise DataError(
            f"the model gives {width} values per sample, the labels have {targets} of {labels.dtype}",
            cause="classes must be whole numbers from 0; a regression needs one target for each output",
            next_step="fix the labels, or give others: --labels PATH",
        )
    return "regression"


def _chance(samples: Dataset, task: str) -> float:
    if task != "classification" or samples.labels is None:
        return math.nan
    return max(Counter(samples.labels.tolist()).values()) / len(samples)


def _shifts(fits: Mapping[str, Fit], split: Split) -> str:
    """Return the kind of corruptions that apply; all inputs must be of one kind."""
    kinds = {input_fit.kind for input_fit in fits.values()}
    raws = split.test.inputs.values()
    if kinds == {"image"} and all(input_fit.channels for input_fit in fits.values()):
        return "image" if all(min(raw.shape[1:3]) >= SMALLEST_SIDE for raw in raws) else "none"
    # Strengths are relative to the spread of the calibration samples.
    return "features" if kinds == {"features"} and len(split.calibration) > 1 else "none"


def _warnings(findings: Findings, width: int) -> list[str]:
    """Return what speaks against the chosen preprocessing or the labels."""
    best, *others = findings.trials
    right = int(best.per_sample.sum())
    notes = []
    names = findings.split.test.class_names
    if names and len(names) < width:
        notes.append(
            f"the model has {width} outputs and the data {len(names)} classes: "
            f"classes are assigned to outputs in the order of their names, {names[0]!r} to output 0"
        )
    # The best of several guesses may beat chance by luck: Bonferroni correction.
    alpha = 0.05 / len(findings.trials)
    if intervals.wilson(right, best.per_sample.size, alpha=alpha).low <= findings.chance:
        notes.append("no common preprocessing is better than chance: check labels, their order, and [input]")
        return notes
    for other in others[:1]:
        flips = paired.flips(best.per_sample > 0, other.per_sample > 0)
        if other.score == best.score:
            notes.append(f"{other.guess.text!r} has the same score: the simpler one was chosen")
        elif flips.mcnemar_p > APART_P:
            notes.append(
                f"{flips.n} samples are too few to rule out {other.guess.text!r}: check the model's training"
            )
    return notes


def _resize(
    findings: Findings, session: Session, artifact: Artifact, source: Source, ids: NDArray[np.int64]
) -> Findings:
    """Compare the ways of resizing on the same samples."""
    size = len(findings.split.calibration) + len(findings.split.test)
    if len(source.tables) == 1:
        return findings
    if size > RESIZE_MOST:
        findings.notes.append(f"ways of resizing were not compared for {size:,} images: check [data.image]")
        return findings
    best, *others = findings.trials
    chosen, scores = findings, [f"{_resizing(findings.table)} {best.score:.3f}"]
    for table in source.tables[1:]:
        split = split_of(table, Path(), tuple(findings.split.test.inputs))
        if findings.task == "classification":
            split = with_classes(split, None, where=table.path or table.callable)
        again = _by_id(split, ids)
        values = answers(session, artifact, again, best.guess.steps)
        trial = Trial(best.guess, score(values, again.labels, findings.task))
        scores.append(f"{_resizing(table)} {trial.score:.3f}")
        if trial.score > chosen.trials[0].score:
            chosen = replace(findings, table=table, split=split, trials=(trial, *others))
    findings.notes.append(f"resizing: {', '.join(scores)}; {_resizing(chosen.table)} was chosen")
    return chosen


def _resizing(table: DataTable) -> str:
    image = table.image
    if image is None or image.size is None:
        return "unchanged"
    return f"{image.resize} {image.crop:g}" if image.resize == "cover" else image.resize


def _by_id(split: Split, ids: NDArray[np.int64]) -> Dataset:
    """Return the samples with those ids, in that order."""
    rows = {int(i): (part, row) for part in (split.calibration, split.test) for row, i in enumerate(part.ids)}
    taken = [part.take(np.array([row])) for part, row in (rows[int(i)] for i in ids)]
    labels = [part.labels for part in taken if part.labels is not None]
    return Dataset(
        {name: np.concatenate([part.inputs[name] for part in taken]) for name in split.test.inputs},
        np.concatenate(labels) if labels else None,
        ids,
        split.test.class_names,
    )
