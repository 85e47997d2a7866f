"""Options of the passes: what a pass declares is checked, and so is the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import onnx

from harness.compression.steps import refuse_unfit
from harness.core.settings import Problems, read

T = TypeVar("T")


def node_names(value: object) -> str:
    """Accept a list of the names of nodes."""
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return "" if is_list else "a list of node names"


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
        Dataclass whose fields are made by `harness.core.settings.option`.
    combined : callable, optional
        Finds problems of several options together; called if each alone is right.

    Raises
    ------
    ConfigurationError
        An option is unknown or invalid; has every problem.
    ModelError
        See `harness.compression.steps.refuse_unfit`.
    """
    settings = read(options, declared, pass_name, combined)
    refuse_unfit(model, pass_name)
    return settings
