"""Checks of configuration values beyond their type; each message says what is valid."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from harness import tasks
from harness.core.measurement import UNITS


def is_name(text: str) -> str:
    """Return `text` if it can name a model, a variant or a baseline; else raise ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", text):
        raise ValueError(
            f"{text!r} is not a name; use letters, digits and _ . + -, beginning with a letter or a digit"
        )
    return is_read_as_text(text)


#: Texts that pandas reads as a missing value.
_MISSING = frozenset((
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
))  # fmt: skip
#: Texts that pandas reads as a boolean, in lower case.
_BOOLEAN = frozenset(("true", "false"))


def is_read_as_text(text: str) -> str:
    """Return `text` if every reader of a CSV file reads it as text; else raise ValueError.

    The names of models, targets, variants and gates are in the results table. Without options,
    ``pandas.read_csv`` reads ``NA`` as missing, ``007`` and ``1e5`` as numbers and ``True`` as a boolean.
    """
    if text in _MISSING:
        kind = "a missing value"
    elif text.casefold() in _BOOLEAN:
        kind = "a boolean"
    elif _is_number(text):
        kind = "a number"
    else:
        return text
    raise ValueError(
        f"{text!r} would be read as {kind} by pandas in the results table; "
        f"use another name, such as 'v{text}'"
    )


def _is_number(text: str) -> bool:
    """Whether pandas reads a text as a number, including infinity and hexadecimal numbers."""
    if re.fullmatch(r"[+-]?0[xX][0-9a-fA-F]+", text):
        return True
    try:
        float(text.replace("_", "x"))  # Python allows 1_000, which pandas reads as text
    except ValueError:
        return False
    return True


def _is_sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(f"{text!r} is not a SHA-256; use 64 hexadecimal digits in lower case")
    return text


def _is_numeric_dtype(text: str) -> str:
    try:
        if np.dtype(text).kind in "iufb" and np.dtype(text).name == text:
            return text
    except TypeError:
        pass
    raise ValueError(f"{text!r} is not a numeric NumPy type; use float32, float16, int8, uint8, int64 …")


def _all_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if twice is not None:
        raise ValueError(f"{twice!r} appears twice")
    return values


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("must not be empty")
    return values


def _none_zero(values: tuple[float, ...]) -> tuple[float, ...]:
    if 0.0 in values:
        raise ValueError("contains a 0, which would divide by zero")
    return values


def _names_a_pass(step: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(step.get("pass"), str):
        raise ValueError('has no pass; write { pass = "quantize" }')
    return step


def _has_a_kind(executor: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(executor.get("kind"), str):
        raise ValueError('has no kind; write { kind = "local" }')
    return executor


def _is_task(text: str) -> str:
    if text not in tasks.names():
        raise ValueError(f"{text!r} is no task; use {', '.join(tasks.names())}")
    return text


def _is_limit(limit: float | str) -> float | str:
    if isinstance(limit, str):
        _parse_limit(limit)
    return limit


def _parse_limit(text: str) -> float:
    number, _, unit = text.strip().partition(" ")
    if unit.strip() not in UNITS:
        raise ValueError(f"{text!r} is not a number with a unit ({', '.join(UNITS)}); write '10 ms'")
    try:
        limit = float(number) * UNITS[unit.strip()][1]
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ValueError(f"{text!r} does not begin with a finite number")
    return limit


def to_limit(value: float | str | None) -> float | None:
    """Return a limit in the unit of the results table for its quantity."""
    return _parse_limit(value) if isinstance(value, str) else value


def limit_unit(value: float | str | None) -> str:
    """Return the unit of a limit in the results table (``ns`` for ``"10 ms"``); empty for a number."""
    return UNITS[value.strip().partition(" ")[2].strip()][0] if isinstance(value, str) else ""


Name = Annotated[str, AfterValidator(is_name)]
TaskName = Annotated[str, AfterValidator(_is_task)]
TextName = Annotated[str, AfterValidator(is_read_as_text)]
Sha256 = Annotated[str, AfterValidator(_is_sha256)]
Format = Literal["onnx", "tflite", "openvino"]
Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Limit = Annotated[float | str, AfterValidator(_is_limit)]
Means = Annotated[tuple[float, ...], AfterValidator(_not_empty)]
Size = Annotated[int, Field(ge=1)]
Step = Annotated[dict[str, Any], AfterValidator(_names_a_pass)]
Severity = Annotated[int, Field(ge=1, le=5)]
Dtype = Annotated[str, AfterValidator(_is_numeric_dtype)]
Divisors = Annotated[tuple[float, ...], AfterValidator(_not_empty), AfterValidator(_none_zero)]
FileNames = Annotated[tuple[str, ...], AfterValidator(_all_different)]
Families = Annotated[tuple[str, ...], AfterValidator(_all_different)]
Severities = Annotated[tuple[Severity, ...], AfterValidator(_all_different)]
Backends = Annotated[tuple[str, ...], AfterValidator(_not_empty), AfterValidator(_all_different)]
Executor = Annotated[dict[str, Any], AfterValidator(_has_a_kind)]
