"""Sets by hash, and the first rows of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.core.job import DataRef
from harness.core.suite import SetInfo
from harness.data.sets import PreparedSet, head
from harness.store.cache import Cache


def test_the_first_rows_are_stored_once_and_again_when_lost(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    x = np.arange(30, dtype=np.uint8).reshape(10, 3)
    whole = DataRef({"x": cache.put_array(x)}, 10, x.nbytes)
    first = head(cache, whole, 4)
    path = cache.array_path(first.inputs["x"])
    np.testing.assert_array_equal(np.load(path), x[:4])
    assert (first.samples, first.size_byte) == (4, path.stat().st_size)
    path.unlink()
    assert head(cache, whole, 4) == first
    np.testing.assert_array_equal(np.load(path), x[:4])


def test_only_a_set_that_is_longer_is_cut() -> None:
    cut = PreparedSet(
        SetInfo("clean", "clean", 0, 10, str),
        DataRef({"x": "whole"}, 10, 30),
        lambda rows: DataRef({"x": "head"}, rows, 3 * rows),
    )
    assert [cut.at_most(rows).samples for rows in (None, 11, 10, 9)] == [10, 10, 10, 9]
