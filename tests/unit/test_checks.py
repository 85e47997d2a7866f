"""What the schema of a target cannot know."""

from __future__ import annotations

import pytest

from harness.checks import check_targets
from harness.config import load_target, target_files
from harness.core.errors import UsageError
from harness.core.target import Target


def test_a_runtime_to_write_for_is_one_that_the_writer_knows() -> None:
    with pytest.raises(UsageError, match=r"unknown runtime 'tflite-2\.13'; did you mean 'tflite-2\.14'"):
        check_targets([Target("old", "", ("tflite",), for_runtime="tflite-2.13")])


def test_every_shipped_target_can_be_meant() -> None:
    check_targets(map(load_target, target_files()))
