"""Which gates a run asks: the one rule for the command line and for pytest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from harness.core.plan import CARD
from harness.core.verdict import Gate


def is_chosen(gate: Gate, suites: Collection[str]) -> bool:
    """Whether a run of those suites judges the gate; rows about the artifacts are part of every run."""
    return gate.suite == CARD or gate.suite in suites


def asked_gates(
    gates: Iterable[Gate],
    suites: Collection[str],
    backends: Mapping[str, Sequence[str]],
    variants: Sequence[str],
) -> Iterator[tuple[Gate, str, str, str]]:
    """Every gate, target, backend and variant for which a run gives a verdict.

    Parameters
    ----------
    gates : iterable of Gate
    suites : collection of str
        Those of the run.
    backends : mapping of target to its backends
        The targets of the run.
    variants : sequence of str
        Those of the run.
    """
    for gate in gates:
        if not is_chosen(gate, suites):
            continue
        for target, names in backends.items():
            for backend in names:
                for variant in variants:
                    if gate.judges(target, variant):
                        yield gate, target, backend, variant
