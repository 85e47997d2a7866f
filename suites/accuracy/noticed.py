"""Whether a device would notice a shift by the outputs alone, without labels, and from how many samples on.

Clean and shifted copies of one sample are not independent, so a random half of the samples of the clean case
is compared with the other half of the shifted one: what a device has, which sees other samples each day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.cause import Cause
from harness.core.job import DEPLOY, Job, JobKey, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Metric
from harness.core.suite import CLEAN
from harness.stats import shift_detection
from harness.stats.shift_detection import Change
from harness.tasks.rows import row

#: Of more numbers a sample its lowest and highest one are compared.
MOST_NUMBERS = 64
#: Fewer samples a side say nothing of a distribution.
FEWEST = 20
_SEED = 20261128  # fixed, so that a run that is judged twice gives the same bytes
TESTS = {
    "ks": shift_detection.kolmogorov_smirnov,
    "psi": shift_detection.population_stability,
    "mmd": shift_detection.mean_discrepancy,
}
METRICS: Mapping[str, Metric] = {
    name: Metric("1", per_data_set=True) for test in TESTS for name in (test, f"{test}_samples")
}


def rows(results: Sequence[tuple[Job, JobResult]], task: str) -> Iterator[tuple[JobKey, Measurement]]:
    """Yield the rows of each shifted case of a deep run, against the clean case of the same device."""
    if not tasks.on_host(task).has_outputs:
        return
    deep = {
        job.key: (job, result.samples)
        for job, result in results
        if job.case.params.get("deep") and job.case.setting == DEPLOY
    }
    clean = next((both for key, both in deep.items() if key.case == CLEAN), None)
    if clean is None:
        return
    before = _numbers(clean[1], task)
    for key, (job, samples) in deep.items():
        if key.case == CLEAN:
            continue
        after = _numbers(samples, task)
        # Not each second one: the order of samples is stratified, so that those would be of other classes.
        order = np.random.default_rng(_SEED).permutation(min(len(before), len(after)))
        half = len(order) // 2
        one, other = before[order[:half]], after[order[half : 2 * half]]
        one, other = (side[np.isfinite(side).all(axis=1)] for side in (one, other))
        least = min(len(one), len(other))
        if job.case.params.get("sequences"):
            made = _without("the steps of a sequence are not independent")
        elif least < FEWEST:
            made = _without(f"{least} samples a side with finite outputs, fewer than {FEWEST}")
        else:
            made = _measured(one, other)
        for measurement in made:
            yield key, replace(measurement, unit=METRICS[measurement.metric].unit)


def _measured(one: NDArray[np.float64], other: NDArray[np.float64]) -> Iterator[Measurement]:
    n = min(len(one), len(other))
    for name, test in TESTS.items():
        change = test(one, other)
        yield replace(row(name, change.effect, CLEAN, n=n), reason=_text(change, one.shape[1]))
        needed = row(f"{name}_samples", change.samples, CLEAN, n=n)
        if np.isnan(change.samples):
            reason = f"not noticed with {n} samples a side"
            needed = replace(needed, status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_DATA)
        yield needed


def _text(change: Change, numbers: int) -> str:
    text = f"p {change.p:.2g}"
    return f"{text}; {len(change.columns)} of {numbers} outputs changed" if change.columns else text


def _without(reason: str) -> Iterator[Measurement]:
    for name in METRICS:
        skipped = row(name, float("nan"), CLEAN)
        yield replace(skipped, status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_DATA)


def _numbers(samples: Samples, task: str) -> NDArray[np.float64]:
    """Numbers of the output that is scored, or the lowest and the highest one, shape (n, d)."""
    answers = tasks.on_host(task).read(samples)
    place = max(0, answers.position)
    if answers.outputs:
        flat = answers.outputs[place].reshape(len(answers), -1).astype(np.float64)
        if flat.shape[1] <= MOST_NUMBERS:
            return flat
    part = answers.limits[place]
    return np.stack([part[end].reshape(len(answers), -1)[:, 0] for end in ("lowest", "highest")], 1).astype(
        np.float64
    )
