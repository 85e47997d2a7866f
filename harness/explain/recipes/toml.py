"""Values as TOML writes them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

#: A key that TOML takes without quotes.
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(value: object) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{as_key(key)} = {as_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)  # strings, finite numbers and booleans of JSON are TOML's


def as_key(name: str) -> str:
    """A key as TOML, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
