"""Values that a device sent: text that can be stored, numbers that are numbers, limits for all."""

from __future__ import annotations

import math
from typing import Any

#: Longest reason of a result; longer ones are cut.
MAX_REASON = 10_000
#: Longest full text of a runtime's message; longer ones are cut.
MAX_RAW = 1_000_000
#: Longest name, version or option.
MAX_NAME = 1_000
#: Deepest nesting of lists and objects.
MAX_DEPTH = 20
#: No count and no number of a device is larger.
MAX_INTEGER = 2**64


def encodable(text: str) -> str:
    r"""Return text that can be stored as UTF-8: a lone surrogate is written as ``\udc80``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def cut(text: str, length: int) -> str:
    """Return text of at most `length` characters; says how many it had."""
    if len(text) <= length and len(whole := encodable(text)) <= length:
        return whole
    note = f" … (cut, {len(text):,} characters)"
    return encodable(text[:length])[: length - len(note)] + note


def shown(value: object) -> str:
    """A value for a message, in a few ASCII characters."""
    if isinstance(value, str):
        value = value[:60]
    elif isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return ascii(value)[:60]


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_INTEGER


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < MAX_INTEGER


def is_text(value: object, length: int = MAX_NAME) -> bool:
    """Whether it is text of at most `length` characters."""
    return isinstance(value, str) and len(value) <= length


def storable(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - JSON
    """Return a JSON value whose texts can be stored.

    Raises
    ------
    ValueError
        It is nested too deeply, or has a whole number of more than 64 bits.
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError("a whole number has more than 64 bits")
    if not isinstance(value, dict | list):
        return value
    if depth == MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} times")
    if isinstance(value, list):
        return [storable(item, depth + 1) for item in value]
    return {encodable(str(name)): storable(item, depth + 1) for name, item in value.items()}
