"""Samples → rows: the share of tries that succeeded, with their number and a note on those that did not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause
from harness.core.job import Case, Job, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise
from harness.core.suite import CaseContext, ProposalContext, ProposedGate, SummaryContext
from harness.stats.intervals import clopper_pearson
from suites.reliability import (
    beside_runtime,
    confirm,
    forms,
    growth,
    rounding,
    soak_crashes,
    soak_parts,
    soak_rows,
)
from suites.reliability import cases as plan
from suites.reliability.deeper import cases as deeper
from suites.reliability.deeper import rows as deeper_rows

#: How a process ends that ends like any program.
CLEAN_EXIT = "ended with exit status 0"
#: All of them are shares of tries, or differences.
METRICS: Mapping[str, Metric] = {
    **{
        name: Metric("1", "higher")
        for name in (
            "deterministic_repeat", "deterministic_order", "deterministic_interleaved",
            "deterministic_session", "deterministic_process", "deterministic_idle", "deterministic_reload",
            "result_unchanged", "input_unchanged", "process_state_unchanged",
            "batch_bit_equal", "thread_bit_equal", "bad_input_refused", "recovered_after_bad_input",
            "recovered_after_nonfinite_input", "truncation_refused", "scrambled_file_noticed",
            "hash_catches_damage", "recovered_after_damage", "provider_as_asked", "precision_as_asked",
            "effective_reported", "runtime_equal",
            "process_exit_clean", "artifact_hash_equal", "provider_confirmed", "version_confirmed",
            "threads_confirmed", "precision_confirmed", "nodes_on_provider", "time_on_provider",
        )
    },
    **{
        name: Metric("1", "lower")
        for name in ("nonfinite_hidden", "nan_taken_as_zero", "bit_flip_silent", "damage_crashed")
    },
    **growth.METRICS,
    **soak_rows.METRICS,
    **soak_crashes.METRICS,
    **deeper_rows.METRICS,
    "layout_max_over_rounding": Metric("1", "lower", Noise.SAMPLE),
    "bound_max_over_rounding": Metric("1", "lower", Noise.SAMPLE),
    **{
        f"{what}_max_{difference}": Metric("1", "lower", Noise.SAMPLE)
        for what in ("batch", "thread")
        for difference in ("difference", "relative_difference", "over_rounding")
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

    def rest(self, case: Case, parts: Samples) -> Case:
        """See `suites.reliability.soak_parts.rest`."""
        return soak_parts.rest(case, parts)

    def progress(self, case: Case, parts: Samples) -> Sequence[str]:
        """See `suites.reliability.soak_parts.progress`."""
        return soak_parts.progress(case, parts)

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        """Make the rows of one case that was measured."""
        return CASES[job.case.name](job.case, result.samples, context)


def _determinism(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    first = samples.arrays["first"]
    measurements = []
    for how in ("repeat", "order", "interleaved", "session", "process", "idle"):
        if how in samples.arrays:  # runs from before had fewer
            again = samples.arrays[how].reshape(-1, *first.shape)
            measurements.append(_share(f"deterministic_{how}", (again == first).all(axis=-1)))
    for array, metric in (("held", "result_unchanged"), ("input", "input_unchanged")):
        if array in samples.arrays:
            measurements.append(_share(metric, samples.arrays[array]))
    files = context.artifact.files
    if hashes := samples.values.get("sha256"):  # of the files as the fresh processes had them
        equal = [of_process.get(file.name) == file.sha256 for of_process in hashes for file in files]
        measurements.append(_share("artifact_hash_equal", equal))
    if exits := samples.values.get("exit"):
        crashed = [text for text in exits if text != CLEAN_EXIT]
        note = "; ".join(f"a process {text}" for text in dict.fromkeys(crashed))
        measurements.append(_share("process_exit_clean", [text == CLEAN_EXIT for text in exits], note))
    if "changes" in samples.values:
        lists = samples.values["changes"]
        note = "; ".join(dict.fromkeys(change for changes in lists for change in changes))
        measurements.append(_share("process_state_unchanged", [not changes for changes in lists], note))
    return measurements


def _batch_invariance(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    return _invariance("batch", "batch", samples, context)


def _thread_invariance(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    return _invariance("thread", "threads", samples, context)


def _invariance(what: str, noun: str, samples: Samples, context: SummaryContext) -> list[Measurement]:
    a, values = samples.arrays, samples.values
    if "tried" not in values:  # a run from before there was a bound
        return _differences(what, a, "")
    note = f"{noun} {_listed(values['tried'])} against {values['first']}{_left_out(values['left_out'])}"
    metric = f"{what}_max_over_rounding"

    def tried(row: int) -> str:
        return f"with {noun} {a['tried'][row]} "

    return [*_differences(what, a, note), _over_rounding(metric, a, values, context, note, tried)]


def _over_rounding(
    metric: str,
    a: Mapping[str, NDArray[Any]],
    values: Mapping[str, Any],
    context: SummaryContext,
    note: str,
    tried: Callable[[int], str],
) -> Measurement:
    """The largest difference over what rounding explains; `tried` says how a row was run otherwise."""
    if a["bit_equal"].all():
        return _largest(metric, np.zeros(len(a["bit_equal"])), note)
    bounds, precision = rounding.explained(context, values["precision"], values.get("storage", ""))
    if "by_output" not in a or not bounds:
        why = context.no_rounding if "by_output" in a else "the run is of an earlier version"
        return _skipped(metric, f"no bound is known: {why}")
    over, limits = rounding.over(a["by_output"], values["outputs"], bounds)
    row, output = np.unravel_index(over.argmax(), over.shape)
    if over[row, output] > 0:
        differs = f"output {values['outputs'][output]} differs by {a['by_output'][row, output]:.3g}"
        explains = f"rounding in {precision} explains {limits[output]:.3g}"
        note = "; ".join(filter(None, (f"{tried(int(row))}the {differs}, {explains}", note)))
    return _largest(metric, over.max(axis=1), note)


def _differences(what: str, a: Mapping[str, NDArray[Any]], note: str) -> list[Measurement]:
    return [
        _share(f"{what}_bit_equal", a["bit_equal"], note),
        _largest(f"{what}_max_difference", a["difference"], note),
        _largest(f"{what}_max_relative_difference", a["relative_difference"], note),
    ]


def _listed(numbers: Iterable[int]) -> str:
    """Whole numbers in order, neighbours as ranges: ``2 to 8, 15``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _left_out(reasons: Mapping[str, str]) -> str:
    counts: dict[str, list[int]] = {}
    for count, reason in reasons.items():
        counts.setdefault(reason, []).append(int(count))
    return "".join(f"; not {_listed(of_reason)}: {reason}" for reason, of_reason in counts.items())


def _call_forms(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    values, measurements = samples.values, []
    refused = "; ".join(values["refused"])
    for what in (forms.LAYOUT, forms.BOUND):
        metric, prefix = f"{what}_max_over_rounding", f"{what}_"
        a = {name.removeprefix(prefix): y for name, y in samples.arrays.items() if name.startswith(prefix)}

        def tried(row: int, a: Mapping[str, NDArray[Any]] = a) -> str:
            return f"with {values['forms'][a['tried'][row]]} " if "tried" in a else ""

        note = refused if what == forms.LAYOUT else ""
        measurements.append(
            _over_rounding(metric, a, values, context, note, tried)
            if a
            else _unmeasured(metric, what, values, refused)
        )
    return [*measurements, *_beside_runtime(samples)]


def _beside_runtime(samples: Samples) -> list[Measurement]:
    prefix = beside_runtime.RUNTIME
    if f"{prefix}_na" in samples.values:
        return [_skipped(f"{prefix}_equal", samples.values[f"{prefix}_na"])]
    if f"{prefix}_equal" not in samples.arrays:  # not asked for, or runs from before
        return []
    equal, note = samples.arrays[f"{prefix}_equal"], ""
    if not equal.all():
        difference = samples.arrays[f"{prefix}_difference"]
        row = int(np.argmax(difference))
        way = samples.values[f"{prefix}_ways"][samples.arrays[f"{prefix}_tried"][row]]
        note = f"{int((~equal).sum())} answers differ, most by {difference[row]:.3g} ({way})"
    return [_share(f"{prefix}_equal", equal, note)]


def _unmeasured(metric: str, what: str, values: Mapping[str, Any], refused: str) -> Measurement:
    if what == forms.BOUND and values["bound_na"] == forms.NO_BOUND_CALL:
        return Measurement(metric, "1", 0.0, n=1, reason=forms.NO_BOUND_CALL)  # every call is a run
    if what == forms.LAYOUT:
        return Measurement(metric, "1", 0.0, n=1, reason=refused)
    return _skipped(metric, values["bound_na"])


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
        *_nan_as_zero(samples, context),
        _share("recovered_after_nonfinite_input", samples.arrays["recovered"]),
    ]


def _nan_as_zero(samples: Samples, context: SummaryContext) -> list[Measurement]:
    if "as_zero" not in samples.arrays:  # runs from before
        return []
    if handled := samples.values["handled"]:
        reason = f"{handled[0]} takes NaN for something else, or only compares"
    elif context.artifact.precision:
        reason = f"{context.artifact.precision} has no NaN: a quantizer may take it for zero"
    else:
        return [_share("nan_taken_as_zero", samples.arrays["as_zero"])]
    return [_skipped("nan_taken_as_zero", reason)]


def _truncated_file(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    outcomes, note = _outcomes(samples)
    return [
        _share("truncation_refused", [outcome == "refused" for outcome in outcomes], note),
        *_after_damage(samples),
    ]


def _bit_flips(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    scrambled = samples.arrays["bit"] == plan.SCRAMBLE  # runs from before have none
    outcomes = np.array(samples.values["outcomes"])
    flipped, others = outcomes[~scrambled].tolist(), outcomes[scrambled].tolist()
    note = _counts(flipped)
    silent = flipped.count("loaded_different")
    # The flipped bits are a sample of all bits of the file, so this share has an interval.
    interval = clopper_pearson(silent, len(flipped))
    share = Measurement(
        "bit_flip_silent", "1", interval.value, interval.low, interval.high, interval.n, reason=note
    )
    noticed = [_share("scrambled_file_noticed", [outcome != "loaded_same"], outcome) for outcome in others]
    return [share, *noticed, *_after_damage(samples)]


def _after_damage(samples: Samples) -> list[Measurement]:
    failed = [outcome in ("crashed", "hung") for outcome in samples.values["outcomes"]]
    return [
        _share("damage_crashed", failed),
        _share("hash_catches_damage", samples.arrays["caught"]),
        _share("recovered_after_damage", samples.arrays["recovered"]),
    ]


def _outcomes(samples: Samples) -> tuple[list[str], str]:
    outcomes = list(samples.values["outcomes"])
    return outcomes, _counts(outcomes)


def _counts(outcomes: Iterable[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(Counter(outcomes).items()))


def _reload(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    measurements = growth.rows(samples.arrays, context.artifact.size_byte, emulated=context.emulated)
    if "equal" in samples.arrays:  # runs from before have none
        equal = samples.arrays["equal"]
        note = "" if equal.all() else f"the first in session {int(np.argmin(equal)) + 1}"
        measurements.append(_share("deterministic_reload", equal, note))
    return measurements


def _soak(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    return [*soak_rows.rows(samples, context.alpha, emulated=context.emulated), soak_crashes.row(samples)]


def _provenance(case: Case, samples: Samples, context: SummaryContext) -> list[Measurement]:
    effective: Mapping[str, str] = samples.values["effective"]
    hashes, files = samples.values["sha256"], context.artifact.files
    facts = samples.values.get("claims")  # runs from before have none
    if facts and context.emulated:  # an emulated Pi counts two threads that compute where there is one
        facts = {**facts, "threads": {"na": "an emulator's threads are not those of the runtime"}}
    return [
        _as_asked("provider", context.options.provider, effective.get("provider", "")),
        _as_asked("precision", context.options.precision, effective.get("precision", "")),
        _reported(effective),
        _share("artifact_hash_equal", [hashes.get(file.name) == file.sha256 for file in files]),
        *(confirm.rows(effective, facts, context.artifact.precision) if facts else ()),
    ]


def _reported(effective: Mapping[str, str]) -> Measurement:
    """Whether the session says what it uses: what it does not say, nothing can confirm or contradict."""
    missing = [name for name in ("provider", "precision", "threads") if not effective.get(name)]
    note = f"the session does not report its {' and '.join(missing)}" if missing else ""
    return _share(
        "effective_reported", [name not in missing for name in ("provider", "precision", "threads")], note
    )


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


def _skipped(metric: str, reason: str) -> Measurement:
    return Measurement(
        metric, "1", math.nan, status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_ABILITY
    )


def _largest(metric: str, differences: NDArray[np.float64], note: str) -> Measurement:
    value = float(differences.max())
    if math.isinf(value):
        note = f"finite on one side only; {note}"
    return Measurement(metric, "1", value, n=differences.size, reason=note)


CASES: dict[str, Callable[[Case, Samples, SummaryContext], list[Measurement]]] = {
    plan.DETERMINISM: _determinism,
    plan.BATCH_INVARIANCE: _batch_invariance,
    plan.THREAD_INVARIANCE: _thread_invariance,
    plan.CALL_FORMS: _call_forms,
    plan.BAD_INPUT: _bad_input,
    plan.NONFINITE_INPUT: _nonfinite_input,
    plan.TRUNCATED_FILE: _truncated_file,
    plan.BIT_FLIPS: _bit_flips,
    plan.RELOAD: _reload,
    plan.PROVENANCE: _provenance,
    plan.SOAK: _soak,
    deeper.CONCURRENT: deeper_rows.concurrent_rows,
    deeper.UNUSUAL_VALUES: deeper_rows.unusual_rows,
    deeper.SURROUNDINGS: deeper_rows.surroundings_rows,
    deeper.PRESSURE: deeper_rows.pressure_rows,
}
