"""Distances of the output numbers from those of a reference, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.stats import accuracy
from suites.accuracy.answers import Answers
from suites.accuracy.rows import Facts, Group, row, share


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


DISTANCE = Group(("sqnr", "max_abs_difference"), _distance, against=True, outputs=True)
BIT_EXACT = Group(("bit_exact",), _bit_exact, against=True)
LSB = Group(("max_lsb", "mean_lsb"), _lsb, against=True, outputs=True)
