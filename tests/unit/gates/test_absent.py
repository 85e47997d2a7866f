"""Which pattern of a gate left no row, and what there is in its place."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.job import Status
from harness.gates.absent import NAMED, absent
from tests.unit.gates.test_judge import gate, row, whole

ROWS = [
    row(case="fog", severity=1), row(case="fog", severity=3), row(case="clean"),
    row(metric="other", case="rain"), row(suite="performance", metric="latency"),
    whole(Status.ERROR, "it broke", case="snow"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asks", "sentence"),
    [
        ({"metric": "n*"}, "no row of the suite accuracy has the metric n*; the rows have m, other"),
        ({"setting": "parity"}, "no row of m has the setting parity; the rows have deploy"),
        ({"cases": ("a", "b*")}, "no row of m has the case a or b*; the rows have clean, fog"),
        (
            {"cases": ("fog",), "severities": (2, 4)},
            "no row of m in fog has the severity 2 or 4; the rows have 1, 3",
        ),
        ({"severities": (5,)}, "no row of m has the severity 5; the rows have 0, 1, 3"),
        ({"reference": "float32@*"}, "no row of m has the reference float32@*; the rows have none"),
        ({"suite": "theirs"}, "no row of the suite theirs has the metric m"),
    ],
)
def test_the_first_pattern_that_no_row_fits_is_named(asks: dict[str, Any], sentence: str) -> None:
    assert absent(gate(**asks), ROWS) == sentence


def test_of_many_names_the_first_are_given() -> None:
    rows = [row(case=f"c{place}") for place in range(NAMED + 1)]
    names = ", ".join(f"c{place}" for place in range(NAMED))
    assert absent(gate(cases=("x",)), rows) == f"no row of m has the case x; the rows have {names}, …"
    assert absent(gate(cases=("x",)), rows[:NAMED]) == f"no row of m has the case x; the rows have {names}"
