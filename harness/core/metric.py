"""What a suite declares about its metrics. Everything outside the suite reads these declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Better = Literal["higher", "lower"] | float | None
"""Which values are better: higher ones, lower ones, those near a target value; None without a direction."""


class Noise(StrEnum):
    """How much a value varies when nothing has changed."""

    #: Not at all, or by no more than its interval says.
    NONE = "none"
    #: It is computed from a sample and has no interval: a small difference may be noise.
    SAMPLE = "sample"
    #: A time, a rate or memory. Its interval is over the processes of one run, and two runs differ by more;
    #: without an interval a difference may be noise.
    RUNS = "runs"


class Role(StrEnum):
    """What a metric is to those who look for it without knowing its name. A metric has one role, or none."""

    #: How good the answers are: the first column on screen, and what is drawn against size and shift.
    RESULT = "result"
    #: Share of answers that are the reference's; stands in for `RESULT` where there are no labels.
    AGREEMENT = "agreement"
    #: How much worse the answers are than the float reference's.
    LOSS = "loss"
    #: The loss of the worst part: class, group, window of time, or family of shifts.
    WORST_LOSS = "worst loss"
    #: What a variant loses under one family of shifts beyond its loss on clean data.
    EXTRA_LOSS = "extra loss"
    #: Errors of a variant under one family of shifts over those of its reference.
    CORRUPTION_ERROR = "corruption error"
    #: Of the samples of one range of confidence: how sure the model is, and how often it is right.
    CONFIDENCE = "confidence"
    RIGHT_OF_CONFIDENCE = "right of a confidence"
    #: The loss of one class; the case ends in ``/LABEL``.
    CLASS_LOSS = "class loss"
    #: Share of samples whose outputs have the same bits as the reference's.
    BIT_EXACT = "bit exact"
    #: How far answers lie from those of the reference, in units of what rounding explains.
    ROUNDING = "rounding"
    #: What the answers of the float model lose by a mistake of a deployment, which has to cost something.
    MISTAKE = "mistake"
    #: Share of samples that only the reference, or only the variant, answers correctly.
    HARMFUL = "harmful"
    BENEFICIAL = "beneficial"
    #: The typical time of a call, its tail, the memory of the process, the size of the model.
    LATENCY = "latency"
    TAIL = "tail"
    MEMORY = "memory"
    SIZE = "size"


#: What these say is about the answers, and not about times, memory or the process.
OF_ANSWERS = frozenset({
    Role.RESULT, Role.AGREEMENT, Role.LOSS, Role.CLASS_LOSS, Role.BIT_EXACT, Role.ROUNDING, Role.HARMFUL,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table at the end of a run.

    Parameters
    ----------
    title : str
        Short, with the unit that is shown: ``p50 ms``.
    factor : float
        From the table's unit to the one shown.
    spec : str
        Python's format specification of the value.
    bound : bool
        Show the upper bound of the interval in brackets.
    spare : int
        On a narrow terminal, columns with small numbers are left out first; 0 is never left out.
    """

    title: str
    factor: float = 1.0
    spec: str = ".4g"
    bound: bool = False
    spare: int = 0

    def text(self, value: float) -> str:
        """Format a value of the table."""
        return format(self.factor * value, self.spec)


@dataclass(frozen=True, slots=True)
class Metric:
    """The declaration of one metric, or of a family of metrics.

    Parameters
    ----------
    unit : str
        One of the table's own units (``harness.core.measurement.UNITS``), or another text.
    better : ``"higher"``, ``"lower"`` or float, optional
        Which values are better; a number is a target value, and values near it are better. None: the metric
        has no direction, and a difference is called neither better nor worse.
    noise : Noise
    case : str
        The case that stands for a variant as a whole; empty where there is none.
    role : Role, optional
    column, shift_column : Column, optional
        How it is shown at the end of a run: its value in `case`, and its worst change under shifted data.
    drift : bool
        The report lists it as a distance of a variant from its reference.
    per_data_set : bool
        Computed over all samples of a data set together: values over different numbers of samples, without
        an interval, are not compared.
    share : ``"simple"`` or ``"paired"``, optional
        The value is a share of independent samples (Wilson's interval), or the difference of two shares over
        the same samples, in points: how many samples can decide a gate is known before they are measured.
    percentile : float, optional
        It is this percentile, in (0, 1), of the times of single calls in `case`; such a metric can be timed
        side by side.
    needs : ``"group"`` or ``"time"``, optional
        It is only made where this key of ``[data]`` names a column.

    Raises
    ------
    ValueError
        `better` is another text.
    """

    unit: str
    better: Better = None
    noise: Noise = Noise.NONE
    case: str = ""
    role: Role | None = None
    column: Column | None = None
    shift_column: Column | None = None
    drift: bool = False
    per_data_set: bool = False
    share: Literal["simple", "paired"] | None = None
    percentile: float | None = None
    needs: Literal["group", "time"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.better, str) and self.better not in ("higher", "lower"):
            raise ValueError(f'better is {self.better!r}; give "higher", "lower", a target value or None')

    def goodness(self, value: ArrayLike) -> NDArray[np.float64]:
        """Map values to numbers of which the higher is better; zeros where the metric has no direction."""
        array = np.asarray(value, np.float64)
        if self.better is None:
            return np.zeros_like(array)
        if self.better == "higher":
            return array
        return -array if self.better == "lower" else -np.abs(array - float(self.better))

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults."""
        plain = {item.name: item.default for item in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != plain[name]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Metric:
        """Read what `to_json` gave; keys of a newer version are ignored.

        Raises
        ------
        TypeError, ValueError
            It is something else.
        """
        names = {item.name for item in fields(cls)}
        given = {name: item for name, item in value.items() if name in names}
        given |= {name: Column(**given[name]) for name in ("column", "shift_column") if name in given}
        if "noise" in given:
            given["noise"] = Noise(given["noise"])
        if "role" in given:
            given["role"] = Role(given["role"])
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Timed:
    """A metric that can be timed side by side: a percentile of the times of single calls in one case.

    ``percentile`` lies in (0, 1).
    """

    suite: str
    name: str
    case: str
    percentile: float


@dataclass(frozen=True, slots=True)
class Declared:
    """The declarations of several suites.

    Parameters
    ----------
    suites : mapping of suite to mapping of name to Metric
        A name may be a shell pattern that stands for a family (``deterministic_*``).
    """

    suites: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)

    def find(self, suite: str, metric: str) -> Metric | None:
        """The declaration of a metric, or None; a plain name counts before a pattern."""
        metrics = self.suites.get(suite, {})
        if metric in metrics:
            return metrics[metric]
        return next((metrics[pattern] for pattern in metrics if fnmatchcase(metric, pattern)), None)

    def every(self) -> Iterator[tuple[str, str, Metric]]:
        """Suite, name and declaration of each metric, in the order in which they are declared."""
        for suite, metrics in self.suites.items():
            for name, metric in metrics.items():
                yield suite, name, metric

    def with_role(self, *roles: Role) -> list[tuple[str, str, Metric]]:
        """Suite, name and declaration of the metrics that have one of the roles, in the order of `roles`."""
        return [entry for role in roles for entry in self.every() if entry[2].role is role]

    def timed(self) -> list[Timed]:
        """The metrics that can be timed side by side, in the order in which they are declared."""
        return [
            Timed(suite, name, metric.case, metric.percentile)
            for suite, name, metric in self.every()
            if metric.percentile is not None
        ]

    def or_else(self, other: Declared) -> Declared:
        """The same, and the suites that only `other` knows."""
        return Declared({**other.suites, **self.suites})

    def to_json(self) -> dict[str, Any]:
        """As it is kept in ``run.json``."""
        return {
            suite: {name: metric.to_json() for name, metric in metrics.items()}
            for suite, metrics in self.suites.items()
        }

    @classmethod
    def from_json(cls, value: Any) -> Declared:  # noqa: ANN401 - what a file holds
        """Read what `to_json` gave; a suite whose declarations cannot be read is left out."""
        suites = {}
        for suite, metrics in value.items() if isinstance(value, Mapping) else ():
            try:
                suites[str(suite)] = {str(name): Metric.from_json(item) for name, item in metrics.items()}
            except (AttributeError, TypeError, ValueError):
                continue
        return cls(suites)
