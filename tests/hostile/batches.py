"""A batch that has lies, and an honest job behind each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from harness.core.job import Case, JobResult, Status
from tests.hostile.planted import LIES, SLOW

#: The lie whose process keeps the connection open: over ssh it ends at the deadline.
CHILD = "child that stays"
DEADLINE = "passed its deadline"


def cases(lies: Iterable[str], slow_s: float, slow: Iterable[str] = SLOW) -> tuple[Case, ...]:
    """The deadline of the slow ones is short."""
    made = [Case("good 1")]
    for lie in lies:
        made += [
            Case(lie, deadline_s=slow_s if lie in slow else 60.0, params={"do": lie}), Case(f"after {lie}"),
        ]  # fmt: skip
    return tuple(made)


def is_caught(results: Mapping[str, JobResult], lie: str) -> None:
    """The lie is the ERROR of its own job, in words that can be stored; the next job is as it should be."""
    bad = results[lie]
    assert bad.status is Status.ERROR
    assert LIES[lie][1] in bad.reason or (lie == CHILD and DEADLINE in bad.reason), bad.reason
    assert len(bad.reason) < 11_000
    bad.reason.encode()
    bad.raw.encode()
    is_good(results[f"after {lie}"])


def is_good(result: JobResult) -> None:
    assert result.status is Status.OK, result.reason
    assert result.samples.values["done"] is True
    np.testing.assert_array_equal(result.samples.arrays["x"], np.arange(5))
