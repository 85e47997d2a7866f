"""The tables ``[[gate]]`` and ``[[waiver]]``: limits, overrides by target, and waivers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.config.fields import Limit, Name, Ratio, TextName, limit_unit, to_limit
from harness.config.schema import Table
from harness.core.suite import CLEAN
from harness.core.verdict import Gate, Waiver
from harness.tasks.host import HostTask

#: Severities of shifted copies.
SHIFTED = (1, 2, 3, 4, 5)
Patterns = str | tuple[str, ...]
#: What a gate limits, and the keys of the limits.
KINDS = {
    "value": ("max", "min"), "ratio": ("max_ratio", "min_ratio"), "change": ("max_change", "min_change"),
}  # fmt: skip
#: Text that is not blank.
Text = Annotated[str, Field(pattern=r"\S")]


def _present_name(design: object) -> object:
    """Files and stored runs from before the rename say ``ABBA``; both names mean the same."""
    return "side-by-side" if design == "ABBA" else design


Design = Annotated[Literal["side-by-side"], BeforeValidator(_present_name)]


class LimitTable(Table):
    """Limits of one kind, as numbers in the metric's unit or as text with a unit (``"10 ms"``)."""

    max: Limit | None = None
    min: Limit | None = None
    max_ratio: Ratio | None = None
    min_ratio: Ratio | None = None
    max_change: Limit | None = None
    min_change: Limit | None = None

    @property
    def kind(self) -> str:
        """The kind of the given limits; empty if there are none.

        Raises
        ------
        ValueError
            There are limits of two kinds.
        """
        kinds = [kind for kind, keys in KINDS.items() if any(getattr(self, key) is not None for key in keys)]
        if len(kinds) > 1:
            raise ValueError(f"limits the {' and the '.join(kinds)}; a gate limits one of them")
        return kinds[0] if kinds else ""

    def limits(self) -> dict[str, Any]:
        """Return the fields of a `Gate` for the given limits and their units."""
        keys = dict(zip(("maximum", "minimum"), KINDS.get(self.kind, ()), strict=False))
        given = {field: getattr(self, key) for field, key in keys.items() if getattr(self, key) is not None}
        return {field: to_limit(limit) for field, limit in given.items()} | {
            f"{field}_unit": limit_unit(limit) for field, limit in given.items()
        }


class OverrideTable(LimitTable):
    """``override = [{ target = "pi*", … }]`` of a gate: other values for some targets."""

    target: Patterns
    baseline: Name | None = None
    severity: Literal["block", "warn"] | None = None
    on_inconclusive: Literal["block", "warn"] | None = None
    required: bool | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `Gate` that the override replaces."""
        plain = ("baseline", "severity", "on_inconclusive", "required")
        return self.limits() | {k: getattr(self, k) for k in plain if getattr(self, k) is not None}


class GateTable(LimitTable):
    """``[[gate]]``: one requirement."""

    name: TextName
    suite: str
    metric: str
    variant: Patterns = "*"
    case: Patterns = "*"
    target: Patterns = "*"
    severities: tuple[int, ...] = ()
    setting: Literal["deploy", "parity"] = "deploy"
    reference: str = "*"
    baseline: Name | None = None
    design: Design | None = None
    combine: Literal["all", "mean", "worst"] = "all"
    severity: Literal["block", "warn"] = "block"
    on_inconclusive: Literal["block", "warn"] = "block"
    required: bool = False
    override: tuple[OverrideTable, ...] = ()

    @model_validator(mode="after")
    def _is_one_requirement(self) -> GateTable:
        if not self.kind:
            raise ValueError("give max, min, or both; against a baseline max_ratio, max_change and so on")
        relative = self.kind != "value"
        if relative and self.baseline is None:
            raise ValueError(f'limits the {self.kind}: name what it is against, baseline = "accepted"')
        if not relative and (self.baseline is not None or any(o.baseline for o in self.override)):
            raise ValueError("names a baseline and limits the value: give max_ratio, max_change and so on")
        if self.kind == "ratio" and self.combine == "mean":
            raise ValueError("the mean over cases is of a value or a change, not of a ratio")
        other = next((o.kind for o in self.override if o.kind not in ("", self.kind)), None)
        if other:
            raise ValueError(f"limits the {self.kind}, and an override the {other}")
        if self.design:
            self._is_timed_side_by_side()
        return self

    def _is_timed_side_by_side(self) -> None:
        # Whether the metric can be timed, and in which case, is checked with the suites' declarations.
        if self.setting != "deploy" or self.combine != "all":
            raise ValueError("side by side, one case is timed as it ships: leave setting and combine out")
        largest = [table.max_ratio for table in (self, *self.override) if table.max_ratio is not None]
        if self.kind != "ratio" or self.max_ratio is None or self.min_ratio is not None or min(largest) <= 1:
            raise ValueError("side by side, a max_ratio above 1 is asked for, and nothing else")
        if any(o.min_ratio is not None for o in self.override):
            raise ValueError("side by side, an override limits max_ratio alone")

    def to_gate(self) -> Gate:
        """Return the gate, with limits in the units of the metric."""
        return Gate(
            name=self.name, suite=self.suite, metric=self.metric, variants=several(self.variant),
            cases=several(self.case), targets=several(self.target), severities=self.severities,
            setting=self.setting, reference=self.reference, of=self.kind, baseline=self.baseline or "",
            design=self.design or "", combine=self.combine, severity=self.severity,
            on_inconclusive=self.on_inconclusive, required=self.required,
            overrides=tuple((several(o.target), o.fields()) for o in self.override),
            **self.limits(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limited:
    """What `LossLimits` are about.

    Parameters
    ----------
    task : HostTask
    suite : str
        The one of ``[suites]`` that makes the metrics of the task; empty for none.
    by : tuple of str
        The keys of ``[data]`` that name a column of groups: ``group``, ``time``.
    shifted : bool
        The data have shifted copies.
    """

    task: HostTask
    suite: str
    by: tuple[str, ...]
    shifted: bool


class LossLimits(Table):
    """``[gates]``: how much every variant may lose against the float reference, on every target.

    Each key stands for one or more gates, which are called by it.
    """

    max_loss: Limit | None = None
    max_loss_mean: Limit | None = None
    max_loss_worst: Limit | None = None

    def problems(self, data: Limited) -> Iterator[tuple[str, str]]:
        """Yield the keys that stand for no gate, each with the reason."""
        gates = [gate.name.partition(",")[0] for gate in self.to_gates(data)]
        for key in self.model_dump(exclude_none=True).keys() - set(gates):
            if not data.task.loss:
                text = f"the task {data.task.task.name} has no loss against its reference"
            elif not data.suite:
                text = f"no suite in [suites] measures {data.task.loss}"
            elif key == "max_loss_mean":
                text = "limits the mean over shifts: name them in [shifts], or use max_loss"
            else:
                text = "limits the worst family, class, group or window of time, and the data have none"
            yield key, text

    def to_gates(self, data: Limited) -> Iterator[Gate]:
        """Yield the gates that the keys stand for."""
        if not data.task.loss or not data.suite:
            return
        limits: list[tuple[str, Limit | None, str, dict[str, Any]]] = [
            ("max_loss", self.max_loss, data.task.loss, {"cases": (CLEAN,)}),
            *(
                (f"max_loss_worst, {part}", self.max_loss_worst, metric, {})
                for metric, part in data.task.worst_losses(data.by, shifted=data.shifted).items()
            ),
        ]
        if data.shifted:
            mean = {"severities": SHIFTED, "combine": "mean"}
            limits.insert(1, ("max_loss_mean", self.max_loss_mean, data.task.loss, mean))
        for name, limit, metric, more in limits:
            if limit is not None:
                yield Gate(
                    name=name, suite=data.suite, metric=metric, reference="float32@host",
                    maximum=to_limit(limit), maximum_unit=limit_unit(limit), **more,
                )  # fmt: skip


class WaiverTable(Table):
    """``[[waiver]]``: a gate that is not enforced until a date, with a reason and an owner."""

    gate: str
    target: Patterns = "*"
    variant: Patterns = "*"
    reason: Text
    owner: Text
    expires: date

    def to_waiver(self) -> Waiver:
        """Return the frozen waiver."""
        return Waiver(
            self.gate, several(self.target), several(self.variant), self.reason, self.owner, self.expires
        )


def several(value: Patterns) -> tuple[str, ...]:
    """Return one or several patterns as a tuple."""
    return (value,) if isinstance(value, str) else value
