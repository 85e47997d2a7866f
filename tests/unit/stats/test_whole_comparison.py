"""What is called worse among all rows of a comparison, and beside another load."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.core.measurement import COLUMNS
from harness.stats.disturbance import Load
from harness.stats.table_changes import Change, compare
from tests.unit.stats.compared_tables import LATENCY, MEMORY, at, record, samples_of, side


@pytest.mark.parametrize(("slower", "expected"), [(1.3, Change.WORSE), (1.15, Change.UNCLEAR)])
def test_a_slowdown_by_a_third_is_called_worse(slower: float, expected: Change) -> None:
    """Five processes that differ by 2 %, among 40 rows that did not change."""
    half = stats.t.isf(0.05, 4) * 0.02 / math.sqrt(5)
    sides = []
    for factor in (1.0, slower):
        p50 = LATENCY | {"case": "single_stream"} | at(*factor * np.exp([0, -half, half]))
        others = [LATENCY | {"case": f"c{i}"} | at(*np.exp([0, -half, half])) for i in range(40)]
        sides.append(side(record(**p50), *(record(**row) for row in others)))
    compared = compare(*sides).set_index("case")
    assert compared.loc["single_stream", "class"] == expected
    assert set(compared["class"]) == {expected, Change.SAME}


@pytest.mark.parametrize(("flips", "expected"), [(16, Change.WORSE), (4, Change.UNCLEAR)])
def test_two_points_of_accuracy_are_called_worse_among_hundreds_of_rows(flips: int, expected: Change) -> None:
    """Of 800 samples; with 1,000 other rows of which no sample differs, and 40 times."""
    base = (np.random.default_rng(5).uniform(size=800) < 0.97).astype(float)
    new = base.copy()
    new[np.flatnonzero(base)[:flips]] = 0
    rows = [(record(case=f"shift{index}", severity=1), base) for index in range(1000)]
    times = [{**record(**LATENCY, case=f"c{index}", **at(100, 95, 105))} for index in range(40)]
    sides = []
    for values in (base, new):
        whole = samples_of((record(value=values.mean()), values), *rows)
        frame = pd.concat([whole.frame, pd.DataFrame(times, columns=list(COLUMNS))], ignore_index=True)
        sides.append(replace(whole, frame=frame))
    compared = compare(*sides).set_index("case")
    assert compared.loc["clean", "class"] == expected
    assert set(compared["class"]) == {expected, Change.SAME}


BATCH = ("cpu", "onnxruntime", "int8", "performance")


@pytest.mark.parametrize(
    ("loads", "slower", "expected"),
    [
        ((0.2, 0.2), 2.0, Change.WORSE),
        ((0.2, 0.6), 2.0, Change.UNCLEAR),
        ((0.6, 0.2), 2.0, Change.UNCLEAR),
        ((0.2, 0.6), 0.5, Change.UNCLEAR),
        ((0.2, math.nan), 2.0, Change.WORSE),
    ],
)
def test_times_beside_another_load_are_called_neither_worse_nor_better(
    loads: tuple[float, float], slower: float, expected: Change
) -> None:
    rows = [
        [
            record(**LATENCY, **at(value, 0.99 * value, 1.01 * value)),
            record(**MEMORY, **at(memory, memory, memory)),
        ]
        for value, memory in ((100.0, 70.0), (100.0 * slower, 80.0))
    ]
    sides = [
        side(*part, label=label, loads={BATCH: Load(others, 0.0, 0.0)})
        for label, part, others in zip(("old", "new"), rows, loads, strict=True)
    ]
    compared = compare(*sides).set_index("metric")
    assert compared.loc["latency_p50", "class"] == expected
    assert compared.loc["peak_memory", "class"] == Change.WORSE  # memory does not depend on the load
    if expected is Change.UNCLEAR:
        busy, other = ("new", "old") if loads[1] > loads[0] else ("old", "new")
        by = "worse" if slower > 1 else "better"
        assert compared.loc["latency_p50", "why"] == (
            f"{by} by itself, but {busy} ran on a busier machine than {other}: "
            "other programs used 60 % of its time against 20 %"
        )
    crowded = [replace(part, loads={BATCH: Load(0.5, 0.3, 0.0)}) for part in sides]
    row = compare(*crowded).set_index("metric").loc["latency_p50"]
    assert row["class"] == Change.UNCLEAR
    assert "old and new ran beside other programs: the process waited" in row["why"]
    elsewhere = [replace(part, loads={("cpu", "x", "int8", "performance"): Load(o, 0.0, 0.0)})
                 for part, o in zip(sides, loads, strict=True)]  # fmt: skip
    assert compare(*elsewhere).set_index("metric").loc["latency_p50", "class"] in (
        Change.WORSE,
        Change.BETTER,
    )
    assert compare(*sides, devices=True).iloc[0]["class"] in (Change.WORSE, Change.BETTER)
