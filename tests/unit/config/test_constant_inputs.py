"""``[input.NAME] value``: an input without samples."""

from __future__ import annotations

import json

import pytest

from harness.config.load import check
from harness.config.schema import InputTable
from harness.core.errors import ConfigurationError


def test_a_constant_is_read_back_from_a_run() -> None:
    table = check({"value": 0.0}, InputTable, where="")
    assert check(json.loads(table.model_dump_json()), InputTable, where="") == table
    assert table.value == 0


def test_a_constant_is_not_preprocessed() -> None:
    with pytest.raises(ConfigurationError, match="has no samples, so it cannot have scale"):
        check({"value": 1.0, "scale": 2.0}, InputTable, where="")
