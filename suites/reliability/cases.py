"""What the reliability suite tries, and the settings that say how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.core import settings as tables
from harness.core.job import DEPLOY, PARITY, Case
from harness.core.profile import Profile
from harness.core.settings import Problems, duration_s, option, whole, whole_numbers
from harness.core.suite import CaseContext
from suites.reliability.deeper import cases as deeper

DETERMINISM = "determinism"
BATCH_INVARIANCE = "batch_invariance"
THREAD_INVARIANCE = "thread_invariance"
CALL_FORMS = "call_forms"
BAD_INPUT = "bad_input"
NONFINITE_INPUT = "nonfinite_input"
TRUNCATED_FILE = "truncated_file"
BIT_FLIPS = "bit_flips"
RELOAD = "reload"
PROVENANCE = "provenance"
SOAK = "soak"

#: Generous, because only a hang should meet it: an emulated device starts in 16 s and needs 1 s a sample.
START_ALLOWANCE_S = 60.0
DAMAGE_ALLOWANCE_S = 10.0
#: What a process, a damaged copy, and each case besides typically take with a small model on an idle machine;
#: and any case on an emulated Pi 4.
TYPICAL_START_S, TYPICAL_COPY_S, TYPICAL_S, EMULATED_TYPICAL_S = 0.4, 0.015, 0.08, 5.0
#: The "bit" of a copy of the model file of which every byte is changed but the first few.
SCRAMBLE = 8
#: So many rows show a fault in a hundredth of the answers with 99 %.
RUNTIME_ROWS = 512
#: Where no setting says otherwise, sizes and threads are tried for so long, and the model is opened so often:
#: under emulation a sample takes up to a second.
EMULATED_S, EMULATED_RELOADS = 3.0, 24
#: Cases that repeat each row most often run so many there.
EMULATED_ROWS, REPEATING = 2, (DETERMINISM, CALL_FORMS, NONFINITE_INPUT, PROVENANCE)


#: A soak is stored in slices: so many of them, but none is longer or shorter than these.
SLICES, LONGEST_SLICE_S, SHORTEST_SLICE_S, EMULATED_SLICE_S = 40, 5.0, 0.25, 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The table ``[suites.reliability]``.

    Parameters
    ----------
    rows : int
        Samples that every case runs.
    repeats, sessions, processes : int
        How often determinism repeats the rows in one session, in fresh ones, in fresh processes.
    batches : tuple of int
        Batch sizes that are compared with single samples; empty: all up to ``rows``, then those beside
        multiples of 16, then all up to 66 and some up to 256.
    threads : tuple of int
        Thread counts; the first is what the others are compared with. Those beyond the device's CPUs and one
        more are left out, but 2 and 3 always stay. Empty: all of these.
    seconds : float
        After it no further batch size or thread count is tried.
    reloads : int
        How often the model is opened and closed at most.
    reload_seconds : float
        After it the model is not opened again.
    truncations, bit_flips : int
        Damaged copies of the model file.
    seed : int
        Of the places where the file is damaged.
    """

    rows: int = option(8, whole(1))
    repeats: int = option(5, whole(1))
    sessions: int = option(2, whole(1))
    processes: int = option(2, whole(1))
    batches: tuple[int, ...] = option((), whole_numbers(2))
    threads: tuple[int, ...] = option((), whole_numbers(1, fewest=2))
    seconds: float = option(0.5, duration_s)
    reloads: int = option(200, whole(1))
    reload_seconds: float = option(0.7, duration_s)
    truncations: int = option(6, whole(1))
    bit_flips: int = option(24, whole(1))
    seed: int = option(0, whole(0))


def check(table: Mapping[str, Any]) -> Problems:
    """List what is wrong with the table: pairs of key and message."""
    return tables.check(table, Settings)


def read(table: Mapping[str, Any]) -> Settings:
    """Freeze the table; raises ``ConfigurationError`` with every problem."""
    return tables.read(table, Settings, "suites.reliability")


def cases(context: CaseContext) -> tuple[Case, ...]:
    """All checks as shipped, some in both settings; none for the reference on the host."""
    if context.reference:
        return ()
    settings = read(context.settings)
    data = context.sets[0]
    rows = min(settings.rows, data.samples, context.max_samples or data.samples)

    def case(
        name: str,
        *,
        setting: str = DEPLOY,
        extra_s: float = 0.0,
        typical_s: float = 0.0,
        **params: Any,  # noqa: ANN401 - JSON
    ) -> Case:
        few = context.emulated and name in REPEATING
        return Case(
            name,
            setting=setting,
            data=data.name,
            samples=min(rows, EMULATED_ROWS) if few else rows,
            deadline_s=2 * START_ALLOWANCE_S + extra_s,
            params=params,
            typical_s=EMULATED_TYPICAL_S if context.emulated else TYPICAL_S + typical_s,
        )

    damage_s, processes = DAMAGE_ALLOWANCE_S, settings.processes
    if context.profile is Profile.STANDARD and not context.emulated:
        processes = max(processes, deeper.PROCESSES)
    settings_compared = (DEPLOY,) if context.emulated else (DEPLOY, PARITY)
    seconds = max(settings.seconds, EMULATED_S) if context.emulated else settings.seconds
    return (
        case(
            DETERMINISM,
            extra_s=START_ALLOWANCE_S * processes,
            typical_s=TYPICAL_START_S * processes,
            repeats=settings.repeats,
            sessions=settings.sessions,
            processes=processes,
            seed=settings.seed,
            exits=True,
        ),
        # In parity too: rounding to a shorter format explains much, and hides what float32 shows.
        *(
            case(BATCH_INVARIANCE, setting=setting, batches=list(settings.batches), seconds=seconds)
            for setting in settings_compared
        ),
        *(
            case(THREAD_INVARIANCE, setting=setting, threads=list(settings.threads), seconds=seconds)
            for setting in settings_compared
        ),
        # Beside the runtime as it ships; an emulated device opens one session after the other slowly.
        case(CALL_FORMS, **({} if context.emulated else _beside_runtime(settings, context))),
        *(case(CALL_FORMS, setting=setting) for setting in settings_compared[1:]),
        case(BAD_INPUT),
        case(NONFINITE_INPUT),
        case(
            TRUNCATED_FILE,
            extra_s=damage_s * settings.truncations,
            typical_s=TYPICAL_START_S + TYPICAL_COPY_S * settings.truncations,
            count=settings.truncations,
            seed=settings.seed,
        ),
        case(
            BIT_FLIPS,
            extra_s=damage_s * settings.bit_flips,
            typical_s=TYPICAL_START_S + TYPICAL_COPY_S * settings.bit_flips,
            count=settings.bit_flips,
            seed=settings.seed,
        ),
        _reload(case, settings, context),
        case(PROVENANCE, setting=PARITY),
        case(PROVENANCE),
        *((_soak(case(SOAK), context),) if context.profile is Profile.SOAK else ()),
        *(deeper.cases(case, context) if context.profile is Profile.STANDARD else ()),
    )


def _reload(case: Callable[..., Case], settings: Settings, context: CaseContext) -> Case:
    seconds, reloads = settings.reload_seconds, settings.reloads
    if context.emulated:
        seconds, reloads = max(seconds, EMULATED_S), min(reloads, EMULATED_RELOADS)
    return case(RELOAD, typical_s=seconds, reloads=reloads, seconds=seconds)


def _soak(case: Case, context: CaseContext) -> Case:
    """The last case: as long as was asked for, in slices that are enough for a trend."""
    seconds = context.soak_s
    slice_s = min(LONGEST_SLICE_S, max(SHORTEST_SLICE_S, seconds / SLICES))
    if context.emulated:
        slice_s = max(slice_s, EMULATED_SLICE_S)
    params = {"seconds": seconds, "slice_s": slice_s, "probes": not context.emulated}
    return replace(
        case, params=params, typical_s=seconds, deadline_s=case.deadline_s + seconds, in_parts=True
    )


def _beside_runtime(settings: Settings, context: CaseContext) -> dict[str, Any]:
    most = context.sets[0].samples
    rows = min(RUNTIME_ROWS, most, context.max_samples or most)
    return {"runtime_rows": rows, "seconds": settings.seconds, "typical_s": settings.seconds / 2}
