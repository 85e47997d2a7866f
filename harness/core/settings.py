"""Tables of suites and passes: the keys are declared with their checks, and one function checks them all.

::

    @dataclass(frozen=True, slots=True)
    class Settings:
        rounds: int = option(3, whole(2))
        scope: str = option("layer", choice("global", "layer"))

    problems = check(table, Settings)   # every problem at once
    settings = read(table, Settings, "suites.mine")
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from harness.core.errors import ConfigurationError, Problem

T = TypeVar("T")

Problems = list[tuple[str, str]]
"""Pairs of key and message."""

Check = Callable[[object], str]
"""Returns what a value must be; empty if it is that."""


def option(default: Any, check: Check) -> Any:  # noqa: ANN401 - the default's type, as with dataclasses.field
    """Declare a key: a field of a frozen dataclass with its default and its check."""
    metadata = {"check": check}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def flag(value: object) -> str:
    """Accept true and false."""
    return "" if isinstance(value, bool) else "true or false"


def text(value: object) -> str:
    """Accept text."""
    return "" if isinstance(value, str) else "text"


def share(value: object) -> str:
    """Accept a number in [0, 1)."""
    return "" if _is_number(value) and 0 <= value < 1 else "a number in [0, 1)"  # type: ignore[operator]


def unit(value: object) -> str:
    """Accept a number in [0, 1]."""
    return "" if _is_number(value) and 0 <= value <= 1 else "a number in [0, 1]"  # type: ignore[operator]


def duration_s(value: object) -> str:
    """Accept a finite number above 0."""
    return "" if _is_number(value) and 0 < value < math.inf else "a number of seconds above 0"  # type: ignore[operator]


def integer(value: object) -> str:
    """Accept integers."""
    return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"


def names(value: object) -> str:
    """Accept a list of names."""
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value)
    return "" if is_list else "a list of names"


def numbers_above_0(value: object) -> str:
    """Accept a list of finite numbers above 0."""
    is_list = isinstance(value, list | tuple) and not any(map(duration_s, value))
    return "" if is_list else "a list of numbers above 0"


def pair_of_sizes(value: object) -> str:
    """Accept height and width of a model's input."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(is_whole(side, 1) for side in value)
    return "" if is_pair else "height and width of the model's input in pixels, such as [640, 640]"


def whole(least: int) -> Check:
    """Accept integers from `least`."""
    return lambda value: "" if is_whole(value, least) else f"a whole number of at least {least}"


def whole_numbers(least: int, *, fewest: int = 1) -> Check:
    """Accept a list of at least `fewest` different integers from `least`."""
    what = f"a list of {fewest} or more different whole numbers of at least {least}"

    def check_list(value: object) -> str:
        if not isinstance(value, list | tuple) or not all(is_whole(item, least) for item in value):
            return what
        return "" if len(set(value)) == len(value) >= fewest else what

    return check_list


def choice(*values: object) -> Check:
    """Accept one of some values, which must also have its type: true is not 1."""
    text = ", ".join(map(str, values))
    return lambda value: (
        "" if any(type(value) is type(v) and value == v for v in values) else f"one of {text}"
    )


def is_whole(value: object, least: int) -> bool:
    """Whether it is an integer (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def unlisted_keys(table: Mapping[str, Any], listed: Sequence[str]) -> Problems:
    """Keys of the table that are not listed, each with the nearest one that is."""
    problems = []
    for key in table:
        if key not in listed:
            near = difflib.get_close_matches(key, listed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(listed)}"
            problems.append((key, f"unknown key; {hint}"))
    return problems


def check(
    table: Mapping[str, Any],
    declared: type,
    combined: Callable[[Mapping[str, Any]], Problems] = lambda table: [],
) -> Problems:
    """List what is wrong with a table.

    Parameters
    ----------
    table : mapping
    declared : type
        Dataclass whose fields are made by `option`.
    combined : callable, optional
        Finds problems of several keys together; called if each alone is right.
    """
    problems = unlisted_keys(table, [item.name for item in fields(declared)])
    for item in fields(declared):
        if item.name in table and (must := item.metadata["check"](table[item.name])):
            problems.append((item.name, f"is {table[item.name]!r}; must be {must}"))
    return problems or combined(table)


def read(
    table: Mapping[str, Any],
    declared: type[T],
    where: str,
    combined: Callable[[Mapping[str, Any]], Problems] = lambda table: [],
) -> T:
    """Make the dataclass of a table, lists as tuples.

    Raises
    ------
    ConfigurationError
        With every problem that `check` finds.
    """
    if problems := check(table, declared, combined):
        raise ConfigurationError(where, tuple(Problem(key, text) for key, text in problems))
    return declared(**{key: tuple(v) if isinstance(v, list) else v for key, v in table.items()})
