"""What a board says of itself when it is prepared, as the host may use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.core.errors import TargetUnavailable
from harness.core.untrusted import MAX_REASON, is_count, is_number, is_text, shown, storable

Check = Callable[[object], bool]


def _names(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


#: The answers of ``board_side``, by field.
FACTS: Mapping[str, Check] = {
    **dict.fromkeys(("machine", "cpu", "python", "executable", "libc", "home"), is_text),
    "free_byte": is_count, "time_s": is_number, "has": _names,
}  # fmt: skip
ROOM: Mapping[str, Check] = {"kept_byte": is_count, "free_byte": is_count}
PREPARED: Mapping[str, Check] = {**FACTS, **ROOM}
BUSY: Mapping[str, Check] = {
    "by": is_text, "since": is_text, "last": lambda value: isinstance(value, bool)
}  # fmt: skip
RECEIVED: Mapping[str, Check] = {
    "type": lambda value: value in ("received", "failed"),
    "error": lambda value: value is None or is_text(value, MAX_REASON),
    "full": lambda value: value is None or isinstance(value, bool),
}


def checked(answer: object, board: str, fields: Mapping[str, Check]) -> dict[str, Any]:
    """Return an answer of a board whose fields fit.

    Raises
    ------
    TargetUnavailable
        A field is missing, or is not what it should be.
    """
    try:
        whole = storable(answer)
        if not isinstance(whole, dict):
            raise ValueError(f"it is {shown(answer)}")
        for field, check in fields.items():
            if not check(whole.get(field)):
                raise ValueError(f"{field} is {shown(whole.get(field))}")
    except ValueError as error:
        raise TargetUnavailable(
            f"{board} sent an answer that is refused: {error}",
            cause="another program answers there, or the harness there is not this one",
            next_step=f"check what runs on {board}",
        ) from error
    return whole
