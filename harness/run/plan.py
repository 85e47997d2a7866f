"""Configuration and catalogue → jobs. Pure: nothing is measured, opened or imported here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.compression.variant import Variant
from harness.config.validation import FLOAT32, Validation
from harness.core import unexpected
from harness.core.artifact import Artifact, TensorSpec
from harness.core.cause import Cause
from harness.core.check import Check, CheckPlace, places
from harness.core.contracts import Availability
from harness.core.errors import RecipeRefused, TargetUnavailable, UsageError
from harness.core.feeding import Feeding
from harness.core.job import DEPLOY, PARITY, Batch, Case, JobKey, JobResult, Status
from harness.core.plan import CARD, HOST, Plan
from harness.core.preprocess import Preprocess
from harness.core.profile import Profile
from harness.core.suite import CaseContext, Suite
from harness.core.target import PARITY_OPTIONS, Target
from harness.core.unexpected import suite_key
from harness.data.sets import PreparedData
from harness.executors.abilities import abilities_of

#: Raw outputs of a run are kept up to this size.
KEEP_BYTE = 2 * 10**9


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """All that a plan is made of.

    Parameters
    ----------
    validation : Validation
    targets : sequence of Target
    variants : sequence of Variant
        All that are made: float32, which the reference needs in any case, first.
    selected : collection of str
        The names of those that the targets run.
    suites : mapping of name to Suite
    formats : mapping of backend to formats
        What each backend opens, best first.
    available : mapping of (target, backend) to Availability
        Only what could be probed from here; absent means that the device will say.
    data : PreparedData
    inputs, outputs : tuple of TensorSpec
        Of the canonical model.
    for_runtime : mapping of runtime to sequence of Variant
        The same variants, with TFLite files for the targets that name another runtime than LiteRT.
    failed : mapping of variant to Exception
        Variants that could not be built: ``RecipeRefused`` where the model does not allow the recipe, any
        other exception where a pass has a fault.
    checks : sequence of Check
        The built-in ones of the suites.
    profile : Profile
    soak_s : float
        How long each target is called, with the profile ``soak``.
    """

    validation: Validation
    targets: Sequence[Target]
    variants: Sequence[Variant]
    selected: Collection[str]
    suites: Mapping[str, Suite]
    formats: Mapping[str, Sequence[str]]
    available: Mapping[tuple[str, str], Availability]
    data: PreparedData
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    for_runtime: Mapping[str, Sequence[Variant]] = field(default_factory=dict)
    failed: Mapping[str, Exception] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    profile: Profile = Profile.QUICK
    soak_s: float = 0.0


def make_plan(inputs: PlanInputs) -> Plan:
    """Cross targets, backends, variants and suites.

    Raises
    ------
    TargetUnavailable
        Nothing of the selection can run here.
    UsageError
        The raw outputs would not fit the cap.
    """
    batches: list[Batch] = []
    skipped: list[JobResult] = []
    checks: list[CheckPlace] = []
    reasons: dict[tuple[str, str], Availability] = {}
    for target in inputs.targets:
        made = inputs.for_runtime.get(target.for_runtime, inputs.variants)
        for backend in target.backends:
            availability = inputs.available.get((target.name, backend), Availability())
            if availability.reason:
                reasons[target.name, backend] = availability
            for variant in (variant for variant in made if variant.name in inputs.selected):
                formats = inputs.formats[backend]
                artifact, refused = variant.artifact_for(formats)
                reason = availability.reason or refused
                fault = next((variant.faults[fmt] for fmt in formats if fmt in variant.faults), None)
                if artifact is None and fault is not None:
                    skipped += _not_built(inputs, target, backend, variant.name, fault)
                    continue
                if not reason and abilities_of(target).shares_python:
                    reason = variant.unusable.get(backend, "")
                for name, suite in inputs.suites.items():
                    context = _context(inputs, name, variant, target, availability)
                    key = suite_key(target.name, backend, DEPLOY, variant.name, name)
                    cases = _cases(suite, context, key, skipped)
                    if not cases:
                        continue
                    checks += places(inputs.checks, name, context, target.name, backend)
                    batch = _batch(inputs, target, backend, variant, name, cases, artifact, made)
                    batch = _without_skipped(batch, skipped)
                    if reason:
                        skipped += [JobResult(job.key, Status.SKIPPED, reason) for job in batch.jobs]
                    else:
                        batches.append(batch)
            for variant_name, error in inputs.failed.items():
                skipped += _not_built(inputs, target, backend, variant_name, error)
    if not batches:
        raise nothing_runs(reasons, skipped)
    unavailable = tuple((target, backend, a.reason) for (target, backend), a in reasons.items())
    plan = Plan((*_reference(inputs, skipped), *batches), tuple(skipped), unavailable, checks=tuple(checks))
    _fits_cap(inputs, plan)
    return plan


def _not_built(
    inputs: PlanInputs, target: Target, backend: str, variant: str, error: Exception
) -> list[JobResult]:
    """One result for every suite: SKIPPED where the model does not allow the recipe, ERROR after a fault."""
    keys = [suite_key(target.name, backend, DEPLOY, variant, name) for name in inputs.suites]
    if not isinstance(error, RecipeRefused):
        return [unexpected.result(key, f"{variant} could not be built", error) for key in keys]
    keys.append(suite_key(target.name, backend, DEPLOY, variant, CARD))  # gates on the card do not apply, too
    return [JobResult(key, Status.SKIPPED, error.what, cause=Cause.RECIPE_REFUSED) for key in keys]


def nothing_runs(
    reasons: Mapping[tuple[str, str], Availability], skipped: Sequence[JobResult]
) -> TargetUnavailable:
    """Build the error for a plan in which nothing can run."""
    if reasons:
        (target, backend), availability = next(iter(reasons.items()))
        others = [f"{t}: {a.reason}" for (t, _), a in list(reasons.items())[1:]]
        return TargetUnavailable(
            f"the target {target} cannot run here: {availability.reason}",
            where=f"backend {backend}" + "".join(f"; {other}" for other in others),
            next_step=availability.install or "harness targets",
        )
    return TargetUnavailable(
        "nothing can run",
        cause=skipped[0].reason if skipped else "no suite has a case",
        next_step="name a target that opens the files of the model with --target; harness targets",
    )


def _cases(suite: Suite, context: CaseContext, key: JobKey, skipped: list[JobResult]) -> tuple[Case, ...]:
    """The cases of a suite; none, and an ERROR result in `skipped`, where it raises an exception."""
    try:
        return tuple(suite.cases(context))
    except UsageError:
        raise  # the configuration, in the suite's words
    except Exception as error:  # noqa: BLE001 - a suite may be a third-party plug-in
        skipped.append(unexpected.result(key, f"{key.suite} could not say its cases", error))
        return ()


def _without_skipped(batch: Batch, skipped: list[JobResult]) -> Batch:
    """Take out the cases that the suite lists as skipped, as results with its reason."""
    skipped += [
        JobResult(job.key, Status.SKIPPED, job.case.skipped, cause=Cause.MISSING_DATA)
        for job in batch.jobs
        if job.case.skipped
    ]
    return replace(batch, cases=tuple(case for case in batch.cases if not case.skipped))


def _reference(inputs: PlanInputs, skipped: list[JobResult]) -> list[Batch]:
    """The same variants on the host, pinned, for everything that is relative to it."""
    batches = []
    for variant in sorted(inputs.variants, key=lambda v: v.name != FLOAT32):
        choice = _reference_backend(inputs, variant)
        if choice is None:
            continue
        backend, artifact = choice
        most = _most_samples(inputs)
        host = Target(HOST, "the reference", (backend,), deploy=PARITY_OPTIONS, max_samples=most)
        for name, suite in inputs.suites.items():
            context = _context(inputs, name, variant, host, Availability(), reference=True)
            cases = _cases(suite, context, suite_key(HOST, backend, PARITY, variant.name, name), skipped)
            cases = tuple(case for case in cases if not case.skipped)
            if cases:
                made = inputs.variants
                batches.append(_batch(inputs, host, backend, variant, name, cases, artifact, made))
    return batches


def _most_samples(inputs: PlanInputs) -> int | None:
    """The reference runs no more samples than some target does."""
    limits = [target.max_samples for target in inputs.targets if target.max_samples is not None]
    return max(limits) if len(limits) == len(inputs.targets) else None


def _reference_backend(inputs: PlanInputs, variant: Variant) -> tuple[str, Artifact] | None:
    for backend in ("onnxruntime", "tflite", "openvino", *inputs.formats):
        availability = inputs.available.get((HOST, backend))
        artifact, _ = variant.artifact_for(inputs.formats.get(backend, ()))
        usable = availability is not None and not availability.reason and backend not in variant.unusable
        if usable and artifact is not None:
            return backend, artifact
    return None


def _context(
    inputs: PlanInputs,
    suite: str,
    variant: Variant,
    target: Target,
    availability: Availability,
    *,
    reference: bool = False,
) -> CaseContext:
    return CaseContext(
        variant=variant.name,
        reference=reference,
        quantized=variant.quantized,
        task=inputs.validation.model.task,
        settings=inputs.validation.suites.get(suite, {}),
        sets=tuple(prepared.info for prepared in inputs.data.sets),
        batch=_batch_size(inputs),
        inputs=inputs.inputs,
        outputs=inputs.outputs,
        output=inputs.validation.model.output,
        threshold=inputs.validation.model.threshold,
        options=inputs.validation.task,
        labelled=inputs.data.labels is not None,
        max_samples=target.max_samples,
        emulated=abilities_of(target).emulated,
        device_memory=target.deploy.provider in availability.device_memory,
        skipped_shifts=inputs.data.skipped,
        profile=inputs.profile,
        # Its backends and variants are called one after the other.
        soak_s=inputs.soak_s / max(1, len(target.backends) * len(inputs.selected)),
    )


def _batch_size(inputs: PlanInputs) -> int | None:
    """Samples that the canonical model takes a call; None where the caller chooses."""
    sampled = [s for s in inputs.inputs if inputs.data.preprocess.get(s.name, Preprocess()).value is None]
    if not all(spec.shape for spec in sampled):  # of unknown rank: one by one is always right
        return 1
    return Feeding(inputs.inputs, (), inputs.data.preprocess).size


def _batch(
    inputs: PlanInputs,
    target: Target,
    backend: str,
    variant: Variant,
    suite: str,
    cases: tuple[Case, ...],
    artifact: Artifact | None,
    variants: Sequence[Variant],
) -> Batch:
    used = {case.data for case in cases if case.data}
    beside = [one for one in variants if any(case.beside == one.name for case in cases)]
    return Batch(
        target=target.name,
        backend=backend,
        variant=variant.name,
        suite=suite,
        artifact=artifact or next(iter(variant.artifacts.values())),
        options=target.options(),
        preprocess=inputs.data.preprocess,
        data={  # a device reads no more than it may: the rest need not be shipped, nor hashed on it
            prepared.info.name: prepared.at_most(target.max_samples)
            for prepared in inputs.data.sets
            if prepared.info.name in used
        },
        cases=cases,
        beside=beside[0].artifact_for(inputs.formats[backend])[0] if beside else None,
    )


def output_byte(outputs: Sequence[TensorSpec], samples: int) -> int:
    """Bytes of the raw outputs of so many samples; an open dimension counts as 1."""
    total = 0
    for spec in outputs:
        size = 4
        for dim in spec.shape[1:]:
            size *= dim or 1
        total += size
    return total * samples


def sizes(inputs: PlanInputs, plan: Plan) -> dict[str, int]:
    """Samples and bytes of a plan: inputs to ship and raw outputs to keep."""
    cases = [case for batch in plan.batches for case in batch.cases if "keep" in case.params]
    samples = sum(case.samples for case in cases if _keeps(case))
    refs = {ref: None for batch in plan.batches for ref in map(_ref_key, batch.data.values())}
    return {
        "jobs": sum(len(batch.cases) for batch in plan.batches),
        "samples": sum(case.samples for case in cases),
        "input_byte": sum(size for _, size in refs),
        "output_byte": output_byte(inputs.outputs, samples),
    }


def _ref_key(ref: Any) -> tuple[tuple[str, ...], int]:  # noqa: ANN401 - DataRef, whose dict is not hashable
    return tuple(sorted(ref.inputs.values())), ref.size_byte


def _keeps(case: Case) -> bool:
    return case.params.get("keep") == "outputs"


def _fits_cap(inputs: PlanInputs, plan: Plan) -> None:
    size = sizes(inputs, plan)["output_byte"]
    if size > KEEP_BYTE:
        raise UsageError(
            f"raw outputs would take {size / 1e9:.1f} GB, more than the limit of {KEEP_BYTE / 1e9:.0f} GB",
            where="suites.accuracy",
            next_step='set suites.accuracy.keep = "reduced", or a smaller data.max_samples',
        )
