"""Items are known before anything runs."""

from __future__ import annotations

from harness import pytest_items
from harness.run.request import Request


def test_a_board_that_is_named_has_the_targets_own_name() -> None:
    for host, name in (("pi@board", "raspberrypi"), ("", "raspberrypi4-emulated")):
        request = Request.parse(target="raspberrypi", host=host)
        found = pytest_items.items(request, "accuracy")
        assert {target for _, _, target, _, _ in found} == {name}
