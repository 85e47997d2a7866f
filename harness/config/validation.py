"""The whole ``validation.toml``: model, data, variants, suites, gates and waivers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness.config.fields import Format, Name, Sha256, Size, Step
from harness.config.gates import GateTable, WaiverTable
from harness.config.schema import DataTable, InputTable, SearchTable, ShiftsTable, Table
from harness.core.errors import Problem
from harness.core.verdict import Gate, Waiver

#: The float reference: the variant that all others are compared with.
FLOAT32 = "float32"


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
