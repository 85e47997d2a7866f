"""Arrays in other forms, and bound calls: each planted fault shows in its own row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.job import Status
from suites.reliability.forms import FORMS, NO_BOUND_CALL
from tests.unit.suites.reliability_bench import case_named, measured


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(sorted(FORMS)))
def test_a_form_holds_the_same_values(shape: list[int], name: str) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    before = x.copy()
    form = FORMS[name](x)
    assert np.array_equal(form, before)
    assert np.array_equal(x, before)
    assert form.dtype == x.dtype


def test_forms_are_what_they_are_called() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert not FORMS["every second value of an array"](x).flags.c_contiguous
    assert FORMS["an array in the order of Fortran"](x).flags.f_contiguous
    assert not FORMS["a read-only array"](x).flags.writeable
    assert x.flags.writeable


@pytest.mark.parametrize(
    ("fault", "layout", "bound", "says"),
    [
        ("", 0, 0, ""),
        ("strides", 1, 0, "with every second value of an array the output y differs"),
        ("bound differs", 0, 1, ""),
        ("needs writable", 0, 0, "a read-only array: raised ValueError"),
    ],
)
def test_call_forms(tmp_path: Path, fault: str, layout: bool, bound: bool, says: str) -> None:
    rows = measured(tmp_path, case_named("call_forms"), fault, binds="1")
    assert {name: row.value > 1 for name, row in rows.items()} == {
        "layout_max_over_rounding": bool(layout),
        "bound_max_over_rounding": bool(bound),
    }
    assert says in rows["layout_max_over_rounding"].reason


def test_a_session_without_bound_calls_or_whose_calls_return_nothing(tmp_path: Path) -> None:
    row = measured(tmp_path, case_named("call_forms"))["bound_max_over_rounding"]
    assert (row.value, row.reason) == (0, NO_BOUND_CALL)
    (tmp_path / "silent").mkdir()
    row = measured(tmp_path / "silent", case_named("call_forms"), "bound is silent", binds="1")[
        "bound_max_over_rounding"
    ]
    assert row.status is Status.SKIPPED
    assert row.reason == "a bound call of this session returns no outputs"


def test_a_fixed_batch(tmp_path: Path) -> None:
    rows = measured(tmp_path, case_named("call_forms"), batch="4", binds="1")
    assert {row.value for row in rows.values()} == {0}
