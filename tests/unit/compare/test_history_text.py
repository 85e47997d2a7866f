"""The line of a series."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.compare.history_text import SPARK_WIDTH, SPARKS, sparkline


def test_bars_go_from_the_lowest_to_the_highest() -> None:
    assert sparkline(np.array([0.0, 7.0, 3.0])) == "▁█▄"
    assert sparkline(np.array([5.0, 5.0])) == "▁▁"
    assert sparkline(np.repeat([1.0, 2.0], 480)) == "▁" * (SPARK_WIDTH // 2) + "█" * (SPARK_WIDTH // 2)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100))
def test_every_series_has_a_line_of_bars(values: list[float]) -> None:
    line = sparkline(np.array(values))
    assert len(line) == min(len(values), SPARK_WIDTH)
    assert set(line) <= set(SPARKS)
