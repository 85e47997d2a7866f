"""What outputs alone show of a shift: rows of deep runs, against the clean case of the same device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.job import Case, Job, JobKey, JobResult, Samples, Status
from harness.core.measurement import Measurement
from suites.accuracy import noticed

RNG = np.random.default_rng(8)
N = 600
#: The samples come in the order of their classes, 0 to 9 and again: each second one has other classes.
CLASSES = np.arange(N) % 10


def outputs(moved: float = 0.0, width: int = 10) -> NDArray[np.float32]:
    y = RNG.normal(size=(N, width)) + 4 * np.eye(10, width)[CLASSES]
    y[:, 1] += moved
    return y.astype(np.float32)


def cell(y: NDArray[Any], case: str = "clean", severity: int = 0, **params: Any) -> tuple[Job, JobResult]:
    planned = Case(case, severity=severity, setting="deploy", params={"deep": True, **params})
    job = Job("cpu", "onnxruntime", "int8", "accuracy", planned)
    samples = Samples({"output:0": y}, {"outputs": [["y", list(y.shape[1:])]]})
    return job, JobResult(job.key, Status.OK, samples=samples)


def rows(cells: Sequence[tuple[Job, JobResult]]) -> dict[tuple[str, str], Measurement]:
    made: list[tuple[JobKey, Measurement]] = list(noticed.rows(cells, "classification"))
    return {(key.case, measurement.metric): measurement for key, measurement in made}


def test_a_strong_shift_is_noticed_with_a_number_and_none_is_not() -> None:
    made = rows([cell(outputs()), cell(outputs(1.5), "fog", 3), cell(outputs(), "haze", 1)])
    assert {name for _, name in made} == set(noticed.METRICS)
    for test in noticed.TESTS:
        fog, haze = made["fog", f"{test}_samples"], made["haze", f"{test}_samples"]
        assert (fog.status, fog.reference, fog.unit, fog.n) == (Status.OK, "clean", "1", N // 2)
        assert 10 < fog.value < 300
        assert (haze.status, haze.reason) == (Status.SKIPPED, f"not noticed with {N // 2} samples a side")
        assert made["fog", test].value > made["haze", test].value
    assert made["fog", "ks"].reason.endswith("1 of 10 outputs changed")


def test_the_same_answers_are_not_noticed_although_the_order_is_stratified() -> None:
    y = outputs()
    made = rows([cell(y), cell(y, "fog", 3)])
    assert all(made["fog", f"{test}_samples"].status is Status.SKIPPED for test in noticed.TESTS)


def test_large_outputs_are_compared_by_their_ends_and_few_finite_ones_not_at_all() -> None:
    wide = rows([cell(outputs(width=100)), cell(outputs(9.0, width=100), "fog", 3)])
    assert "of 2 outputs changed" in wide["fog", "ks"].reason
    broken = outputs()
    broken[20:] = np.nan
    made = rows([cell(outputs()), cell(broken, "fog", 3)])
    assert made["fog", "ks"].status is Status.SKIPPED
    assert "samples a side with finite outputs, fewer than 20" in made["fog", "ks"].reason


def test_quick_runs_have_no_such_rows_and_steps_of_sequences_are_refused() -> None:
    assert rows([cell(outputs(), deep=False), cell(outputs(1.0), "fog", 3, deep=False)]) == {}
    assert rows([cell(outputs(1.0), "fog", 3)]) == {}, "nothing to compare with"
    made = rows([cell(outputs()), cell(outputs(), "fog", 3, sequences=[N])])
    assert made["fog", "mmd"].reason == "the steps of a sequence are not independent"
