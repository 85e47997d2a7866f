"""What the tables of suites and passes share: unknown keys, whole numbers, a frozen dataclass at the end."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from harness.core.errors import ConfigurationError, Problem

T = TypeVar("T")

Problems = list[tuple[str, str]]
"""Pairs of key and message."""


def unknown_keys(table: Mapping[str, Any], settings: type) -> Problems:
    """Keys that are no field of the dataclass, each with the nearest one that is."""
    return unlisted_keys(table, [field.name for field in fields(settings)])


def unlisted_keys(table: Mapping[str, Any], known: Sequence[str]) -> Problems:
    """Keys that are not among the known ones, each with the nearest one that is."""
    problems = []
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            problems.append((key, f"unknown key; {hint}"))
    return problems


def is_whole(value: object, least: int) -> bool:
    """Whether it is an integer (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def freeze(
    table: Mapping[str, Any], settings: type[T], check: Callable[[Mapping[str, Any]], Problems], where: str
) -> T:
    """Make the dataclass of a table, lists as tuples.

    Raises
    ------
    ConfigurationError
        With every problem that `check` finds.
    """
    if problems := check(table):
        raise ConfigurationError(where, tuple(Problem(key, text) for key, text in problems))
    return settings(**{key: tuple(v) if isinstance(v, list) else v for key, v in table.items()})
