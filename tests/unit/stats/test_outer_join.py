"""The join against pandas' own, as texts and as categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats import outer_join

KEY = ["a", "b"]
KEYS = st.lists(
    st.tuples(st.sampled_from(["x", "y", "z", None]), st.integers(0, 5)), unique=True, max_size=20
)


def table(keys: list[tuple[str | None, int]], seed: int) -> pd.DataFrame:
    frame = pd.DataFrame(keys, columns=KEY).astype({"a": "str", "b": "int64"})
    value = np.random.default_rng(seed).normal(size=len(keys))
    return frame.assign(value=value, status=pd.array(["OK"] * len(keys), dtype="str"))


@given(KEYS, KEYS, st.booleans())
@settings(deadline=None)
def test_rows_and_order_are_those_of_a_merge(
    one: list[tuple[str | None, int]], two: list[tuple[str | None, int]], categories: bool
) -> None:
    base, new = table(one, 0), table(two, 1)
    expected = pd.merge(base, new, on=KEY, how="outer", suffixes=("_base", "_new"))
    if categories:
        base, new = (side.astype({"a": "category", "status": "category"}) for side in (base, new))
    joined = outer_join.outer(base, new, KEY, ["value", "status"])
    texts = dict.fromkeys(("a", "status_base", "status_new"), "str")
    pd.testing.assert_frame_equal(
        joined.astype(texts)[list(expected.columns)], expected.astype(texts), check_dtype=False
    )


def test_a_key_twice_is_refused() -> None:
    base = table([("x", 1), ("y", 1)], 0)
    with pytest.raises(pd.errors.MergeError, match="share a key"):
        outer_join.outer(pd.concat([base, base]), base, KEY, ["value"])


def test_keys_of_more_parts_than_one_integer_has_digits_for() -> None:
    rng = np.random.default_rng(0)
    names = [f"k{i}" for i in range(12)]
    base = pd.DataFrame({name: rng.permutation(1000) for name in names}).assign(value=np.arange(1000.0))
    joined = outer_join.outer(base, base[::-1].reset_index(drop=True), names, ["value"])
    assert len(joined) == 1000
    assert (joined["value_base"] == joined["value_new"]).all()


@pytest.mark.parametrize("size", [2, 50])
def test_numbers_and_first_rows_are_those_of_pandas(size: int) -> None:
    """Few keys are counted in an array, many are factorized."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(0, size, 40) for name in KEY}).sample(frac=1, random_state=0)
    ids = outer_join.numbered([frame[name] for name in KEY])
    assert ids.tolist() == frame.groupby(KEY, sort=True).ngroup().tolist()
    assert outer_join.first_rows(ids).tolist() == np.unique(ids, return_index=True)[1].tolist()


def test_no_rows_have_no_numbers() -> None:
    ids = outer_join.numbered([pd.Series([], dtype="int64")])
    assert (ids.tolist(), outer_join.first_rows(ids).tolist()) == ([], [])
