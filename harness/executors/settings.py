"""The table ``[executor]`` of a target: which keys it may have, and what each may hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigurationError, Problem
from harness.core.settings import unlisted_keys
from harness.core.target import Target

Rule = Callable[[Any], list[str]]
"""What is wrong with a value; empty if nothing is."""


def check(target: Target, rules: Mapping[str, Rule], required: Collection[str] = ()) -> None:
    """Check the table ``[executor]`` of a target.

    Parameters
    ----------
    target : Target
    rules : mapping of key to Rule
        All keys of the table but ``kind``.
    required : collection of str
        Keys that are checked even if they are missing; the rule then gets None.

    Raises
    ------
    ConfigurationError
        With every problem.
    """
    table = target.executor
    problems = [Problem(f"executor.{key}", text) for key, text in unlisted_keys(table, ("kind", *rules))]
    for key, rule in rules.items():
        if key in table or key in required:
            problems += [Problem(f"executor.{key}", text) for text in rule(table.get(key))]
    if problems:
        raise ConfigurationError(f"target {target.name}", tuple(problems))


def text(what: str) -> Rule:
    """A text that is not empty; `what` says of what, as in "the path of a Python"."""
    return lambda value: [] if isinstance(value, str) and value else [f"is {what}"]


def number(value: object) -> list[str]:
    """A number of seconds."""
    return [] if isinstance(value, int | float) and not isinstance(value, bool) else ["is a number"]


def integer(value: object) -> list[str]:
    """An integer."""
    return [] if isinstance(value, int) and not isinstance(value, bool) else ["is an integer"]


def texts(what: str) -> Rule:
    """A list of texts; `what` says of what, as in "packages"."""

    def problems(value: object) -> list[str]:
        valid = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return [] if valid else [f"is a list of {what}"]

    return problems


def one_of(*choices: str) -> Rule:
    """One of several texts."""
    return lambda value: [] if value in choices else [f"is one of {', '.join(choices)}, not {value!r}"]


def readable_file(what: str) -> Rule:
    """A file that can be read, or nothing; ``~`` is the user's home."""

    def problems(value: object) -> list[str]:
        if not isinstance(value, str):
            return [f"is {what}"]
        if value and not os.access(Path(value).expanduser(), os.R_OK):
            return [f"{value} cannot be read"]
        return []

    return problems


def boolean(value: object) -> list[str]:
    """True or false."""
    return [] if isinstance(value, bool) else ["is true or false"]
