"""What the JSON files of a run hold: types of every value that a reader uses, checked before any is used.

A disk, an editor or another program may have changed them. Keys that a shape does not name are ignored: later
versions may write more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.core.errors import ResultsError
from harness.core.job import Case, DataRef, Options
from harness.core.preprocess import Preprocess

#: So many damaged places are named.
NAMED = 3
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Size = Annotated[int, Field(gt=0, lt=2**63)]
_Step = tuple[float, int]
_Key = tuple[str, str, str, str, str, str, _Count]
#: A key, the reason, and since 0.12 the cause, the full text and the status.
_Skipped = tuple[_Key, str] | tuple[_Key, str, str, str] | tuple[_Key, str, str, str, str]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Target(_Shape):
    backends: Annotated[list[str], Field(min_length=1)]
    description: str = ""
    executor: dict[str, Any] = {}
    max_samples: _Size | None = None


class _Model(_Shape):
    name: str
    task: str
    sha256: str
    class_names: list[str] = []


class _Group(_Shape):
    samples: dict[str, _Count]
    sha256: str


class _Validation(_Shape):
    """What is read besides the check against the whole schema of ``validation.toml``."""

    suites: dict[str, dict[str, Any]] = {}
    variants: dict[str, dict[str, Any]] = {}
    gate: list[dict[str, Any]] = []


class Version(_Shape):
    """``run.json`` of any version."""

    schema_version: int
    versions: dict[str, str] = {}


class Head(Version):
    """``run.json`` as all readers use it, also those that need its tables alone."""

    run_id: str = ""
    created_utc: str = ""
    python: str = ""
    validation: _Validation = _Validation()
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    data: dict[str, DataRef] = {}


class Run(Head):
    """``run.json`` of a run that is judged, compared, reported or completed."""

    run_id: str
    validation: _Validation
    validation_path: str
    targets: dict[str, _Target]
    suites: list[str]
    variants: list[str]
    emulated: list[str]
    model: _Model
    data: dict[str, DataRef]
    budget_s: float | None = None
    decide_within_s: float | None = None
    release: bool = False
    data_notes: list[str] = []
    groups: dict[str, _Group] = {}


class _Artifact(_Shape):
    variant: str
    format: str
    files: Annotated[list[tuple[str, str, _Count]], Field(min_length=1)]
    input_permutation: dict[str, list[_Count]]
    output_permutation: dict[str, list[_Count]]
    output_quantization: dict[str, _Step]
    quantization: dict[str, _Step] = {}
    precision: str = ""


class _Batch(_Shape):
    target: str
    backend: str
    variant: str
    suite: str
    artifact: _Artifact
    options: dict[str, Options]
    preprocess: dict[str, Preprocess]
    data: dict[str, DataRef]
    cases: list[Case]
    beside: _Artifact | None = None


class PlanFile(_Shape):
    """``plan.json``."""

    batches: list[_Batch]
    skipped: list[_Skipped]
    unavailable: list[tuple[str, str, str]]
    share: float
    stopped: str = ""
    checks: list[tuple[str, str, str, str]] = []


class _File(_Shape):
    name: str = ""
    sha256: str = ""
    size_byte: _Size
    gzip_byte: _Size = 1


class _Layer(_Shape):
    layer: str
    weights: _Count
    sparsity: float
    unique_weights: _Count
    weight_sqnr_db: float | None = None
    output_sqnr_db: float | None = None


class _Rounding(_Shape):
    bounds: dict[str, float] = {}
    short: dict[str, float] = {}
    na: str = ""


class _Card(_Shape):
    files: dict[str, _File]
    parameters: _Count = 0
    sparsity: float = 0.0
    bits_per_weight: float = 0.0
    layers: list[_Layer] = []
    saturating: list[str] = []
    rounding: _Rounding = _Rounding()
    notes: list[str] = []


class _Groups(_Shape):
    column: str
    names: list[str]
    index: list[_Count]
    is_time: bool


Cards = dict[str, _Card]
GroupsFile = list[_Groups]


def read(path: Path, shape: Any) -> Any:  # noqa: ANN401 - a type and JSON
    """Read a JSON file of a run.

    Parameters
    ----------
    path : Path
    shape : type
        What it has to hold: one of this module.

    Returns
    -------
    dict or list
        The JSON as it is, with the keys that the shape does not name.

    Raises
    ------
    ResultsError
        It is missing, no JSON, or holds something else; names the places.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except OSError as error:
        raise damaged(path, str(error.strerror)) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, "it is no JSON") from error
    check(value, shape, path)
    return value


def check(value: Any, shape: Any, path: Path) -> None:  # noqa: ANN401 - JSON and a type
    """Raise ResultsError if JSON that was read from `path` is not of that shape."""
    try:
        # From JSON, because strict types accept lists for tuples there.
        TypeAdapter(shape).validate_json(json.dumps(value))
    except ValidationError as error:
        raise damaged(path, _places(error)) from error


def damaged(path: Path, cause: str) -> ResultsError:
    """Return the error of a file that cannot be used."""
    return ResultsError(
        f"{path.name} is damaged", where=str(path.parent), cause=cause,
        next_step="copy the run again from where it was measured, or measure it again: harness validate",
    )  # fmt: skip


def _places(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    listed = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems[:NAMED]]
    more = len(problems) - len(listed)
    return "; ".join(listed) + (f"; and {more} more" if more else "")
