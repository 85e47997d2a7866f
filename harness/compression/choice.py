"""The int8 recipe that was chosen, and what each that was tried gave on the calibration data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.compression.passes import PassResult

#: The signal-to-noise ratio that is enough where there are no classes.
ENOUGH_DB = 30.0

Recipe = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Int8Trial:
    """One recipe and what it gave on the calibration data.

    Parameters
    ----------
    name : str
    recipe : tuple of mapping
    loss : float
        Accuracy lost against float; without labels the share of samples with another class; NaN where the
        task has no classes.
    sqnr_db : float
        Signal-to-noise ratio of the first output against float's; inf without noise.
    score : float
        Accuracy; NaN without labels or classes.
    failed : str
        Why the recipe cannot be run; empty if it can.
    result : PassResult, optional
        Of its only step.
    """

    name: str
    recipe: Recipe
    loss: float = math.nan
    sqnr_db: float = -math.inf
    score: float = math.nan
    failed: str = ""
    result: PassResult | None = field(default=None, compare=False, repr=False)

    @property
    def is_static(self) -> bool:
        """Whether its activations have fixed scales."""
        return "quantize" in {step["pass"] for step in self.recipe}

    @property
    def toml(self) -> str:
        """The recipe as the value of ``recipe`` in validation.toml."""
        steps = [", ".join(f"{key} = {_toml(value)}" for key, value in step.items()) for step in self.recipe]
        return f"[{', '.join(f'{{ {step} }}' for step in steps)}]"

    def within(self, margin: float) -> bool:
        """Whether the loss is small enough."""
        if self.failed:
            return False
        return self.sqnr_db >= ENOUGH_DB if math.isnan(self.loss) else self.loss <= margin

    def text(self) -> str:
        """What it gave, as text."""
        if self.failed:
            return f"{self.name} cannot be made ({self.failed})"
        decibel = f"{self.sqnr_db:.0f} dB" if math.isfinite(self.sqnr_db) else "exact"
        if self.sqnr_db == -math.inf:
            decibel = "NaN or infinity"
        if not math.isnan(self.score):
            return f"{self.name} {100 * self.score:.1f} % ({decibel})"
        if not math.isnan(self.loss):
            return f"{self.name} {100 * self.loss:.1f} % changed ({decibel})"
        return f"{self.name} {decibel}"


@dataclass(frozen=True, slots=True)
class Int8Choice:
    """The recipe that was chosen, and the figures of all that were tried.

    Parameters
    ----------
    trials : tuple of Int8Trial
        In the order in which they were tried.
    samples : int
    float_score : float
        Accuracy of the float model; NaN without labels or classes.
    margin : float
    untried : str
        Why other recipes were not tried; empty if all were.
    """

    trials: tuple[Int8Trial, ...]
    samples: int
    float_score: float
    margin: float
    untried: str = ""

    @property
    def best(self) -> Int8Trial:
        """The first recipe within the margin; without one, the one that loses least."""
        within = [trial for trial in self.trials if trial.within(self.margin)]
        if within and within[0] is self.trials[0]:
            return within[0]
        # A method of static quantization is preferred: it is the fastest, and every runtime has it.
        for pool in ([t for t in within if t.is_static], within, self.trials):
            if pool:
                return min(pool, key=lambda t: (bool(t.failed), order_of_loss(t.loss), -t.sqnr_db))
        raise AssertionError("something was tried")

    @property
    def enough(self) -> bool:
        """Whether the chosen recipe is within the margin."""
        return self.best.within(self.margin)

    def text(self) -> str:
        """All figures in one line."""
        head = f"on {self.samples} calibration samples"
        if not math.isnan(self.float_score):
            head += f", float32 {100 * self.float_score:.1f} %"
        reasons = {trial.failed for trial in self.trials}
        if len(reasons) == 1 and self.best.failed:
            return f"no recipe can be made: {self.best.failed}"
        figures = ", ".join(trial.text() for trial in self.trials)
        return f"{head}: {figures}{f'; {self.untried}' if self.untried else ''}"


def _toml(value: object) -> str:
    # JSON's strings, numbers and lists are TOML's.
    return json.dumps(value, ensure_ascii=False)


def order_of_loss(loss: float) -> float:
    """Return the loss, and 0 where there is none."""
    return 0.0 if math.isnan(loss) else loss
