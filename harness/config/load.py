"""TOML → frozen configuration (validations and targets); every problem at once, with its TOML path."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from harness.config.fields import Backends, Executor, Format, Name, Sha256, Size, Step
from harness.config.gates import GateTable, WaiverTable
from harness.config.schema import DataTable, InputTable, SearchTable, ShiftsTable, Table
from harness.core.errors import ConfigurationError, Problem, UsageError
from harness.core.job import Options
from harness.core.plan import HOST
from harness.core.target import Target
from harness.core.verdict import Gate, Waiver

SCHEMA = 1
#: The variant that everything else is compared with.
FLOAT32 = "float32"
#: The suite of what a variant's card tells; nothing runs for it.
CARD = "compression"


class ModelTable(Table):
    """``[model]``: the float model and what it is for."""

    name: Name
    file: str = ""
    sha256: Sha256 | None = None
    task: Literal["classification", "regression"] = "classification"


class VariantTable(Table):
    """``[variants.NAME]``: made by a recipe, or prebuilt files by format.

    ``default = false`` leaves it out unless it is asked for by name, or with ``all``.
    """

    default: bool = True
    recipe: tuple[Step, ...] = ()
    files: dict[Format, str] = Field(default_factory=dict)
    sha256: dict[Format, Sha256] = Field(default_factory=dict)


class Validation(Table):
    """A whole ``validation.toml``. ``folder`` is where its relative paths start."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    model: ModelTable
    shapes: dict[str, tuple[Size, ...]] = Field(default_factory=dict)
    data: DataTable
    input: dict[str, InputTable] = Field(default_factory=dict)
    variants: dict[Name, VariantTable] = Field(default_factory=dict)
    shifts: ShiftsTable = ShiftsTable()
    suites: dict[str, dict[str, Any]] = Field(default_factory=dict)
    search: SearchTable | None = None
    gate: tuple[GateTable, ...] = ()
    waiver: tuple[WaiverTable, ...] = ()

    def inconsistencies(self) -> list[Problem]:
        """What each table alone cannot know."""
        found = []
        if not self.model.file and not self.variants.get(FLOAT32, VariantTable()).files:
            example = '[variants.float32] files = { tflite = "…" }'
            found.append(Problem("model.file", f"give it, or prebuilt files: {example}"))
        for name, variant in self.variants.items():
            path = f"variants.{name}"
            if variant.recipe and variant.files:
                found.append(Problem(path, "has a recipe and files; a variant is made one way"))
            if variant.recipe and not self.model.file:
                found.append(Problem(f"{path}.recipe", "there is no model.file to start from"))
            if not variant.recipe and not variant.files and name != FLOAT32:
                found.append(Problem(path, "has neither a recipe nor files"))
        first: dict[str, int] = {}
        for index, gate in enumerate(self.gate):
            if first.setdefault(gate.name, index) != index:
                message = f"gate[{first[gate.name]}] has the same name, {gate.name!r}"
                found.append(Problem(f"gate[{index}].name", message, gate.name))
        return found

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates in the units of the table."""
        return tuple(gate.to_gate() for gate in self.gate)

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """What is waived, whether or not it has expired."""
        return tuple(waiver.to_waiver() for waiver in self.waiver)

    @property
    def variant_names(self) -> tuple[str, ...]:
        """All variants, the float reference first."""
        return (FLOAT32, *(name for name in self.variants if name != FLOAT32))


class DeployTable(Table):
    """``[deploy]`` of a target: what is really shipped."""

    threads: Size | None = None
    precision: str = ""
    provider: str = ""
    extra: dict[str, str] = Field(default_factory=dict)


class TargetTable(Table):
    """One ``targets/T.toml``.

    ``without_host`` names the target that stands in for one that is reached over ssh and has no host.
    """

    description: str
    backends: Backends
    executor: Executor = Field(default_factory=lambda: {"kind": "local"})
    deploy: DeployTable = DeployTable()
    max_samples: Size | None = None
    disk_mb: Size = 2000
    for_runtime: str = "litert"
    without_host: str = ""

    def to_target(self, name: str) -> Target:
        """The frozen target."""
        return Target(
            name, self.description, self.backends, dict(self.executor),
            Options(**self.deploy.model_dump()), self.max_samples, self.disk_mb, self.for_runtime,
        )  # fmt: skip


T = TypeVar("T", bound=BaseModel)


def read_toml(path: Path, schema: type[T]) -> T:
    """Read and check one TOML file.

    Raises
    ------
    UsageError
        There is no such file, or it cannot be read.
    ConfigurationError
        It is not TOML, or does not fit `schema`; has every problem.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError("there is no such file", where=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file cannot be read: {error}", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(str(path), (Problem("TOML", str(error)),)) from error
    return check(raw, schema, where=str(path))


def check(raw: Mapping[str, Any], schema: type[T], *, where: str) -> T:
    """Check a table against its schema; see ``read_toml``."""
    try:
        # Through JSON, where strict still lets an array be a tuple.
        return schema.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        problems = tuple(_problem(item, schema, raw) for item in error.errors(include_url=False))
        raise ConfigurationError(where, problems) from error


def validation_file(path: Path) -> Path:
    """The ``validation.toml`` that is meant by itself or by its folder."""
    return path / "validation.toml" if path.is_dir() else path


def load_validation(path: Path) -> tuple[Validation, Path]:
    """Read a ``validation.toml``, given itself or its folder; returns it and its folder."""
    file = validation_file(path)
    if file.suffix in (".onnx", ".tflite", ".xml"):
        raise UsageError(
            f"{file.name} is a model; validate takes a folder or a validation.toml",
            where=str(file),
            next_step=f"harness init {file} --data PATH",
        )
    if not file.is_file():
        raise UsageError(
            f"there is no {file}",
            next_step="harness init MODEL --data PATH writes one beside a model",
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
        pass  # the checks of ours name what they found
    elif not isinstance(item["input"], (dict, list)):
        message += f", got {item['input']!r}"
    return Problem(path or "the file", message, _name_at(item["loc"], raw))


def _name_at(loc: tuple[Any, ...], raw: Mapping[str, Any]) -> str:
    """What the table of an array that the place is in calls itself; empty where it does not."""
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
    """Names that would have been right at a place of the schema."""
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


def cache_folder() -> Path:
    """Where artifacts and data sets are kept: ``HARNESS_CACHE``, else the user's cache folder."""
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deployment-validation-harness"


def shipped_folder(name: str) -> Path:
    """``targets`` or ``models`` as shipped: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parents[1] / "_shipped" / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / name


def target_folders() -> tuple[Path, ...]:
    """Where targets are looked up, in order."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path("targets"), user / "deployment-validation-harness" / "targets", shipped_folder("targets")


def target_files() -> dict[str, Path]:
    """Every target by name; the first folder wins."""
    found: dict[str, Path] = {}
    for folder in target_folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def load_targets(names: Iterable[str], hosts: tuple[str, ...] = ()) -> tuple[Target, ...]:
    """Read targets by name, each once.

    Raises
    ------
    UsageError
        One is unknown, or there are hosts and none of the targets is reached over ssh.
    """
    found = tuple(load_target(name, hosts) for name in dict.fromkeys(names))
    if hosts and not any(target.executor["kind"] == "ssh" for target in found):
        raise UsageError(
            f"no target takes the host {', '.join(hosts)}",
            where="--host, HOST= or HARNESS_HOST",
            cause=f"{', '.join(target.name for target in found)}: none of them is reached over ssh",
            next_step="leave the host out, or name a target that is reached over ssh: --target raspberrypi",
        )
    return found


def load_target(name: str, hosts: tuple[str, ...] = ()) -> Target:
    """Read one target by name.

    Parameters
    ----------
    name : str
    hosts : tuple of str
        Of a target that is reached over ssh, before those of its file. Without any, the target that its file
        names stands in for it, and its rows say so by their target's name.
    """
    from harness.device.plugins import unknown

    files = target_files()
    if name not in files:
        raise unknown("target", name, files)
    if name == HOST:
        raise UsageError(
            f"no target may be called {HOST}: that is the reference", where=str(files[name]),
            next_step="give the file another name",
        )  # fmt: skip
    table = read_toml(files[name], TargetTable)
    if (target := table.to_target(name)).executor["kind"] != "ssh":
        return target
    hosts = hosts or tuple(target.executor.get("hosts", ()))
    if hosts or not table.without_host:
        return replace(target, executor={**target.executor, "hosts": list(hosts)})
    return replace(load_target(table.without_host), name=f"{table.without_host}-emulated")
