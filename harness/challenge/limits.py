"""The gates and checks of a run, each at one place, and which jobs they look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.check import Check, CheckPlace
from harness.core.job import JobKey
from harness.core.measurement import WHOLE_CASE, Row
from harness.core.verdict import CHECK, GATE, Gate, Verdict
from harness.gates import scope


@dataclass(frozen=True, slots=True)
class Limit:
    """A gate or a check at one target, backend and variant.

    Parameters
    ----------
    kind : str
        ``gate`` or ``check``.
    gate : Gate
        As it holds on the target.
    target, backend, variant : str
    faults : tuple of str
        Planted faults that a check says it catches.
    relaxed : bool
        It is judged and does not block.
    """

    kind: str
    gate: Gate
    target: str
    backend: str
    variant: str
    faults: tuple[str, ...] = ()
    relaxed: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What names it, as `key_of` names a verdict."""
        return self.kind, self.gate.name, self.target, self.backend, self.variant

    def looks_at(self, key: JobKey) -> bool:
        """Whether it is judged by rows of that job."""
        return self._is_here(key) and self.gate.looks_at_job(key)

    def jobs(self, rows: Iterable[Row]) -> frozenset[JobKey]:
        """The jobs whose rows it is judged by."""
        return frozenset(
            row.key
            for row in rows
            if self._is_here(row.key) and row.measurement.metric != WHOLE_CASE and self.gate.looks_at(row)
        )

    def _is_here(self, key: JobKey) -> bool:
        return (key.target, key.backend, key.variant) == (self.target, self.backend, self.variant)


def key_of(verdict: Verdict) -> tuple[str, ...]:
    """What names the limit that a verdict is about."""
    return verdict.kind, verdict.gate, verdict.target, verdict.backend, verdict.variant


def limits(
    gates: Iterable[Gate],
    checks: Mapping[str, Check],
    places: Iterable[CheckPlace],
    variants: Sequence[str],
    suites: Sequence[str],
    target: str,
    backend: str,
    relaxed: Iterable[str] = (),
) -> list[Limit]:
    """List what is judged on a target.

    Gates that are timed side by side are left out: they compare two artifacts and not two sessions.

    Parameters
    ----------
    gates : iterable of Gate
    checks : mapping of name to Check
        Those that are installed.
    places : iterable of CheckPlace
        Where the plan has them judged.
    variants, suites : sequence of str
        Of the run.
    target, backend : str
    relaxed : iterable of str
        Names of checks that do not block.
    """
    listed = [
        Limit(GATE, gate.on(target), target, backend, variant)
        for gate in gates
        for variant in variants
        if gate.judges(target, variant) and not gate.on(target).design and scope.is_chosen(gate, suites)
    ]
    relaxed = set(relaxed)
    for place in places:
        check = checks.get(place.check)
        if check is not None and (place.target, place.backend) == (target, backend):
            gate = check.gate.on(target)
            is_relaxed = place.check in relaxed
            listed.append(
                Limit(CHECK, gate, target, backend, place.variant, check.faults, is_relaxed)
            )  # fmt: skip
    return listed
