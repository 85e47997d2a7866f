"""One number with its unit, interval and status; and the columns of the table, which are a contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause
from harness.core.job import JobKey, Status

COLUMNS = (
    "run_id",
    "target",
    "device",
    "arch",
    "backend",
    "backend_version",
    "provider",
    "precision",
    "setting",
    "model",
    "model_sha256",
    "variant",
    "artifact_sha256",
    "suite",
    "case",
    "severity",
    "metric",
    "unit",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "reference",
    "status",
    "reason",
    "started_utc",
)
KEY_COLUMNS = ("target", "backend", "setting", "variant", "suite", "case", "severity", "metric", "reference")

# Factors to the unit that the table uses for the quantity.
UNITS: dict[str, tuple[str, float]] = {
    "ns": ("ns", 1.0),
    "us": ("ns", 1e3),
    "µs": ("ns", 1e3),
    "ms": ("ns", 1e6),
    "s": ("ns", 1e9),
    "byte": ("byte", 1.0),
    "B": ("byte", 1.0),
    "kB": ("byte", 1e3),
    "MB": ("byte", 1e6),
    "GB": ("byte", 1e9),
    "pt": ("pt", 1.0),
    "1": ("1", 1.0),
    "%": ("1", 0.01),
    "dB": ("dB", 1.0),
    "1/s": ("1/s", 1.0),
    "1/h": ("1/s", 1 / 3600),
    "LSB": ("LSB", 1.0),
    "bit": ("bit", 1.0),
}
#: The metric of a row that stands for a whole case: it was skipped, or ended in an error.
WHOLE_CASE = "all"
#: The case of a row about all shifted copies of the data together.
SHIFTS = "shifts"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number that a suite made of raw samples.

    Parameters
    ----------
    metric, unit : str
        ``latency_p99`` in ``ns``; accuracy and shares have the unit ``1``, losses are points (``pt``).
    value : float
        NaN where there is none (status is then not OK).
    ci_low, ci_high : float
        Interval at one-sided 5 % each side; NaN where none is known.
    n : int
        Samples, requests or processes behind the value.
    reference : str
        What a relative metric is relative to (``float32@host``); empty for an absolute one.
    status : Status
    reason : str
        Why it is not OK. Of an OK row what the number is about, such as the group with the largest loss.
    cause : Cause
        Of a row that is not OK: what gates decide by. It is no column of the table.
    case, severity
        Only where they differ from the job's (one job measures several batch sizes).
    per_sample : ndarray, shape (n,), optional
        What each sample contributes to the value (its mean), in the run's sample order, so that a gate
        can combine cases by sample.
    reach : float, optional
        The largest absolute value of a sample in `per_sample`, where it is not that of the unit (100 of a
        loss in points, 1 of a share): 200 of a difference of two losses.
    """

    metric: str
    unit: str
    value: float
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    n: int = 0
    reference: str = ""
    status: Status = Status.OK
    reason: str = ""
    case: str = ""
    severity: int | None = None
    cause: Cause = Cause.UNSPECIFIED
    per_sample: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    reach: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement and where it came from: one line of the table.

    ``identity`` has the columns that neither the key nor the measurement knows (device, versions, hashes).
    """

    key: JobKey
    measurement: Measurement
    identity: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def case(self) -> str:
        """The case of the row."""
        return self.measurement.case or self.key.case

    @property
    def severity(self) -> int:
        """The severity of the row."""
        return self.key.severity if self.measurement.severity is None else self.measurement.severity

    def to_record(self) -> dict[str, Any]:
        """One value a column, in the order of ``COLUMNS``."""
        m = self.measurement
        values = {
            **self.identity,
            "target": self.key.target,
            "backend": self.key.backend,
            "setting": self.key.setting,
            "variant": self.key.variant,
            "suite": self.key.suite,
            "case": self.case,
            "severity": self.severity,
            "metric": m.metric,
            "unit": m.unit,
            "value": m.value,
            "ci_low": m.ci_low,
            "ci_high": m.ci_high,
            "n": m.n,
            "reference": m.reference,
            "status": m.status.value,
            "reason": m.reason,
        }
        return {column: values.get(column, "") for column in COLUMNS}
