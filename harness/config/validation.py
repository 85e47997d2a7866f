"""The whole ``validation.toml``: model, data, variants, suites, gates and waivers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness import tasks
from harness.config.fields import Format, Name, Sha256, Size, Step, TaskName
from harness.config.gates import GateTable, Text, WaiverTable
from harness.config.schema import DataTable, InputTable, SearchTable, ShiftsTable, Table
from harness.core.errors import Problem
from harness.core.task import Threshold
from harness.core.verdict import Gate, Waiver

#: The float reference: the variant that all others are compared with.
FLOAT32 = "float32"


class ModelTable(Table):
    """``[model]``: the float model and its task.

    ``output`` names the output that is scored (default: the first); all are compared numerically. With
    ``threshold`` that output is one score a sample, and a score above it means class 1 of two; or it is one
    score for each label, and a score above it means that the sample has the label.
    """

    name: Name
    file: str = ""
    sha256: Sha256 | None = None
    task: TaskName = "classification"
    output: str = ""
    threshold: float | None = None


class VariantTable(Table):
    """``[variants.NAME]``: a recipe, or prebuilt files by format.

    With ``default = false`` it is used only if it is requested by name, or with ``all``.
    """

    default: bool = True
    recipe: tuple[Step, ...] = ()
    files: dict[Format, str] = Field(default_factory=dict)
    sha256: dict[Format, Sha256] = Field(default_factory=dict)


class ChecksTable(Table):
    """``[checks]``: built-in checks that need not hold, by name, each with the reason."""

    relax: dict[str, Text] = Field(default_factory=dict)


class Validation(Table):
    """A whole ``validation.toml``."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    model: ModelTable
    task: dict[str, Any] = Field(default_factory=dict)
    shapes: dict[str, tuple[Size, ...]] = Field(default_factory=dict)
    data: DataTable
    input: dict[str, InputTable] = Field(default_factory=dict)
    variants: dict[Name, VariantTable] = Field(default_factory=dict)
    shifts: ShiftsTable = ShiftsTable()
    suites: dict[str, dict[str, Any]] = Field(default_factory=dict)
    search: SearchTable | None = None
    checks: ChecksTable = ChecksTable()
    gate: tuple[GateTable, ...] = ()
    waiver: tuple[WaiverTable, ...] = ()

    def inconsistencies(self) -> list[Problem]:
        """Return the problems of several tables together."""
        problems = []
        if not self.model.file and not self.variants.get(FLOAT32, VariantTable()).files:
            example = '[variants.float32] files = { tflite = "…" }'
            problems.append(Problem("model.file", f"missing; set it, or prebuilt files: {example}"))
        problems += self._threshold()
        options = tasks.named(self.model.task).check_options(self.task)
        problems += [Problem(f"task.{key}", text) for key, text in options]
        for name, variant in self.variants.items():
            path = f"variants.{name}"
            if variant.recipe and variant.files:
                problems.append(Problem(path, "has a recipe and files; use one of them"))
            if variant.recipe and not self.model.file:
                problems.append(Problem(f"{path}.recipe", "needs model.file, which is missing"))
            if not variant.recipe and not variant.files and name != FLOAT32:
                problems.append(Problem(path, "has neither a recipe nor files"))
        first: dict[str, int] = {}
        for index, gate in enumerate(self.gate):
            if first.setdefault(gate.name, index) != index:
                message = f"the name {gate.name!r} is already used by gate[{first[gate.name]}]"
                problems.append(Problem(f"gate[{index}].name", message, gate.name))
        return problems

    def _threshold(self) -> list[Problem]:
        """Return what is wrong with the threshold for the task."""
        use = tasks.named(self.model.task).threshold
        if use is Threshold.REQUIRED and self.model.threshold is None:
            text = "missing; a score above it means yes to its label: 0.5 for probabilities, 0.0 for logits"
            return [Problem("model.threshold", text)]
        if use is Threshold.NONE and self.model.threshold is not None:
            return [Problem("model.threshold", f"is not for the task {self.model.task}; remove it")]
        return []

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates, with limits in the units of the metrics."""
        return tuple(gate.to_gate() for gate in self.gate)

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """The waivers, including expired ones."""
        return tuple(waiver.to_waiver() for waiver in self.waiver)

    @property
    def variant_names(self) -> tuple[str, ...]:
        """All variants, the float reference first."""
        return (FLOAT32, *(name for name in self.variants if name != FLOAT32))
