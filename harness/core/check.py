"""Built-in checks: what every honest deployment holds, judged like a gate that blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.core.suite import CaseContext
from harness.core.verdict import Gate


def always(_context: CaseContext) -> bool:
    """Whether a check applies that no property of model, data or target rules out."""
    return True


@dataclass(frozen=True, slots=True)
class Check:
    """An invariant of every honest deployment.

    It is judged for each target, backend and variant whose cases its suite measures, without any entry in
    ``validation.toml``, and blocks. ``[checks.relax]`` names a check that need not hold, with a reason.

    Parameters
    ----------
    gate : Gate
        Which rows it looks at and the bound. Its name is that of the check: lower case, with hyphens. With
        ``on_inconclusive = "warn"`` rows that are INVALID (a disturbed machine) do not block either.
    why : str
        One sentence: why every honest deployment holds it, and where the bound comes from.
    failure : str
        How the sentence of a FAIL begins: ``the backend changed its input``.
    faults : tuple of str
        Planted faults that it catches (``harness.testing.faults``).
    applies : callable
        Whether it is judged for the cases of such a context.
    """

    gate: Gate
    why: str
    failure: str
    faults: tuple[str, ...] = ()
    applies: Callable[[CaseContext], bool] = always

    @property
    def name(self) -> str:
        """The name under which it is relaxed."""
        return self.gate.name


@dataclass(frozen=True, slots=True, order=True)
class CheckPlace:
    """Where a check is judged."""

    check: str
    target: str
    backend: str
    variant: str


def places(
    checks: Iterable[Check], suite: str, context: CaseContext, target: str, backend: str
) -> list[CheckPlace]:
    """Return where the checks of a suite are judged for cases of this context."""
    return [
        CheckPlace(check.name, target, backend, context.variant)
        for check in checks
        if check.gate.suite == suite and check.gate.judges(target, context.variant) and check.applies(context)
    ]
