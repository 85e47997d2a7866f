"""Rows about several shifted copies of the data together: CE, mCE, extra loss, the family that lost most.

Made of the rows of the single cases, which say what each sample contributes: nothing is run or read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.cause import Cause
from harness.core.job import DEPLOY, Job, JobKey, Status
from harness.core.measurement import SHIFTS, Measurement, Row
from harness.core.metric import Metric, Role
from harness.core.suite import CLEAN
from harness.stats import corruption
from harness.stats.corruption import Errors
from harness.stats.intervals import Interval
from harness.tasks.host import HostTask
from harness.tasks.rows import PT, row
from harness.tasks.shared import whole_set
from suites.accuracy import sequences

#: A loss under shift minus one on clean data: from right there and wrong here to the reverse of both.
EXTRA_REACH = 2 * PT
#: Families that are listed in one sentence.
LISTED = 5

METRICS: Mapping[str, Metric] = {
    "corruption_error": replace(whole_set("1", "lower"), case="", role=Role.CORRUPTION_ERROR),
    "mean_corruption_error": replace(whole_set("1", "lower"), case=SHIFTS),
    "extra_loss": replace(whole_set("pt", "lower"), case="", role=Role.EXTRA_LOSS),
    "mean_extra_loss": replace(whole_set("pt", "lower"), case=SHIFTS),
    "worst_family_loss": replace(whole_set("pt", "lower", role=Role.WORST_LOSS, share="paired"), case=SHIFTS),
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """One family and severity: the errors of each sample, and what the variant lost, in points."""

    key: JobKey
    errors: NDArray[np.float64]
    base: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Family:
    """The cells of one family, by severity."""

    name: str
    cells: tuple[_Cell, ...]

    def errors(self, n: int) -> Errors:
        return Errors(*(np.mean([side[:n] for side in sides], axis=0) for sides in self._sides()))

    def lost(self, n: int) -> NDArray[np.float64]:
        """Mean loss of each sample, in points."""
        errors = self.errors(n)
        lost: NDArray[np.float64] = PT * (errors.candidate - errors.reference)
        return lost

    def _sides(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        return [cell.errors for cell in self.cells], [cell.base for cell in self.cells]

    @property
    def severities(self) -> str:
        return ", ".join(str(cell.key.severity) for cell in self.cells)


def together(jobs: Sequence[Job], rows: Sequence[Row], task: str) -> Iterator[tuple[JobKey, Measurement]]:
    """Yield the rows of one variant on one target, each with the key of a job that it is made from.

    Parameters
    ----------
    jobs : sequence of Job
        Of one batch.
    rows : sequence of Row
        What `AccuracySuite.summarise` made of them.
    task : str
    """
    host = tasks.on_host(task)
    cells = _cells(host, rows)  # mistakes of a deployment have none of these rows
    families = [
        _Family(name, tuple(cell for cell in cells if cell.key.case == name))
        for name in dict.fromkeys(cell.key.case for cell in cells)
        if name != CLEAN
    ]
    if not families:
        return
    n = min(len(cell.errors) for cell in cells)
    lengths = next(job.case.params.get("sequences", ()) for job in jobs if job.key == cells[0].key)
    units = sequences.index_of(lengths)
    clean = next((cell for cell in cells if cell.key.case == CLEAN), None)
    for key, made in _rows(host, families, clean, n, None if units is None else units[:n]):
        yield key, replace(made, unit=METRICS[made.metric].unit, severity=0)


def _rows(
    host: HostTask, families: Sequence[_Family], clean: _Cell | None, n: int, units: NDArray[np.int64] | None
) -> Iterator[tuple[JobKey, Measurement]]:
    first = families[0].cells[0].key
    reach = 1.0 if host.task.is_share else None
    errors = corruption.corruption_errors([family.errors(n) for family in families], units, reach=reach)
    undefined = [family.name for family, one in zip(families, errors.families, strict=True) if one is None]
    for family, one in zip(families, errors.families, strict=True):
        made = _row("corruption_error", one, family.name, f"severities {family.severities}")
        if one is None:
            made = _skipped(made, f"the reference makes no error under {family.name}")
        yield family.cells[0].key, made
    text = f"{len(families) - len(undefined)} families"
    if undefined:
        text += f"; without {_listed(undefined)}, where the reference makes no error"
    made = _row("mean_corruption_error", errors.mean, SHIFTS, text)
    yield first, made if errors.mean is not None else _skipped(made, "the reference makes no error")
    if not host.task.is_share:
        return  # an error in units of its own is no number of points
    lost = np.stack([family.lost(n) for family in families], axis=1)
    worst = corruption.worst_mean(lost, units, reach=PT)
    name = families[worst.place].name
    text = f"{name} lost {worst.interval.value:.3g} pt, the worst of {len(families)}"
    if worst.bounding != worst.place:
        text += f"; the bound is that of {families[worst.bounding].name}"
    yield families[worst.place].cells[0].key, _row("worst_family_loss", worst.interval, SHIFTS, text)
    if clean is None:
        return
    extra = lost - PT * (clean.errors[:n] - clean.base[:n])[:, None]
    whole = np.concatenate([extra, extra.mean(axis=1)[:, None]], axis=1)
    *by_family, mean = corruption.mean_intervals(whole, units, reach=EXTRA_REACH)
    for family, one, column in zip(families, by_family, extra.T, strict=True):
        made = _row("extra_loss", one, family.name, f"severities {family.severities}")
        independent = column if units is None else None
        yield family.cells[0].key, replace(made, per_sample=independent, reach=EXTRA_REACH)
    made = _row("mean_extra_loss", mean, SHIFTS, f"{len(families)} families")
    yield first, replace(made, per_sample=whole[:, -1] if units is None else None, reach=EXTRA_REACH)


def _cells(host: HostTask, rows: Sequence[Row]) -> list[_Cell]:
    """The cases of what ships that have errors of the variant and of the reference, sample by sample."""
    if host.under_shift is None:
        return []
    by_key: dict[JobKey, dict[str, NDArray[np.float64]]] = {}
    for one in rows:
        m = one.measurement
        shipped = one.key.setting == DEPLOY and not m.case and m.status is Status.OK
        if shipped and m.metric in host.under_shift and m.per_sample is not None:
            by_key.setdefault(one.key, {})[m.metric] = m.per_sample
    quality, loss = host.under_shift
    return [
        _Cell(key, *_errors(values[quality], values[loss], is_share=host.task.is_share))
        for key, values in by_key.items()
        if quality in values and loss in values
    ]


def _errors(
    quality: NDArray[np.float64], loss: NDArray[np.float64], *, is_share: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors of each sample, of the variant and of the reference.

    Parameters
    ----------
    quality : ndarray, shape (n,)
        Of a share what is right of a sample, else its error.
    loss : ndarray, shape (n,)
        Of a share what was lost, in points; else how much larger the error is, as a share of the reference's
        mean error.
    """
    n = min(len(quality), len(loss))
    if is_share:
        errors = 1 - quality[:n]
        return errors, np.clip(errors - loss[:n] / PT, 0.0, 1.0)
    errors = quality[:n]
    scale = float(errors.mean()) / (1 + float(loss[:n].mean()))
    return errors, np.maximum(errors - scale * loss[:n], 0.0)


def _row(metric: str, interval: Interval | None, case: str, reason: str) -> Measurement:
    value: float | Interval = float("nan") if interval is None else interval
    return replace(row(metric, value, "float32@host"), case=case, reason=reason)


def _skipped(made: Measurement, reason: str) -> Measurement:
    return replace(made, status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_DATA)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
