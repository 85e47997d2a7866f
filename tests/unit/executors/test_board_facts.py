"""What a board says of itself: a field that does not fit is named, and the target is not available."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import TargetUnavailable
from harness.executors import board_facts, board_side

ROOM = {"kept_byte": 0, "free_byte": 5}


def test_this_machine_fits(tmp_path: Path) -> None:
    facts = json.loads(json.dumps({**board_side.facts(tmp_path), "kept_byte": 0}))
    assert board_facts.checked(facts, "board", board_facts.PREPARED) == facts


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([], "it is a list of 0"), (None, "it is None"), ({}, "kept_byte is None"),
        ({**ROOM, "free_byte": -1}, "free_byte is -1"), ({**ROOM, "free_byte": True}, "free_byte is True"),
        ({**ROOM, "free_byte": float("nan")}, "free_byte is nan"),
        ({**ROOM, "x": 10**40}, "more than 64 bits"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(answer: object, says: str) -> None:
    with pytest.raises(TargetUnavailable, match=f"pi sent an answer that is refused: .*{says}"):
        board_facts.checked(answer, "pi", board_facts.ROOM)


def test_text_can_be_stored() -> None:
    answer = {"by": "\udc80", "since": "", "last": False}
    assert board_facts.checked(answer, "pi", board_facts.BUSY)["by"] == "\\udc80"
