"""Run a model on a few samples with each common preprocessing and choose the one with the best score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.config.schema import DataTable, as_columns
from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.errors import BackendError, DataError, UsageError
from harness.core.task import Reading
from harness.data.audio import sets
from harness.data.datasets import Dataset, Split, with_labels
from harness.data.labels import joined
from harness.data.shifts.audio import library_missing
from harness.data.splits import split_of
from harness.init import readings
from harness.init.chance import meant
from harness.init.class_order import check_order, in_best_order
from harness.init.findings import Findings, Trial
from harness.init.open_rows import one_a_call
from harness.init.preprocess import Fit, Guess, fits, guesses
from harness.init.readings import Asked
from harness.init.running import joined_lengths, most_samples, order_of, outputs_of
from harness.init.source import Source
from harness.tasks.host import HostTask

SAMPLES = 64
#: Samples of a task whose answers are compared with each other: of few, none is near another.
MORE_SAMPLES = 512
#: Ways of resizing are not compared if there are more images: each way decodes all of them.
RESIZE_MOST = 2000
#: Two preprocessings whose answers differ with a larger p are not told apart.
APART_P = 0.1
#: The preprocessing that is chosen without labels.
UNSCORED = "0-1"
SMALLEST_SIDE = 8
#: Where no likely column of labels is explained so well, the others are tried.
CLEAR_SKILL = 0.2


def explore(
    session: Session,
    artifact: Artifact,
    source: Source,
    asked: Asked,
    *,
    channels_first: bool,
    count: int = SAMPLES,
) -> Findings:
    """Try every layout, preprocessing and output on the trial samples, then the ways of resizing.

    Raises
    ------
    DataError
        The data cannot be read, or do not fit the model.
    UsageError
        Something has to be chosen by the user.
    """
    if source.other_columns:
        return _best_column(session, artifact, source, asked, channels_first=channels_first)
    specs = {spec.name: spec for spec in session.inputs}
    table = source.tables[0]
    asked, reader = _reader_of_labels(asked, table)
    split = split_of(table, Path(), tuple(specs), reader)
    samples = _trial_samples(split, table, min(count, most_samples(session, split.test)))
    by_input: Mapping[str, Sequence[Fit]] = {
        name: fits(
            name, x, specs[name],
            channels_first=channels_first, layout=asked.layout, batch_axis=asked.batch_axis,
            is_audio=table.audio is not None,
        )
        for name, x in samples.inputs.items()
    }  # fmt: skip
    by_input, tried = _run(session, artifact, split, samples, by_input, table)
    where = table.labels or table.path or table.callable
    names = split.test.class_names
    ways = readings.readings(
        tried[0][1],
        _whole_labels(split),
        asked,
        where=where,
        names=names,
        tried=[outputs for _, outputs in tried],
        sampled=samples.labels,
        size=_size_of_images(next(iter(by_input.values()))[0], samples),
        inputs=samples.inputs,
        hop_s=_hop_s(table),
    )
    host = tasks.on_host(ways[0].task)
    if host.makes_labels:
        ways = [way for way in ways if way.task == host.task.name]
        split = with_labels(split, host, where=where)
        samples = with_labels(Split(samples.take(np.arange(0)), samples), host, where=where).test
    trials = [_scored(guess, way, outputs, samples) for guess, outputs in tried for way in ways]
    first = next(iter(by_input.values()))[0]
    kind = _shifts({name: input_fits[0] for name, input_fits in by_input.items()}, split)
    if samples.labels is None:
        trials.sort(key=lambda trial: UNSCORED not in trial.guess.text)
        notes = [
            "without labels no preprocessing can be scored: check [input], which has the most common one"
        ]
        if len(by_input) == 1 and len(next(iter(by_input.values()))) > 1 and not asked.layout:
            raise UsageError(
                "the samples fit the model in several layouts, and no labels tell which is right",
                where="--layout",
                next_step=f"name the layout with --layout: {first.step.layout}, …",
            )
        return Findings(table, split, tuple(trials), math.nan, kind, notes)
    truth = {way: readings.truth(way, samples.labels, names) for way in ways}
    task = meant([(t.reading, t.per_sample, truth[way]) for way in ways for t in trials if t.reading == way])
    few = len(samples) == count < MORE_SAMPLES
    if few and tasks.named(task).compares_samples:
        return explore(
            session, artifact, source, replace(asked, task=task),
            channels_first=channels_first, count=MORE_SAMPLES,
        )  # fmt: skip
    ways = [way for way in ways if way.task == task]
    trials = [trial for trial in trials if trial.reading.task == task]
    if math.isnan(trials[0].score):
        tasks.on_host(task).require(truth[ways[0]])
    # Stable: of equal scores the output that fits the labels best and the simplest preprocessing stay first.
    trials.sort(key=lambda trial: (-trial.score, ways.index(trial.reading)))
    if tasks.named(task).is_share and not tasks.named(task).has_classes:
        trials = _simplest_first(trials, [guess for guess, _ in tried])
    try:
        check_order(trials)
    except DataError:
        if source.other_order is None:
            raise
        return explore(session, artifact, source.other_order, asked, channels_first=channels_first)
    chance = float(readings.baseline(ways[0], truth[ways[0]]).mean())
    findings = Findings(table, split, tuple(trials), chance, kind)
    findings.notes.extend(_notes(findings, tuple(tried[0][1])))
    return _resize(findings, session, artifact, source, samples.ids)


def _hop_s(table: DataTable) -> float | None:
    """Seconds from a window of a stream to the next one; None where samples are no windows of streams."""
    audio = table.audio
    if audio is None or audio.hop_samples is None or sets.format_of(Path(table.labels)) != "audio-events":
        return None
    return audio.hop_samples / audio.rate_hz


def _size_of_images(input_fit: Fit, samples: Dataset) -> tuple[int, int] | None:
    """Return height and width of the samples; None where they are no images."""
    shape = next(iter(samples.inputs.values())).shape[1:]
    if input_fit.kind != "image" or len(shape) not in (2, 3):
        return None
    first = len(shape) == 3 and not input_fit.channels  # channels, height, width
    height, width = shape[1:] if first else shape[:2]
    return int(height), int(width)


def _reader_of_labels(asked: Asked, table: DataTable) -> tuple[Asked, HostTask | None]:
    """Return the task that reads the labels itself, asked for or told by the labels; None without one."""
    if asked.task:
        return asked, tasks.on_host(asked.task)
    for name, host in tasks.every_on_host().items():
        if table.labels and host.reads_labels and host.recognises(Path(table.labels)):
            return replace(asked, task=name), host
    return asked, None


def _best_column(
    session: Session, artifact: Artifact, source: Source, asked: Asked, *, channels_first: bool
) -> Findings:
    """Explore with each possible label column, and return the findings that beat chance most."""
    explored: list[Findings] = []
    refused, count = None, 0
    for tables in ((source.tables[0], *source.other_columns), source.last_columns):
        if any(findings.skill > CLEAR_SKILL for findings in explored):
            break
        for table in tables:
            count += 1
            try:
                one = Source((table,), source.notes)
                explored.append(explore(session, artifact, one, asked, channels_first=channels_first))
            except (DataError, UsageError) as error:
                refused = refused or error
    if not explored and refused is not None:
        raise refused
    best = max(explored, key=lambda findings: findings.skill)  # the first of equal ones
    columns = as_columns(best.table.label_column)
    what, them = ("columns", "them") if len(columns) > 1 else ("column", "it")
    best.notes.append(
        f"labels come from the {what} {', '.join(map(repr, columns))}: the model explains {them} best of "
        f"{count} that could be labels (--label-column)"
    )
    return best


def _scored(guess: Guess, way: Reading, outputs: readings.Values, samples: Dataset) -> Trial:
    if samples.labels is None:
        return Trial(guess, way, np.empty(0))
    truth = readings.truth(way, samples.labels, samples.class_names)
    answers = readings.ordered_classes(way, outputs)
    reordered = in_best_order(answers, truth) if len(answers) else np.empty(0, bool)
    return Trial(guess, way, readings.score(way, outputs, truth), reordered)


def _run(
    session: Session,
    artifact: Artifact,
    split: Split,
    samples: Dataset,
    by_input: Mapping[str, Sequence[Fit]],
    table: DataTable,
    *,
    single: bool = False,
) -> tuple[Mapping[str, Sequence[Fit]], list[tuple[Guess, readings.Values]]]:
    """Run the candidates; one that the model refuses is left out, unless it refuses all.

    Where outputs turn out to have no axis of samples, all run again with one sample a call.

    Returns
    -------
    by_input : mapping of input name to sequence of Fit
        Those that the candidates have.
    ran : list of (Guess, outputs)
    """
    ran: list[tuple[Guess, readings.Values]] = []
    refused: BackendError | DataError | None = None
    for guess in guesses(by_input, split.calibration, samples):
        try:
            ran.append((guess, outputs_of(session, artifact, samples, guess.steps, table)))
        except (BackendError, DataError) as error:
            refused = refused or error
    if refused is not None and not single:
        alone = one_a_call(session, artifact, samples, by_input)
        if alone is not None:
            return _run(session, artifact, split, samples, alone, table, single=True)
    if refused is not None and (not ran or isinstance(refused, DataError)):
        raise refused
    return by_input, ran


def _whole_labels(split: Split) -> NDArray[np.generic] | None:
    """Return the labels of both parts in the order of the data set."""
    parts = [part for part in (split.calibration, split.test) if len(part)]
    labels = [part.labels for part in parts if part.labels is not None]
    if not labels or len(labels) < len(parts):
        return None
    order = np.argsort(np.concatenate([part.ids for part in parts]), kind="stable")
    whole: NDArray[np.generic] = joined(labels)[order]
    return whole


def _trial_samples(split: Split, table: DataTable, count: int) -> Dataset:
    """Choose the trial samples: calibration samples first, test samples only if those are too few."""
    parts = []
    missing = count
    for part in (split.calibration, split.test):
        parts.append(part.take(order_of(part, table)[:missing]))
        missing -= len(parts[-1])
    first, second = parts
    if not len(first):
        return second
    labels = None
    if first.labels is not None and second.labels is not None:
        labels = joined([first.labels, second.labels])
    return Dataset(
        {name: np.concatenate([first.inputs[name], second.inputs[name]]) for name in first.inputs},
        labels,
        np.concatenate([first.ids, second.ids]),
        first.class_names,
        metadata={
            name: np.concatenate([values, second.metadata[name]])
            for name, values in first.metadata.items()
            if name in second.metadata
        },
        lengths=joined_lengths(first, second),
    )


def _shifts(input_fits: Mapping[str, Fit], split: Split) -> str:
    """Return the kind of corruptions that apply; all inputs must be of one kind."""
    kinds = {input_fit.kind for input_fit in input_fits.values()}
    raws = split.test.inputs.values()
    if kinds == {"image"} and all(input_fit.channels for input_fit in input_fits.values()):
        return "image" if all(min(raw.shape[1:3]) >= SMALLEST_SIDE for raw in raws) else "none"
    if kinds == {"audio"}:
        return "none" if library_missing() else "audio"
    # Strengths are relative to the spread of the calibration samples.
    return "features" if kinds == {"features"} and len(split.calibration) > 1 else "none"


def _notes(findings: Findings, outputs: tuple[str, ...]) -> list[str]:
    """Return what was chosen, and what speaks against it.

    Raises
    ------
    UsageError
        The samples fit in several layouts that the scores do not tell apart.
    """
    best, *others = findings.trials
    notes = [f"answers: {best.reading.text}"] if best.reading.text else []
    read = [name or outputs[0] for name in tasks.named(best.reading.task).outputs(best.reading)]
    if others_ := [name for name in outputs if name not in read]:
        what = f"the output {read[0]} is" if len(read) == 1 else f"the outputs {', '.join(read)} are"
        them = "the others are" if len(others_) > 1 else f"{others_[0]} is"
        notes.append(f"{what} scored, of {', '.join(outputs)}; {them} compared with the float model")
    if not tasks.named(best.reading.task).is_share:
        return notes
    notes += tasks.on_host(best.reading.task).notes(best.reading, findings.split.test.class_names)
    for other in others:
        if other.reading.output != best.reading.output:
            continue
        if not _apart(best, other) and other.guess.layouts != best.guess.layouts:
            raise UsageError(
                f"{best.per_sample.size} samples are too few to tell {best.guess.text!r} from "
                f"{other.guess.text!r}",
                where="--layout",
                next_step=f"name the layout: --layout {best.guess.layouts[0][0]}, or give more labelled "
                "samples",
            )
    for other in [other for other in others if other.reading == best.reading][:1]:
        if other.score == best.score:
            notes.append(f"{other.guess.text!r} has the same score: the simpler one was chosen")
        elif not _apart(best, other):
            notes.append(
                f"{best.per_sample.size} samples are too few to rule out {other.guess.text!r}: check the "
                "model's training"
            )
    return notes


def _simplest_first(trials: list[Trial], guesses_: list[Guess]) -> list[Trial]:
    """Put the first guess in front whose score is no worse than the best one but by luck.

    Scores of answers that are compared with each other vary with every guess, also where both are right.
    """
    best, *others = trials
    same = [trial for trial in others if trial.reading == best.reading and not _apart(best, trial)]
    simplest = min((best, *same), key=lambda trial: guesses_.index(trial.guess))
    return [simplest, *(trial for trial in trials if trial is not simplest)]


def _apart(best: Trial, other: Trial) -> bool:
    """Whether the better score of one trial is no luck."""
    return tasks.on_host(best.reading.task).apart(best.per_sample, other.per_sample, p=APART_P)


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
        split = split_of(table, Path(), tuple(findings.split.test.inputs), tasks.on_host(findings.task))
        again = _by_id(split, ids)
        outputs = outputs_of(session, artifact, again, best.guess.steps, table)
        assert again.labels is not None
        truth = readings.truth(best.reading, again.labels, again.class_names)
        trial = Trial(best.guess, best.reading, readings.score(best.reading, outputs, truth))
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
        joined(labels) if labels else None,
        ids,
        split.test.class_names,
    )
