"""The whole ``validation.toml``: model, data, variants, suites, gates and waivers."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from harness import tasks
from harness.config.fields import Format, Name, Sha256, Size, Step, TaskName
from harness.config.gates import GateTable, Limited, LossLimits, Text, WaiverTable
from harness.config.schema import DataTable, InputTable, SearchTable, ShiftsTable, Table
from harness.core.errors import Problem
from harness.core.task import Threshold
from harness.core.verdict import Gate, Waiver
from harness.device import plugins

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
    gates_: Annotated[LossLimits, Field(alias="gates")] = LossLimits()
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
        problems += self._hop() if not options else []
        for name, variant in self.variants.items():
            path = f"variants.{name}"
            if variant.recipe and variant.files:
                problems.append(Problem(path, "has a recipe and files; use one of them"))
            if variant.recipe and not self.model.file:
                problems.append(Problem(f"{path}.recipe", "needs model.file, which is missing"))
            if not variant.recipe and not variant.files and name != FLOAT32:
                problems.append(Problem(path, "has neither a recipe nor files"))
        if self.gates_ != LossLimits():
            problems += [Problem(f"gates.{key}", text) for key, text in self.gates_.problems(self._limited)]
        names = {gate.name for gate in self._limits}
        first: dict[str, int] = {}
        for index, gate in enumerate(self.gate):
            if gate.name in names:
                text = f"the name {gate.name!r} is that of a limit in [gates]"
                problems.append(Problem(f"gate[{index}].name", text, gate.name))
            if first.setdefault(gate.name, index) != index:
                message = f"the name {gate.name!r} is already used by gate[{first[gate.name]}]"
                problems.append(Problem(f"gate[{index}].name", message, gate.name))
        return problems

    @property
    def _limited(self) -> Limited:
        """What ``[gates]`` is about."""
        task, installed = tasks.on_host(self.model.task), plugins.catalogue(plugins.SUITES)
        suites = [name for name in self.suites if name in installed]
        suite = next((name for name in suites if task.loss in installed[name].load()().metrics), "")
        by = tuple(key for key in ("group", "time") if getattr(self.data, key) is not None)
        return Limited(task, suite, by, self.shifts.kind != "none")

    @property
    def _limits(self) -> tuple[Gate, ...]:
        """The gates that ``[gates]`` stands for."""
        return () if self.gates_ == LossLimits() else tuple(self.gates_.to_gates(self._limited))

    def _hop(self) -> list[Problem]:
        """Return whether the time between windows of audio is another one for the task."""
        audio, task = self.data.audio, tasks.named(self.model.task)
        given = getattr(task.read_options(self.task), "hop_s", None)
        if audio is None or audio.hop_samples is None or given is None:
            return []
        hop_s = audio.hop_samples / audio.rate_hz
        if math.isclose(given, hop_s, rel_tol=1e-3):
            return []
        text = f"is {given:g}; hop_samples = {audio.hop_samples} at rate_hz = {audio.rate_hz} are {hop_s:g} s"
        return [Problem("task.hop_s", text)]

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
        return (*(gate.to_gate() for gate in self.gate), *self._limits)

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """The waivers, including expired ones."""
        return tuple(waiver.to_waiver() for waiver in self.waiver)

    @property
    def variant_names(self) -> tuple[str, ...]:
        """All variants, the float reference first."""
        return (FLOAT32, *(name for name in self.variants if name != FLOAT32))
