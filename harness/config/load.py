"""Read TOML into frozen tables; every problem is reported at once, with its TOML path."""

from __future__ import annotations

import difflib
import json
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.config.validation import Validation
from harness.core import commands
from harness.core.errors import ConfigurationError, Problem, UsageError

T = TypeVar("T", bound=BaseModel)

#: Largest TOML file that is read, unless ``HARNESS_MAX_TOML_BYTES`` is set; a usual one has a few kilobytes.
MAX_TOML_BYTE = 1_000_000
#: Problems of a file that are described; the others are counted.
MOST_PROBLEMS = 100


def read_toml(path: Path, schema: type[T]) -> T:
    """Read and check one TOML file.

    Raises
    ------
    UsageError
        The file does not exist or cannot be read.
    ConfigurationError
        The file is not TOML or does not fit `schema`; has every problem.
    """
    try:
        raw = tomllib.loads(_read(path))
    except FileNotFoundError as error:
        raise UsageError("there is no such file", where=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file cannot be read: {error}", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(str(path), (Problem("TOML", str(error)),)) from error
    except RecursionError as error:
        raise ConfigurationError(str(path), (Problem("TOML", "is nested too deeply"),)) from error
    return check(raw, schema, where=str(path))


def _read(path: Path) -> str:
    """Read a regular file of a limited size: a larger one would be parsed for minutes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(
            f"{path.name} is not a regular file",
            where=str(path),
            cause="it is a folder, a FIFO or a device",
            next_step="name a TOML file",
        )
    setting = os.environ.get("HARNESS_MAX_TOML_BYTES", "")
    limit = int(setting) if setting.isdecimal() else MAX_TOML_BYTE
    if status.st_size > limit:
        raise UsageError(
            f"{path.name} has {status.st_size:,} bytes, more than the limit of {limit:,}",
            where=str(path),
            next_step=f"set HARNESS_MAX_TOML_BYTES={status.st_size} if it is a TOML file that you wrote",
        )
    return path.read_text(encoding="utf-8")


def check(raw: Mapping[str, Any], schema: type[T], *, where: str) -> T:
    """Check a table against a schema; see ``read_toml``."""
    try:
        # Through JSON, because strict mode accepts arrays for tuples there.
        return schema.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        items = error.errors(include_url=False)
        problems = [_problem(item, schema, raw) for item in items[:MOST_PROBLEMS]]
        if len(items) > MOST_PROBLEMS:
            problems.append(Problem("the file", f"has {len(items) - MOST_PROBLEMS:,} more problems"))
        raise ConfigurationError(where, tuple(problems)) from error


def validation_file(path: Path) -> Path:
    """Return the path of a ``validation.toml``, given itself or its folder."""
    return path / "validation.toml" if path.is_dir() else path


def load_validation(path: Path) -> tuple[Validation, Path]:
    """Read a ``validation.toml``, given itself or its folder; return it and its folder."""
    file = validation_file(path)
    if file.suffix in (".onnx", ".tflite", ".xml"):
        raise UsageError(
            f"{file.name} is a model; a folder or a validation.toml is needed",
            where=str(file),
            next_step=f"{commands.harness()} init {commands.quoted(file)} --data PATH",
        )
    if not file.exists():
        raise UsageError(
            f"there is no {file}",
            next_step=f"{commands.harness()} init MODEL --data PATH   # writes one beside a model",
        )
    return read_toml(file, Validation), file.parent


def _problem(item: Mapping[str, Any], schema: type[BaseModel], raw: Mapping[str, Any]) -> Problem:
    path = ""
    for part in item["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        key = str(item["loc"][-1])
        near = difflib.get_close_matches(key, _keys(schema, item["loc"][:-1]), n=1, cutoff=0.5)
        message = "unknown key" + (f"; did you mean {near[0]}?" if near else "")
    elif item["type"] == "missing":
        message = "is missing"
    elif item["type"] == "value_error":
        pass  # our own checks have complete messages
    elif not isinstance(item["input"], (dict, list)):
        message += f", got {item['input']!r}"
    return Problem(path or "the file", message, _name_at(item["loc"], raw))


def _name_at(loc: tuple[Any, ...], raw: Mapping[str, Any]) -> str:
    """Return the name of the table of an array that contains a place; empty if it has none."""
    place: Any = raw
    for part in loc:
        if isinstance(part, str) and isinstance(place, Mapping):
            place = place.get(part)
        elif isinstance(part, int) and isinstance(place, list):
            entry = place[part]
            name = entry.get("name") if isinstance(entry, Mapping) else None
            return name if isinstance(name, str) else ""
    return ""


def _keys(schema: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Return the keys that the schema allows at a place."""
    model: Any = schema
    for part in loc:
        if isinstance(part, int) or not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        field = model.model_fields.get(part)
        if field is None:
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]
