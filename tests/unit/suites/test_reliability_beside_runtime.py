"""A backend beside the runtime that it loads: what it changes shows; what cannot be compared says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.contracts import Unsupported
from harness.core.job import Status, merge
from harness.core.measurement import Measurement
from suites.reliability.measure import measure
from tests.unit.suites.planted import FEATURES, MAGIC
from tests.unit.suites.reliability_bench import bench_of, case_named, rows_of


class Bare:
    """The runtime itself: the sum that the planted backend passes on."""

    def __init__(self, model: Path, dtype: str = "float32") -> None:
        content = model.read_bytes().removeprefix(MAGIC)
        self._weights = np.frombuffer(content, np.float32).reshape(FEATURES, -1)
        self._dtype = dtype

    def run(self, feeds: Any) -> list[Any]:
        with np.errstate(invalid="ignore"):
            return [(feeds["x"][:, :, None] * self._weights).sum(axis=1).astype(self._dtype)]

    def bind(self, feeds: Any) -> Callable[[], object]:
        return lambda: self.run(feeds)


def compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, dtype: str = "float32", **extra: str
) -> Measurement:
    case = case_named("call_forms", "deploy")
    bench = bench_of(folder, case, fault, **extra)
    monkeypatch.setattr(bench, "open_bare", lambda: Bare(bench.artifact.path, dtype))
    try:
        return rows_of(bench, merge(measure(bench, case)))["runtime_equal"]
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("fault", "differ", "says"),
    [
        ("", 0, ""),
        ("hides", 4, "4 answers differ, most by inf (all nan)"),
        ("batch 7", 0, ""),  # another check's; here all rows at once are eight
        ("position", 7, "7 answers differ, most by 0.00684 (all rows at once)"),
        ("short inputs", 20, "answers differ, most by"),
    ],
)
def test_every_answer_is_the_runtimes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, differ: int, says: str
) -> None:
    row = compared(tmp_path, monkeypatch, fault)
    assert row.n == 8 + 4 + 12  # all at once, four kinds of values that are not finite, alone
    assert round((1 - row.value) * row.n) == differ
    assert says in row.reason


def test_a_fixed_batch_has_no_other_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = compared(tmp_path, monkeypatch, "", batch="4")
    assert (row.value, row.n) == (1, 4 * 4 + 12)


def test_outputs_that_the_backend_converts_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = compared(tmp_path, monkeypatch, "", dtype="float64")
    assert row.status is Status.SKIPPED
    assert row.reason.startswith("its outputs have other numbers, types or axes")


@pytest.mark.parametrize(
    ("error", "says"),
    [(Unsupported("no"), "no"), (OSError("gone"), "the runtime alone cannot run it: ")],
)
def test_what_the_runtime_alone_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    case = case_named("call_forms", "deploy")
    bench = bench_of(tmp_path, case)

    def refuse() -> None:
        raise error

    monkeypatch.setattr(bench, "open_bare", refuse)
    row = rows_of(bench, merge(measure(bench, case)))["runtime_equal"]
    bench.close()
    assert row.status is Status.SKIPPED
    assert row.reason.startswith(says)
