"""What the tries mean: shares of answers that held, each with its count and what did not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import CaseContext, SummaryContext
from harness.core.job import Case, Job, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.stats.intervals import clopper_pearson
from suites.reliability import cases as plan


class ReliabilitySuite:
    """Determinism, invariance, refusal of what is wrong, recovery, provenance."""

    name = "reliability"

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        """See `suites.reliability.cases.cases`."""
        return plan.cases(context)

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `suites.reliability.cases.check`."""
        return plan.check(settings)

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        """Make the rows of one case; none of a job that gave no samples."""
        if result.status is not Status.OK:
            return []
        samples = result.samples
        match job.case.name:
            case plan.DETERMINISM:
                return _determinism(samples)
            case plan.BATCH_INVARIANCE:
                return _invariance("batch", samples, f"batch 1 against batch {job.case.samples}")
            case plan.THREAD_INVARIANCE:
                return _invariance("thread", samples, _threads(samples.values))
            case plan.BAD_INPUT:
                return _bad_input(samples)
            case plan.NONFINITE_INPUT:
                return _nonfinite_input(samples)
            case plan.TRUNCATED_FILE:
                return _truncated_file(samples)
            case plan.BIT_FLIPS:
                return _bit_flips(samples)
            case plan.PROVENANCE:
                return _provenance(samples, context)
        raise ValueError(f"the suite has no case {job.case.name}")


def _determinism(samples: Samples) -> list[Measurement]:
    first = samples.arrays["first"]
    measurements = []
    for how in ("repeat", "session", "process"):
        again = samples.arrays[how].reshape(-1, *first.shape)
        measurements.append(_share(f"deterministic_{how}", (again == first).all(axis=-1)))
    return measurements


def _invariance(what: str, samples: Samples, note: str) -> list[Measurement]:
    a = samples.arrays
    return [
        _share(f"{what}_bit_equal", a["bit_equal"], note),
        _largest(f"{what}_max_difference", a["difference"], note),
        _largest(f"{what}_max_relative_difference", a["relative_difference"], note),
    ]


def _threads(values: Mapping[str, Any]) -> str:
    used = ", ".join(map(str, values["threads"]))
    left_out = "".join(f"; not {count}: {reason}" for count, reason in values["left_out"].items())
    return f"threads {used} against {values['first']}{left_out}"


def _bad_input(samples: Samples) -> list[Measurement]:
    outcomes: Mapping[str, str] = samples.values["outcomes"]
    slipped = "; ".join(f"{kind}: {outcome}" for kind, outcome in outcomes.items() if outcome != "refused")
    return [
        _share("bad_input_refused", [outcome == "refused" for outcome in outcomes.values()], slipped),
        _share("recovered_after_bad_input", samples.arrays["recovered"]),
    ]


def _nonfinite_input(samples: Samples) -> list[Measurement]:
    outcomes: Mapping[str, list[str]] = samples.values["outcomes"]
    found = [outcome for each in outcomes.values() for outcome in each]
    hidden = {kind: each.count("finite") for kind, each in outcomes.items()}
    note = ", ".join(f"{kind} {count}/{len(outcomes[kind])}" for kind, count in hidden.items() if count)
    return [
        _share("nonfinite_hidden", [outcome == "finite" for outcome in found], note),
        _share("recovered_after_nonfinite_input", samples.arrays["recovered"]),
    ]


def _truncated_file(samples: Samples) -> list[Measurement]:
    outcomes, note = _outcomes(samples)
    return [
        _share("truncation_refused", [outcome == "refused" for outcome in outcomes], note),
        *_after_damage(samples),
    ]


def _bit_flips(samples: Samples) -> list[Measurement]:
    outcomes, note = _outcomes(samples)
    silent = outcomes.count("loaded_different")
    # The flipped bits are a sample of all bits of the file, so this share has an interval.
    interval = clopper_pearson(silent, len(outcomes))
    share = Measurement(
        "bit_flip_silent", "1", interval.value, interval.low, interval.high, interval.n, reason=note
    )
    return [share, *_after_damage(samples)]


def _after_damage(samples: Samples) -> list[Measurement]:
    died = [outcome in ("crashed", "hung") for outcome in samples.values["outcomes"]]
    return [
        _share("damage_crashed", died),
        _share("hash_catches_damage", samples.arrays["caught"]),
        _share("recovered_after_damage", samples.arrays["recovered"]),
    ]


def _outcomes(samples: Samples) -> tuple[list[str], str]:
    outcomes = list(samples.values["outcomes"])
    return outcomes, ", ".join(f"{name} {count}" for name, count in sorted(Counter(outcomes).items()))


def _provenance(samples: Samples, context: SummaryContext) -> list[Measurement]:
    effective: Mapping[str, str] = samples.values["effective"]
    return [
        _as_asked("provider", context.options.provider, effective.get("provider", "")),
        _as_asked("precision", context.options.precision, effective.get("precision", "")),
        _share(
            "artifact_hash_equal",
            [samples.values["artifact_sha256"] == context.artifact.sha256] * samples.values["files"],
        ),
    ]


def _as_asked(what: str, asked: str, found: str) -> Measurement:
    if not asked:
        return _share(f"{what}_as_asked", [True], f"left to the runtime, which uses {found or 'it does not say'}")
    wanted, used = asked.casefold(), found.casefold()
    # A device may answer with its number: GPU.0 where GPU was asked for.
    equal = used == wanted or used.startswith(f"{wanted}.")
    return _share(f"{what}_as_asked", [equal], f"asked {asked}, uses {found or 'it does not say'}")


def _share(metric: str, held: Iterable[bool] | NDArray[np.bool_], note: str = "") -> Measurement:
    """Share of tries for which it held. All tries are known, not a sample of more: there is no interval."""
    tries = np.asarray(held, bool).reshape(-1)
    return Measurement(metric, "1", float(tries.mean()), n=tries.size, reason=note)


def _largest(metric: str, differences: NDArray[np.float64], note: str) -> Measurement:
    value = float(differences.max())
    if math.isinf(value):
        note = f"finite on one side only; {note}"
    return Measurement(metric, "1", value, n=differences.size, reason=note)
