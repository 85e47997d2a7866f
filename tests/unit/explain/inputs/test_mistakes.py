"""Mistakes of an input are made in the type of its samples."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.preprocess import Preprocess
from harness.explain.inputs.mistakes import Made, of_input


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_token_ids_are_changed_by_one_in_every_integer_type(dtype: str) -> None:
    """A byte has no -1 to add; what would leave the type stays at its end."""
    limits = np.iinfo(dtype)
    raw = np.array([[0, 7, 100], [limits.min if dtype != "int64" else -5, 3, 1]], dtype)
    by_text = {mistake.text: mistake for mistake in of_input(Made(raw, Preprocess(dtype="int64"), range(2)))}
    for shift in (1, -1):
        made = by_text[f"with every number changed by {shift:+d}"].change(
            Made(raw, Preprocess(dtype="int64"), range(2))
        )
        assert made is not None
        assert made.raw.dtype == raw.dtype
        expected = np.clip(raw.astype(int) + shift, limits.min, limits.max)
        np.testing.assert_array_equal(made.raw, expected)
