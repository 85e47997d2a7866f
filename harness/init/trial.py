"""Run a model on a few samples with each usual preprocessing, and keep the one that answers best."""

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
from harness.core.preprocess import Feeds, Preprocess
from harness.data.datasets import Dataset, Split, check_labels, stratified_order
from harness.data.sets import split_of
from harness.init.data import Source
from harness.init.preprocess import Fit, Guess, fit, guesses
from harness.stats import accuracy, intervals, paired

SAMPLES = 64
BATCH = 32
#: More images than this are not decoded again to compare ways of resizing.
RESIZE_MOST = 2000
#: Answers that differ with a larger p may as well come from preprocessings of equal worth.
APART_P = 0.1
#: Taken where there are no labels to score with.
UNSCORED = "0-1"
SMALLEST_SIDE = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A guess and how good each answer was with it.

    Parameters
    ----------
    guess : Guess
    per_sample : ndarray, shape (n,)
        1 or 0 where the answer is right or wrong; minus the absolute error in a regression; empty without
        labels.
    """

    guess: Guess
    per_sample: NDArray[np.float64]

    @property
    def score(self) -> float:
        """Mean over the samples; higher is better."""
        return float(self.per_sample.mean()) if self.per_sample.size else math.nan


@dataclass(frozen=True, slots=True)
class Findings:
    """What the trials showed.

    Parameters
    ----------
    table : DataTable
    split : Split
    trials : tuple of Trial
        The chosen one, then the others by score.
    task : str
    chance : float
        Accuracy of always giving the commonest label of the trial samples; NaN where that has no meaning.
    shift_kind : str
        What can be corrupted: ``image``, ``features``, ``none``.
    notes : list of str
        What a person should look at.
    """

    table: DataTable
    split: Split
    trials: tuple[Trial, ...]
    task: str
    chance: float
    shift_kind: str
    notes: list[str] = field(default_factory=list)


def explore(session: Session, artifact: Artifact, source: Source, *, channels_first: bool) -> Findings:
    """Try every guess on the trial samples, then the ways of resizing with the best of them.

    Raises
    ------
    DataError
        The data cannot be read, or do not fit the model.
    """
    specs = {spec.name: spec for spec in session.inputs}
    table = source.tables[0]
    split = split_of(table, Path(), tuple(specs))
    chosen = _choose(split)
    raw = chosen.inputs
    fits = {name: fit(name, x, specs[name], channels_first=channels_first) for name, x in raw.items()}
    tried = guesses(fits, split.calibration)
    values = [answers(session, artifact, chosen, guess.steps) for guess in tried]
    width = values[0].shape[1]
    task = _task(split.test.labels, width)
    if task == "classification":
        for part in (split.calibration, split.test):
            check_labels(part, width, where=table.path or table.callable)
    trials = [Trial(guess, score(y, chosen.labels, task)) for guess, y in zip(tried, values, strict=True)]
    if chosen.labels is None:
        trials.sort(key=lambda trial: UNSCORED not in trial.guess.text)
        notes = ["no labels, so no guess could be scored: check [input], which is what most models are fed"]
        return Findings(table, split, tuple(trials), task, math.nan, _shifts(fits, split), notes)
    trials.sort(key=lambda trial: -trial.score)  # stable: of equals the simplest stays first
    findings = Findings(table, split, tuple(trials), task, _chance(chosen, task), _shifts(fits, split))
    if task == "classification":
        findings.notes.extend(_doubts(findings, width))
    return _resize(findings, session, artifact, source, chosen.ids)


def answers(
    session: Session, artifact: Artifact, data: Dataset, steps: Mapping[str, Preprocess]
) -> NDArray[np.float64]:
    """Run the model; its first output, shape (n, values)."""
    canonical = {name: preprocess.apply(raw, steps[name]) for name, raw in data.inputs.items()}
    feeds = preprocess.to_feeds(canonical, artifact, session.inputs)
    fixed = next((spec.shape[0] for spec in session.inputs if spec.shape and spec.shape[0]), None)
    batch = fixed or BATCH
    found = []
    for start in range(0, len(data), batch):
        piece: Feeds = {name: x[start : start + batch] for name, x in feeds.items()}
        if fixed:  # a last batch that is not full repeats its last sample
            filled = np.minimum(np.arange(batch), len(data) - start - 1)
            piece = {name: x[filled] for name, x in piece.items()}
        outputs = preprocess.to_outputs(session.run(piece), artifact, session.outputs)
        found.append(outputs[session.outputs[0].name])
    return np.concatenate(found)[: len(data)].reshape(len(data), -1).astype(np.float64)


def score(values: NDArray[np.float64], labels: NDArray[np.generic] | None, task: str) -> NDArray[np.float64]:
    """Say of each sample how good its answer is; see `Trial`."""
    if labels is None:
        return np.empty(0)
    if task == "classification":
        return accuracy.right_answers(values, labels).astype(np.float64)
    errors = np.abs(values - labels.reshape(len(labels), -1).astype(np.float64)).mean(axis=1)
    return np.where(np.isfinite(errors), -errors, -np.inf)


def _choose(split: Split) -> Dataset:
    """Trial samples: calibration samples, so that no test sample has a say, then test samples for lack."""
    parts = []
    wanted = SAMPLES
    for part in (split.calibration, split.test):
        parts.append(part.take(stratified_order(part.labels, part.ids, seed=0)[:wanted]))
        wanted -= len(parts[-1])
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
    """Whole numbers are classes where the model gives several scores; anything else is a regression."""
    if labels is None:
        return "classification" if width > 1 else "regression"
    if labels.ndim == 1 and labels.dtype.kind in "iu" and width > 1:
        return "classification"
    targets = math.prod(labels.shape[1:])
    if targets != width:
        raise DataError(
            f"the model gives {width} values a sample, and the labels are {targets} of {labels.dtype}",
            cause="classes have to be whole numbers from 0; targets of a regression one for each output",
            next_step="mend the labels, or give others: --labels PATH",
        )
    return "regression"


def _chance(chosen: Dataset, task: str) -> float:
    if task != "classification" or chosen.labels is None:
        return math.nan
    return max(Counter(chosen.labels.tolist()).values()) / len(chosen)


def _shifts(fits: Mapping[str, Fit], split: Split) -> str:
    """What the harness can corrupt: all inputs have to be of one kind."""
    kinds = {found.kind for found in fits.values()}
    raws = split.test.inputs.values()
    if kinds == {"image"} and all(found.channels for found in fits.values()):
        return "image" if all(min(raw.shape[1:3]) >= SMALLEST_SIDE for raw in raws) else "none"
    # Strengths are relative to the spread of the calibration samples.
    return "features" if kinds == {"features"} and len(split.calibration) > 1 else "none"


def _doubts(findings: Findings, width: int) -> list[str]:
    """What makes the guess or the labels doubtful."""
    best, *others = findings.trials
    right = int(best.per_sample.sum())
    notes = []
    names = findings.split.test.class_names
    if names and len(names) < width:
        notes.append(
            f"the model has {width} outputs and the data {len(names)} classes: "
            f"{names[0]!r}, the first by name, is taken as output 0, and so on"
        )
    # The best of several guesses is better than chance by chance: the error is shared among them.
    alpha = 0.05 / len(findings.trials)
    if intervals.wilson(right, best.per_sample.size, alpha=alpha).low <= findings.chance:
        notes.append("no usual preprocessing does better than chance: check labels, their order, and [input]")
        return notes
    for other in others[:1]:
        flips = paired.flips(best.per_sample > 0, other.per_sample > 0)
        if other.score == best.score:
            notes.append(f"{other.guess.text!r} scores the same: the simpler was taken")
        elif flips.mcnemar_p > APART_P:
            notes.append(
                f"{flips.n} samples do not tell it from {other.guess.text!r}: see how it was trained"
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
        findings.notes.append(f"resizing was not compared, there are {size:,} images: check [data.image]")
        return findings
    best, *others = findings.trials
    kept, said = findings, f"{_way(findings.table)} {best.score:.3f}"
    for table in source.tables[1:]:
        split = split_of(table, Path(), tuple(findings.split.test.inputs))
        again = _by_id(split, ids)
        values = answers(session, artifact, again, best.guess.steps)
        trial = Trial(best.guess, score(values, again.labels, findings.task))
        said += f", {_way(table)} {trial.score:.3f}"
        if trial.score > kept.trials[0].score:
            kept = replace(findings, table=table, split=split, trials=(trial, *others))
    findings.notes.append(f"resizing: {said}; {_way(kept.table)} taken")
    return kept


def _way(table: DataTable) -> str:
    image = table.image
    if image is None or image.size is None:
        return "as it is"
    return f"{image.resize} {image.crop:g}" if image.resize == "cover" else image.resize


def _by_id(split: Split, ids: NDArray[np.int64]) -> Dataset:
    """The same samples of another reading, in the same order."""
    rows = {int(i): (part, row) for part in (split.calibration, split.test) for row, i in enumerate(part.ids)}
    taken = [part.take(np.array([row])) for part, row in (rows[int(i)] for i in ids)]
    labels = [one.labels for one in taken if one.labels is not None]
    return Dataset(
        {name: np.concatenate([one.inputs[name] for one in taken]) for name in split.test.inputs},
        np.concatenate(labels) if labels else None,
        ids,
        split.test.class_names,
    )
