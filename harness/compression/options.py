"""Options of the passes: a pass declares what each option accepts, and one function checks them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

import onnx

from harness.compression.steps import refuse_unfit
from harness.core.settings import Problems, freeze, is_whole, unknown_keys

T = TypeVar("T")
Check = Callable[[object], str]
"""Returns what a value must be; empty if it is that."""


def option(default: Any, check: Check) -> Any:  # noqa: ANN401 - the default's type, as with dataclasses.field
    """Declare an option of a pass: a field of a frozen dataclass with its default and its check."""
    metadata = {"check": check}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def flag(value: object) -> str:
    """Accept true and false."""
    return "" if isinstance(value, bool) else "true or false"


def node_names(value: object) -> str:
    """Accept a list of the names of nodes."""
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return "" if is_list else "a list of node names"


def share(value: object) -> str:
    """Accept a number in [0, 1)."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if is_number and 0 <= value < 1 else "a number in [0, 1)"  # type: ignore[operator]


def whole(least: int) -> Check:
    """Accept integers from `least`."""
    return lambda value: "" if is_whole(value, least) else f"a whole number of at least {least}"


def choice(*values: object) -> Check:
    """Accept one of some values, which must also have its type: true is not 1."""
    text = ", ".join(map(str, values))
    return lambda value: (
        "" if any(type(value) is type(v) and value == v for v in values) else f"one of {text}"
    )


def read_options(
    pass_name: str,
    model: onnx.ModelProto,
    options: Mapping[str, Any],
    declared: type[T],
    combined: Callable[[Mapping[str, Any]], Problems] = lambda table: [],
) -> T:
    """Check the options of a pass on float weights, and that the model is one it can work on.

    Parameters
    ----------
    pass_name : str
    model : onnx.ModelProto
    options : mapping
        As the recipe gives them.
    declared : type
        Dataclass whose fields are made by `option`.
    combined : callable, optional
        Finds problems of several options together; called if each alone is right.

    Raises
    ------
    ConfigurationError
        An option is unknown or invalid; has every problem.
    ModelError
        See `harness.compression.steps.refuse_unfit`.
    """

    def check(table: Mapping[str, Any]) -> Problems:
        problems = unknown_keys(table, declared)
        for item in fields(declared):  # type: ignore[arg-type]
            if item.name in table and (must := item.metadata["check"](table[item.name])):
                problems.append((item.name, f"is {table[item.name]!r}; must be {must}"))
        return problems or combined(table)

    settings = freeze(options, declared, check, pass_name)
    refuse_unfit(model, pass_name)
    return settings
