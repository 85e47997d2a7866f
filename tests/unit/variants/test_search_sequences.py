"""The search does not run the rows of sequences out of order."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.variants.search import search

ROWS = Path(__file__).parents[3] / "models" / "rows"


def test_a_model_that_is_fed_sequences_is_not_searched() -> None:
    with pytest.raises(UsageError, match=r"those of \[data\] sequence have an order"):
        search(ROWS)
