"""Run what is about to be written: the float model on the host, and the recipe of every variant."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import tasks
from harness.compression import model_file
from harness.compression.choose import MOST_FEEDS, choose_int8, reading_of
from harness.compression.recipe import VariantBuilder
from harness.compression.states import with_states
from harness.config.folders import cache_folder
from harness.config.schema import ShiftsTable
from harness.config.validation import Validation, VariantTable
from harness.core.artifact import Artifact
from harness.core.contracts import Session
from harness.core.errors import HarnessError, UsageError
from harness.core.task import Reading
from harness.data import sets
from harness.data.datasets import Dataset, Split, with_labels
from harness.data.labels import joined
from harness.data.sets import step_of
from harness.data.splits import split_of
from harness.init import readings
from harness.init.chance import ALPHA, Evidence, evidence
from harness.init.running import joined_lengths, most_samples, order_of, outputs_of
from harness.store.cache import Cache

#: At most so many samples, and no more than run within about this time.
MOST_SAMPLES, WITHIN_S = 1000, 3.0
#: Samples that are run first, to know how long one takes.
FIRST = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """What the float model scored with the settings that are written.

    Parameters
    ----------
    reading : Reading
    evidence : Evidence
        The score of samples of the test and the calibration part, and chance.
    below_chance : str
        What a score far below chance says; empty where it is not, or says nothing.
    """

    reading: Reading
    evidence: Evidence
    below_chance: str = ""

    @property
    def beats_chance(self) -> bool:
        """The lower bound is above chance."""
        return self.evidence.beats_chance

    @property
    def text(self) -> str:
        """The score in one line."""
        task, score = tasks.named(self.reading.task), self.evidence.score
        if task.is_share:
            return (
                f"float32 {task.score_name} {100 * score.value:.2f} % [{100 * score.low:.2f}, "
                f"{100 * score.high:.2f}] of {score.n:,} samples; {task.chance_name} "
                f"{100 * self.evidence.chance:.1f} %"
            )
        return (
            f"float32 removes {100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}] of "
            f"the error of the best constant answer, {score.n:,} samples"
        )

    def require(self, *, tried: int, next_step: str) -> None:
        """Refuse a model that is no better than chance.

        Raises
        ------
        UsageError
            It is not, or that cannot be shown with so few samples.
        """
        if self.beats_chance:
            return
        cause = (
            f"the best of {tried} combinations of preprocessing and output: the labels, their order, or the "
            "preprocessing is another one"
        )
        task, score, chance = tasks.named(self.reading.task), self.evidence.score, self.evidence.chance
        if self.below_chance:
            cause = self.below_chance
        elif score.value > chance:
            cause = f"{score.n:,} samples are too few to show it, or the model is no better"
        raise UsageError(
            f"the float model is not better than {'chance' if task.is_share else 'a constant answer'}: "
            f"{self.text}",
            cause=cause,
            next_step=next_step,
        )


def prove(
    session: Session, artifact: Artifact, validation: Validation, folder: Path, *, tried: int
) -> Proof | None:
    """Run the float model with the settings of a validation; None without labels.

    Parameters
    ----------
    folder : Path
        Folder that the paths of `validation` start from.
    tried : int
        Combinations that these settings were the best of: one of them beats chance by luck (Bonferroni).
    """
    host = tasks.on_host(validation.model.task)
    names = tuple(spec.name for spec in session.inputs)
    split = split_of(validation.data, folder, names, host, host.task.read_options(validation.task))
    steps = {name: step_of(table) for name, table in validation.input.items()}
    host = tasks.on_host(validation.model.task)
    if host.makes_labels:
        split = with_labels(split, host, where=validation.data.path)
    data = _joined(split)
    if data is None or data.labels is None:
        return None
    table = validation.data
    order = order_of(data, table)
    begun, most = time.monotonic(), most_samples(session, data)
    first = data.take(order[: min(FIRST, most)])
    outputs = dict(outputs_of(session, artifact, first, steps, table))
    per_sample_s = (time.monotonic() - begun) / len(first)
    count = int(min(MOST_SAMPLES, len(data), max(FIRST, WITHIN_S / max(per_sample_s, 1e-9))))
    count = min(count, most)
    if count > FIRST:
        # Sequences are run from their beginning, so all of them again.
        begin = FIRST if table.sequence is None else 0
        more = outputs_of(session, artifact, data.take(order[begin:count]), steps, table)
        outputs = {name: np.concatenate([y[:begin], more[name]]) for name, y in outputs.items()}
    reading = readings.of_validation(validation, outputs)
    labels = readings.truth(reading, data.labels, data.class_names)[order[:count]]
    scores = readings.score(reading, outputs, labels)
    shown = evidence(reading, scores, labels, alpha=ALPHA / tried)
    below = tasks.on_host(reading.task).below_chance(shown.score, shown.chance, labels)
    return Proof(reading, shown, below)


def _joined(split: Split) -> Dataset | None:
    parts = [part for part in (split.calibration, split.test) if len(part)]
    labels = [part.labels for part in parts if part.labels is not None]
    if len(labels) < len(parts):
        return None
    return Dataset(
        {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs},
        joined(labels),
        np.concatenate([part.ids for part in parts]),
        max((part.class_names for part in parts), key=len),
        metadata={
            name: np.concatenate([part.metadata[name] for part in parts])
            for name in parts[0].metadata
            if all(name in part.metadata for part in parts)
        },
        lengths=joined_lengths(*parts),
    )


@dataclass(frozen=True, slots=True)
class Int8:
    """The int8 variant that was made.

    Parameters
    ----------
    recipe : tuple of mapping
        Empty if no recipe can be run.
    text : str
        What was tried and what it gave on the calibration data, or why there is no int8 variant.
    """

    recipe: tuple[Mapping[str, Any], ...]
    text: str


def make_int8(validation: Validation, folder: Path) -> Int8:
    """Choose the int8 recipe on calibration data, and make the variant with the settings of a validation."""
    cache = Cache(cache_folder())
    alone = validation.model_copy(update={"shifts": ShiftsTable()})
    builder = VariantBuilder(alone, folder, cache)
    assert builder.model is not None, "only an ONNX model has recipes"
    info = model_file.inspect_onnx(builder.model)
    try:
        count = info.scores(validation)
        data = sets.prepare(alone, folder, cache, info.inputs, count)
        data = with_states(builder.model, data)
        reading = reading_of(builder.model, validation)
        feeds = list(data.calibration_feeds())
        choice = choose_int8(builder.model, feeds, data.calibration.labels, reading=reading)
        if choice.best.failed:
            return Int8((), choice.text())
        made = alone.model_copy(
            update={"variants": {"int8": VariantTable(recipe=tuple(map(dict, choice.best.recipe)))}}
        )
        result = choice.best.result if len(feeds) <= MOST_FEEDS else None
        results = {} if result is None else {"int8": result}
        VariantBuilder(made, folder, cache, results=results).build(["int8"], ("onnx",), data)
    except HarnessError as error:
        return Int8((), error.what)
    return Int8(choice.best.recipe, choice.text())
