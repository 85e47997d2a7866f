"""Samples → rows: the share of tries that succeeded, with their number and a note on those that did not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.job import Case, Job, JobResult, Samples
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise
from harness.core.suite import CaseContext, ProposalContext, ProposedGate, SummaryContext
from harness.stats.intervals import clopper_pearson
from suites.reliability import cases as plan

#: All of them are shares of tries, or differences.
METRICS: Mapping[str, Metric] = {
    **{
        name: Metric("1", "higher")
        for name in (
            "deterministic_repeat", "deterministic_session", "deterministic_process", "batch_bit_equal",
            "thread_bit_equal", "bad_input_refused", "recovered_after_bad_input",
            "recovered_after_nonfinite_input", "truncation_refused", "hash_catches_damage",
            "recovered_after_damage", "provider_as_asked", "precision_as_asked", "artifact_hash_equal",
        )
    },
    **{name: Metric("1", "lower") for name in ("nonfinite_hidden", "bit_flip_silent", "damage_crashed")},
    **{
        f"{what}_max_{difference}": Metric("1", "lower", Noise.SAMPLE)
        for what in ("batch", "thread")
        for difference in ("difference", "relative_difference")
    },
}  # fmt: skip


class ReliabilitySuite:
    """Determinism, invariance, refusal of what is wrong, recovery, provenance."""

    name = "reliability"
    metrics = METRICS

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        """See `suites.reliability.cases.cases`."""
        return plan.cases(context)

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `suites.reliability.cases.check`."""
        return plan.check(settings)

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose what every deployment should hold."""
        return [
            ProposedGate("deterministic", {"metric": "deterministic_*", "min": 1}),
            ProposedGate("provider as asked", {"metric": "provider_as_asked", "min": 1}),
            ProposedGate("precision as asked", {"metric": "precision_as_asked", "min": 1}),
        ]

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        """Make the rows of one case that was measured."""
        return CASES[job.case.name](job.case, result.samples, context)


def _determinism(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    first = samples.arrays["first"]
    measurements = []
    for how in ("repeat", "session", "process"):
        again = samples.arrays[how].reshape(-1, *first.shape)
        measurements.append(_share(f"deterministic_{how}", (again == first).all(axis=-1)))
    return measurements


def _batch_invariance(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    return _invariance("batch", samples, f"batch 1 against batch {case.samples}")


def _thread_invariance(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    values = samples.values
    used = ", ".join(map(str, values["threads"]))
    left_out = "".join(f"; not {count}: {reason}" for count, reason in values["left_out"].items())
    return _invariance("thread", samples, f"threads {used} against {values['first']}{left_out}")


def _invariance(what: str, samples: Samples, note: str) -> list[Measurement]:
    a = samples.arrays
    return [
        _share(f"{what}_bit_equal", a["bit_equal"], note),
        _largest(f"{what}_max_difference", a["difference"], note),
        _largest(f"{what}_max_relative_difference", a["relative_difference"], note),
    ]


def _bad_input(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    outcomes: Mapping[str, str] = samples.values["outcomes"]
    slipped = "; ".join(f"{kind}: {outcome}" for kind, outcome in outcomes.items() if outcome != "refused")
    return [
        _share("bad_input_refused", [outcome == "refused" for outcome in outcomes.values()], slipped),
        _share("recovered_after_bad_input", samples.arrays["recovered"]),
    ]


def _nonfinite_input(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    outcomes: Mapping[str, list[str]] = samples.values["outcomes"]
    all_outcomes = [outcome for of_kind in outcomes.values() for outcome in of_kind]
    hidden = {kind: of_kind.count("finite") for kind, of_kind in outcomes.items()}
    note = ", ".join(f"{kind} {count}/{len(outcomes[kind])}" for kind, count in hidden.items() if count)
    return [
        _share("nonfinite_hidden", [outcome == "finite" for outcome in all_outcomes], note),
        _share("recovered_after_nonfinite_input", samples.arrays["recovered"]),
    ]


def _truncated_file(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    outcomes, note = _outcomes(samples)
    return [
        _share("truncation_refused", [outcome == "refused" for outcome in outcomes], note),
        *_after_damage(samples),
    ]


def _bit_flips(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    outcomes, note = _outcomes(samples)
    silent = outcomes.count("loaded_different")
    # The flipped bits are a sample of all bits of the file, so this share has an interval.
    interval = clopper_pearson(silent, len(outcomes))
    share = Measurement(
        "bit_flip_silent", "1", interval.value, interval.low, interval.high, interval.n, reason=note
    )
    return [share, *_after_damage(samples)]


def _after_damage(samples: Samples) -> list[Measurement]:
    failed = [outcome in ("crashed", "hung") for outcome in samples.values["outcomes"]]
    return [
        _share("damage_crashed", failed),
        _share("hash_catches_damage", samples.arrays["caught"]),
        _share("recovered_after_damage", samples.arrays["recovered"]),
    ]


def _outcomes(samples: Samples) -> tuple[list[str], str]:
    outcomes = list(samples.values["outcomes"])
    return outcomes, ", ".join(f"{name} {count}" for name, count in sorted(Counter(outcomes).items()))


def _provenance(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    effective: Mapping[str, str] = samples.values["effective"]
    hashes, files = samples.values["sha256"], context.artifact.files
    return [
        _as_asked("provider", context.options.provider, effective.get("provider", "")),
        _as_asked("precision", context.options.precision, effective.get("precision", "")),
        _share("artifact_hash_equal", [hashes.get(file.name) == file.sha256 for file in files]),
    ]


def _as_asked(what: str, requested: str, used: str) -> Measurement:
    used_text = f"uses {used}" if used else "does not report it"
    if not requested:
        return _share(f"{what}_as_asked", [True], f"left to the runtime, which {used_text}")
    wanted, actual = requested.casefold(), used.casefold()
    # A device may answer with its number: GPU.0 where GPU was asked for.
    equal = actual == wanted or actual.startswith(f"{wanted}.")
    return _share(f"{what}_as_asked", [equal], f"asked for {requested}, the runtime {used_text}")


def _share(metric: str, outcomes: Iterable[bool] | NDArray[np.bool_], note: str = "") -> Measurement:
    """Share of successful tries. They are all tries, not a sample of more, so there is no interval."""
    tries = np.asarray(outcomes, bool).reshape(-1)
    return Measurement(metric, "1", float(tries.mean()), n=tries.size, reason=note)


def _largest(metric: str, differences: NDArray[np.float64], note: str) -> Measurement:
    value = float(differences.max())
    if math.isinf(value):
        note = f"finite on one side only; {note}"
    return Measurement(metric, "1", value, n=differences.size, reason=note)


CASES: dict[str, Callable[[Case, Samples, SummaryContext], list[Measurement]]] = {
    plan.DETERMINISM: _determinism,
    plan.BATCH_INVARIANCE: _batch_invariance,
    plan.THREAD_INVARIANCE: _thread_invariance,
    plan.BAD_INPUT: _bad_input,
    plan.NONFINITE_INPUT: _nonfinite_input,
    plan.TRUNCATED_FILE: _truncated_file,
    plan.BIT_FLIPS: _bit_flips,
    plan.PROVENANCE: _provenance,
}
