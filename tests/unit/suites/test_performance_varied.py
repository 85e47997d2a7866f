from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.job import Case, Samples
from suites.performance.measure import measure
from suites.performance.varied import BETWEEN, order_of
from tests.unit.suites.planted import ROWS, InProcessBench, PlantedSession, StepClock, batch, rows

PARAMS = {"index": 0, "calls": 400, "max_seconds": 1.0, "batch_sizes": [1, 2, 3], "inputs": 8}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StepClock:
    """Each run of a planted session takes 100 ns."""
    clock = StepClock()
    honest = PlantedSession.run

    def run(self: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        clock.now_ns += 100
        return honest(self, feeds)

    monkeypatch.setattr(PlantedSession, "run", run)
    return clock


def run_here(
    folder: Path, clock: StepClock, extra: dict[str, str] | None = None, **params: object
) -> Samples:
    case = Case("varied", data="clean", samples=8, params=PARAMS | params)
    bench = InProcessBench(batch(folder, "performance", (case,), extra), case, folder, measure)
    bench.clock = clock
    (samples,) = measure(bench, case)
    assert bench.spawned == []  # it runs in the worker itself
    return samples


def test_every_call_is_compared_with_the_first_answer_of_its_input(tmp_path: Path, clock: StepClock) -> None:
    samples = run_here(tmp_path, clock)
    assert samples.arrays["answers"].tolist() == [[0, 1, 410, 0]]
    assert samples.arrays["varied_ns"].tolist() == [100] * 400
    assert samples.arrays["clocks"][0, 2] == 400 * 100
    assert samples.values == {}


def test_a_wrong_answer_is_counted(tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, made = PlantedSession.run, [0]

    def run(self: PlantedSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made[0] += 1
        y = honest(self, feeds)["y"]
        return {"y": y + np.float32(made[0] == 300)}

    monkeypatch.setattr(PlantedSession, "run", run)
    samples = run_here(tmp_path, clock)
    assert samples.arrays["answers"].tolist() == [[0, 1, 410, 1]]
    warmed = 3 + 3 * (8 + 1 + 1)
    assert samples.arrays["wrong_calls"].tolist() == [[0, 1, 300 - 1 - warmed]]


def test_inputs_and_batch_sizes_vary(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    honest = PlantedSession.run
    monkeypatch.setattr(
        PlantedSession, "run", lambda self, feeds: seen.append(feeds["x"]) or honest(self, feeds)
    )
    run_here(tmp_path, clock)
    assert {len(x) for x in seen} == {1, 2, 3}
    single = np.unique([x[0] for x in seen if len(x) == 1], axis=0)
    assert np.array_equal(single, np.unique(rows()[:8], axis=0))


def test_a_file_with_a_fixed_batch_gets_varied_inputs_of_that_size(
    tmp_path: Path, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    honest = PlantedSession.run
    monkeypatch.setattr(
        PlantedSession, "run", lambda self, feeds: seen.append(feeds["x"]) or honest(self, feeds)
    )
    samples = run_here(tmp_path, clock, {"batch": "5"})
    assert {len(x) for x in seen} == {5}
    assert len({x.tobytes() for x in seen}) == 8
    assert samples.arrays["answers"].tolist() == [[0, 5, 408, 0]]


@pytest.mark.parametrize(
    ("max_seconds", "calls", "inputs"),
    [(1e-5, 100, 10), (1e-6, 10, 3), (1e-9, 1, 1)],  # of 100 ns
)
def test_a_slow_model_is_called_less_often_with_fewer_inputs(
    tmp_path: Path, clock: StepClock, max_seconds: float, calls: int, inputs: int
) -> None:
    samples = run_here(tmp_path, clock, max_seconds=max_seconds)
    assert len(samples.arrays["varied_ns"]) == calls
    assert samples.arrays["answers"].tolist() == [[0, 1, calls + inputs, 0]]
    warmed = 3 + 3 * inputs
    assert clock.now_ns == 1_000 + 100 * (warmed + calls)


@given(st.integers(1, 12), st.lists(st.integers(2, 9), max_size=4, unique=True), st.integers(1, 700))
def test_all_inputs_have_their_turn_and_most_are_of_the_first_size(
    inputs: int, others: list[int], n: int
) -> None:
    sizes = [1] * inputs + others
    order = order_of(sizes, n)
    assert len(order) == n
    counted = Counter(order)
    usual = sum(counted[index] for index in range(inputs))
    assert usual >= n * BETWEEN / (BETWEEN + 1)
    if n >= BETWEEN * 12 * (len(others) + 1):
        assert set(order) == set(range(len(sizes)))
    assert ROWS  # the planted data has as many rows as the largest example
