"""Distances of the output numbers from those of a reference, whatever the task."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.stats import accuracy
from harness.tasks.answers import Answers
from harness.tasks.rows import Facts, Group, Undefined, row, share


def _distance(facts: Facts) -> Iterator[Measurement]:
    """The worst of several outputs."""
    pairs = list(zip(facts.base.outputs, facts.answers.outputs, strict=True))
    n = len(facts.answers)
    yield row("sqnr", min(accuracy.sqnr_db(*pair) for pair in pairs), facts.reference, n=n)
    yield row(
        "max_abs_difference", max(accuracy.max_abs_difference(*pair) for pair in pairs), facts.reference, n=n
    )


def _bit_exact(facts: Facts) -> Iterator[Measurement]:
    """A sample is exact where all outputs are. Samples are counted: elements of one are not independent."""
    same = same_bits(facts.base, facts.answers, len(facts.answers))
    yield row("bit_exact", share(same), facts.reference, per_sample=same)


def same_bits(base: Answers, answers: Answers, n: int) -> NDArray[np.bool_]:
    """Return which of the first `n` samples have the same bits in all outputs, shape (n,)."""
    pairs = zip(base.hashes, answers.hashes, strict=True)
    exact = [accuracy.bit_exact_rows(one[:n], other[:n]) for one, other in pairs]
    same: NDArray[np.bool_] = np.logical_and.reduce(exact)
    return same


def _lsb(facts: Facts) -> Iterator[Measurement]:
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
    yield row("max_lsb", float(every.max(initial=0.0)), facts.reference, n=len(answers))
    yield row("mean_lsb", float(every.mean()), facts.reference, n=len(answers))


def _rounding(facts: Facts) -> Iterator[Measurement]:
    """The largest difference over what rounding explains, and where it is."""
    if not facts.rounding and not facts.same_runtime:
        raise Undefined(f"no bound is known: {facts.no_rounding}")
    worst, note = 0.0, ""
    for position, name in enumerate(facts.base.names):
        bound = 0.0 if facts.same_runtime else facts.rounding.get(name)
        dtype = np.dtype(facts.base.dtypes[position])
        if bound is None or dtype.kind not in "biuf":  # integers that stand for themselves; text
            continue
        by_sample = _differences(facts, position)
        place = int(by_sample.argmax()) if len(by_sample) else 0
        over = int((by_sample > bound).sum())
        ratio = float(by_sample.max(initial=0.0)) / bound if bound else math.inf if over else 0.0
        if ratio >= worst:
            worst = ratio
            explained = f"{bound:.3g}" + (f": {facts.same_runtime}" if facts.same_runtime else "")
            differs = f"differs by {by_sample[place]:.3g} in sample {place}" if worst else "is equal"
            note = f"the output {name} {differs}, rounding explains {explained}"
            note += f"; more than that in {over} of {len(by_sample)} samples" if over else ""
    if not _are_whole(facts):
        note += "; of the lowest and the highest number of each sample alone: the outputs were not kept"
    made = row("difference_over_rounding", worst, facts.reference, n=len(facts.answers))
    yield replace(made, reason=note)


def _are_whole(facts: Facts) -> bool:
    return bool(facts.answers.outputs and facts.base.outputs)


def _differences(facts: Facts, position: int) -> NDArray[np.float64]:
    """Return the largest absolute difference of each sample of an output, shape (n,).

    Where only reductions were kept, what the lowest and the highest number show of it: it is at least that,
    and more than nothing where the bits differ.
    """
    if _are_whole(facts):
        one, other = (
            side.outputs[position].reshape(len(side), -1).astype(np.float64)
            for side in (facts.base, facts.answers)
        )
        least: NDArray[Any] = np.zeros(len(one))
    else:
        one, other = (
            np.stack([side.limits[position][end] for end in ("lowest", "highest")], axis=1)
            for side in (facts.base, facts.answers)
        )
        differs = facts.base.hashes[position] != facts.answers.hashes[position]
        least = np.where(differs, np.finfo(np.float64).tiny, 0.0)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):  # infinity minus infinity, where they are the same
        gaps = np.where(same, 0.0, np.nan_to_num(np.abs(one - other), nan=np.inf, posinf=np.inf))
    largest: NDArray[np.float64] = np.maximum(gaps.max(axis=1, initial=0.0), least)
    return largest


def _finite(facts: Facts) -> Iterator[Measurement]:
    """Samples whose outputs are not finite although those of the reference are."""
    broken = np.zeros(len(facts.answers), bool)
    for base, part in zip(facts.base.limits, facts.answers.limits, strict=True):
        is_finite = [np.isfinite(y["lowest"]) & np.isfinite(y["highest"]) for y in (base, part)]
        broken |= is_finite[0] & ~is_finite[1]
    first = f"the first is sample {int(broken.argmax())}" if broken.any() else ""
    made = row("nonfinite_outputs", float(broken.mean()), facts.reference, n=broken.size)
    yield replace(made, reason=first)


DISTANCE = Group(("sqnr", "max_abs_difference"), _distance, against=True, outputs=True)
BIT_EXACT = Group(("bit_exact",), _bit_exact, against=True)
FINITE = Group(("nonfinite_outputs",), _finite, against=True)
ROUNDING = Group(("difference_over_rounding",), _rounding, against=True)
LSB = Group(("max_lsb", "mean_lsb"), _lsb, against=True, outputs=True)
