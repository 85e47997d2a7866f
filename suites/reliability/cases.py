"""What the reliability suite tries, and the settings that say how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from harness.core.job import DEPLOY, PARITY, Case
from harness.core.settings import Problems, freeze, is_whole, unknown_keys
from harness.core.suite import CaseContext

DETERMINISM = "determinism"
BATCH_INVARIANCE = "batch_invariance"
THREAD_INVARIANCE = "thread_invariance"
BAD_INPUT = "bad_input"
NONFINITE_INPUT = "nonfinite_input"
TRUNCATED_FILE = "truncated_file"
BIT_FLIPS = "bit_flips"
PROVENANCE = "provenance"

#: Generous, because only a hang should meet it: an emulated device starts in 16 s and needs 1 s a sample.
START_ALLOWANCE_S = 60.0
DAMAGE_ALLOWANCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The table ``[suites.reliability]``.

    Parameters
    ----------
    rows : int
        Samples that every case runs; also the larger batch of batch invariance.
    repeats, sessions, processes : int
        How often determinism repeats the rows in one session, in fresh ones, in fresh processes.
    threads : tuple of int
        Thread counts; the first is what the others are compared with. Those beyond the device's CPUs are
        left out, but 2 always stays.
    truncations, bit_flips : int
        Damaged copies of the model file.
    seed : int
        Of the places where the file is damaged.
    """

    rows: int = 8
    repeats: int = 5
    sessions: int = 2
    processes: int = 2
    threads: tuple[int, ...] = (1, 2, 4)
    truncations: int = 6
    bit_flips: int = 24
    seed: int = 0


def check(table: Mapping[str, Any]) -> Problems:
    """Return the problems of the table, as pairs of key and message."""
    defaults = {field.name: field.default for field in fields(Settings)}
    problems = unknown_keys(table, Settings)
    for key, value in table.items():
        least = 0 if key == "seed" else 1
        if key not in defaults:
            continue
        if key == "threads":
            distinct = (
                isinstance(value, list) and all(is_whole(item, 1) for item in value) and len(set(value))
            )
            if not distinct or distinct != len(value) or distinct < 2:
                problems.append((key, f"must be a list of two or more different counts, and is {value!r}"))
        elif not is_whole(value, least):
            problems.append((key, f"must be a whole number of at least {least}, and is {value!r}"))
    return problems


def read(table: Mapping[str, Any]) -> Settings:
    """Freeze the table.

    Raises
    ------
    ConfigurationError
        With every problem that `check` finds.
    """
    return freeze(table, Settings, check, "suites.reliability")


def cases(context: CaseContext) -> tuple[Case, ...]:
    """All checks as shipped, provenance in both settings; none for the reference on the host."""
    if context.reference:
        return ()
    settings = read(context.settings)
    data = context.sets[0]
    rows = min(settings.rows, data.samples, context.max_samples or data.samples)

    def case(name: str, *, setting: str = DEPLOY, extra_s: float = 0.0, **params: Any) -> Case:  # noqa: ANN401 - JSON
        return Case(
            name,
            setting=setting,
            data=data.name,
            samples=rows,
            deadline_s=2 * START_ALLOWANCE_S + extra_s,
            params=params,
        )

    damage_s = DAMAGE_ALLOWANCE_S
    return (
        case(
            DETERMINISM,
            extra_s=START_ALLOWANCE_S * settings.processes,
            repeats=settings.repeats,
            sessions=settings.sessions,
            processes=settings.processes,
        ),
        case(BATCH_INVARIANCE),
        case(THREAD_INVARIANCE, threads=list(settings.threads)),
        case(BAD_INPUT),
        case(NONFINITE_INPUT),
        case(
            TRUNCATED_FILE,
            extra_s=damage_s * settings.truncations,
            count=settings.truncations,
            seed=settings.seed,
        ),
        case(BIT_FLIPS, extra_s=damage_s * settings.bit_flips, count=settings.bit_flips, seed=settings.seed),
        case(PROVENANCE, setting=PARITY),
        case(PROVENANCE),
    )
