"""One file of a model in two versions of a runtime: what comes out, how fast, in how much memory, by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.core.artifact import Artifact
from harness.core.errors import UsageError, WorkerError
from harness.core.executor import Executor
from harness.core.job import DEPLOY, PARITY, Batch, EnvironmentRecord, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.core.metric import Role
from harness.core.suite import SummaryContext
from harness.core.verdict import State
from harness.run import declared
from harness.run.prepare import Prepared
from harness.run.selection import load_suites
from harness.stats.intervals import Interval
from harness.stats.kernels import Profile
from harness.timing.interleave import Criterion, InterleavedTiming, TimedSide, interleave
from harness.upgrade.decision import Failure, Findings
from harness.upgrade.targets import NEW, OLD, SIDES, TargetPair

#: The case in which a suite that is timed measures kernels; no run plans it.
PROFILE = "profile"
#: Processes a side whose kernels are timed, beside those that the latency comes from.
PROFILED = 4
PROFILE_SECONDS = 0.5
PT = 100.0
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """The options of ``harness upgrade``.

    Parameters
    ----------
    runtime, old, new : str
        A distribution and two of its versions.
    model : Path
        A folder or a ``validation.toml``.
    results : Path
        Where runs and baselines are stored.
    targets : tuple of str
        Empty for every local one of the runtime.
    hosts : tuple of str
        The board of targets over ssh.
    variants : tuple of str
        Empty for those that are not set aside.
    baseline : str
        Name of the accepted runs whose artifacts are taken.
    margin_pt : float
        Largest loss of accuracy that is allowed.
    explain_s : float
        How long the cause is looked for where bits differ; 0 looks for none.
    criterion : Criterion
        Of the latencies of one target and variant.
    """

    runtime: str
    old: str
    new: str
    model: Path
    results: Path
    targets: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    baseline: str = "accepted"
    margin_pt: float = 0.5
    explain_s: float = 60.0
    criterion: Criterion = field(kw_only=True)

    def label(self, side: str) -> str:
        """What a side is called."""
        return f"{self.runtime} {self.old if side == OLD else self.new}"


def _by_side() -> dict[str, list[Any]]:
    return {side: [] for side in SIDES}


@dataclass(frozen=True, slots=True)
class Why:
    """What explains that bits differ, and where nodes run.

    Parameters
    ----------
    layer, operator : str
        The first whose result differs where both versions have the same inputs; empty where no layer can be
        read, or none differs by itself.
    causes : tuple of str
        Confirmed, in words.
    reason : str
        Why none is named.
    placement : mapping of side to mapping of provider to int
        Number of nodes; empty where the runtime does not tell.
    facts : mapping
        The whole explanation as JSON; empty where nothing was explained.
    """

    layer: str = ""
    operator: str = ""
    causes: tuple[str, ...] = ()
    reason: str = ""
    placement: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Comparison:
    """One target and variant in both versions.

    Parameters
    ----------
    findings : Findings
        What the decision rests on.
    artifact : Artifact, optional
        The file that both versions ran.
    origin : str
        Where that comes from.
    samples : mapping of side to Samples
        Outputs on the clean set, as it ships.
    environments : mapping of side to facts
    timed : InterleavedTiming, optional
    profiles : mapping of side to list of Profile
    no_profile : str
        Why there is none, where one was looked for.
    why : Why, optional
        What explains that bits differ, and where nodes run.
    """

    target: str
    variant: str
    findings: Findings = field(default_factory=Findings)
    artifact: Artifact | None = None
    origin: str = ""
    samples: dict[str, Samples] = field(default_factory=dict)
    environments: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    timed: InterleavedTiming | None = None
    profiles: dict[str, list[Profile]] = field(default_factory=_by_side)
    no_profile: str = ""
    why: Why | None = None


def suites(request: UpgradeRequest) -> tuple[str, str]:
    """The suite whose outputs are compared, and the one that is timed.

    Raises
    ------
    UsageError
        No installed suite judges outputs.
    """
    for suite, _, _ in declared.installed().with_role(Role.RESULT):
        return suite, request.criterion.metric.suite
    raise UsageError("no installed suite judges outputs: none declares a metric with the role result")


def compare(
    comparison: Comparison, request: UpgradeRequest, pair: TargetPair, prepared: Prepared, notify: Notify
) -> None:
    """Run `comparison.artifact` in both versions; the results are stored in `comparison`.

    Parameters
    ----------
    prepared : Prepared
        With both targets of the pair.
    notify : callable
        Receives a line of progress.
    """
    executors = {side: prepared.executors[pair.targets[side].name] for side in SIDES}
    judging, timed = suites(request)
    batches = {side: batch(prepared, pair, comparison, timed, side) for side in SIDES}
    answered = {side: clean(batch(prepared, pair, comparison, judging, side)) for side in SIDES}
    results = _answer(comparison, answered, executors)
    if comparison.findings.failures:
        return
    comparison.findings = findings(results, answered, prepared)
    if comparison.findings.incomparable:
        return
    if comparison.findings.bit_exact < 1:  # of threads that take turns, the old version may not repeat itself
        again, _ = _run(executors[OLD], answered[OLD])
        bits = findings({**results, NEW: again}, {**answered, NEW: answered[OLD]}, prepared).bit_exact
        comparison.findings = replace(comparison.findings, repeats=bits)
    if not pair.emulated:
        _time(comparison, request, batches, executors, notify)
    f = comparison.findings
    if not f.failures and (f.latency not in (None, State.PASS) or f.bit_exact < 1):
        _profile(comparison, request, batches, executors, processes=1 if pair.emulated else PROFILED)


def batch(prepared: Prepared, pair: TargetPair, comparison: Comparison, suite: str, side: str) -> Batch:
    """The planned batch, with the artifact that is compared."""
    key = (pair.targets[side].name, pair.backend, comparison.variant, suite)
    (planned,) = (b for b in prepared.plan.batches if (b.target, b.backend, b.variant, b.suite) == key)
    return planned if comparison.artifact is None else replace(planned, artifact=comparison.artifact)


def clean(whole: Batch) -> Batch:
    """Of the cases that judge outputs, the one on unshifted data as it ships."""
    metrics = declared.installed().suites[whole.suite].values()
    names = {metric.case for metric in metrics if metric.role is Role.RESULT}
    cases = tuple(case for case in whole.cases if case.name in names and case.setting == DEPLOY)
    return replace(whole, cases=cases)


def _answer(
    comparison: Comparison, batches: Mapping[str, Batch], executors: Mapping[str, Executor]
) -> dict[str, JobResult]:
    """Outputs of both sides; a side that has none is in failure."""
    failures, results = {}, {}
    for side in SIDES:
        results[side], comparison.environments[side] = _run(executors[side], batches[side])
        comparison.samples[side] = results[side].samples
        if results[side].status is not Status.OK:
            failures[side] = Failure("run", results[side].reason)
    comparison.findings = Findings(failures)
    return results


def _run(executor: Executor, batch: Batch) -> tuple[JobResult, Mapping[str, Any]]:
    """Run a batch of one case; its result, and the machine before it."""
    facts: Mapping[str, Any] = {}
    result: JobResult | None = None
    for event in executor.run([batch]):
        if isinstance(event, EnvironmentRecord) and event.phase == "before":
            facts = event.facts
        elif isinstance(event, JobResult):
            result = event
    if result is None:
        raise WorkerError("a worker ended without a result", where=batch.target)
    return result, facts


def findings(results: Mapping[str, JobResult], batches: Mapping[str, Batch], prepared: Prepared) -> Findings:
    """What the suite that judges outputs says of the new version, with the old one as the reference."""
    base = results[OLD].samples
    old, new = (_rows(results[side], batches[side], base, prepared) for side in SIDES)
    bits, agreement = new[Role.BIT_EXACT], new.get(Role.AGREEMENT)
    incomparable = [row.reason for row in (*old.values(), *new.values()) if row.status is Status.INVALID]
    if bits.status is not Status.OK:
        incomparable.append(bits.reason)
    flips = None
    if agreement is not None and agreement.status is Status.OK:
        flips = round((1 - agreement.value) * agreement.n)
    harmful, beneficial = (_count(new.get(role)) for role in (Role.HARMFUL, Role.BENEFICIAL))
    return Findings(
        incomparable=next(iter(incomparable), ""), bit_exact=bits.value, samples=bits.n, flips=flips,
        loss_pt=_loss(new), harmful=harmful, beneficial=beneficial,
    )  # fmt: skip


def _rows(
    result: JobResult, batch: Batch, base: Samples, prepared: Prepared
) -> dict[Role | str, Measurement]:
    """The rows by their role, and by their name where they have none."""
    suite = load_suites([batch.suite])[batch.suite]
    metrics = declared.of_suites({batch.suite: suite})
    (job,) = batch.jobs
    context = SummaryContext(
        artifact=batch.artifact, options=batch.options[DEPLOY], task=prepared.run["model"]["task"],
        labels=prepared.labels, reference=lambda variant, case, severity: base, emulated=False,
        settings=prepared.run["validation"]["suites"].get(batch.suite, {}),
    )  # fmt: skip
    # The suite compares bits only where both sides are pinned; here both sides are set up alike as they ship.
    alike = replace(job, case=replace(job.case, setting=PARITY))
    rows: dict[Role | str, Measurement] = {}
    for row in suite.summarise(alike, result, context):
        metric = metrics.find(batch.suite, row.metric)
        rows[row.metric if metric is None or metric.role is None else metric.role] = row
    return rows


def _count(share: Measurement | None) -> int | None:
    return None if share is None or share.status is not Status.OK else round(share.value * share.n)


def _loss(rows: Mapping[Role | str, Measurement]) -> Interval | None:
    """What was lost, in points; without labels the share of changed answers, which bounds it."""
    if (row := rows.get(Role.LOSS)) is not None and row.status is Status.OK:
        factor = 1.0 if row.unit == "pt" else PT
        return Interval(factor * row.value, factor * row.ci_low, factor * row.ci_high, row.n)
    row = rows.get(Role.AGREEMENT)
    if row is None or row.status is not Status.OK:
        return None
    return Interval(PT * (1 - row.value), PT * (1 - row.ci_high), PT * (1 - row.ci_low), row.n)


def _time(
    comparison: Comparison,
    request: UpgradeRequest,
    batches: Mapping[str, Batch],
    executors: Mapping[str, Executor],
    notify: Notify,
) -> None:
    """Time both sides, interleaved, with the old one against itself."""
    sides = tuple(TimedSide(request.label(side), executors[side], batches[side]) for side in SIDES)
    try:
        timed = interleave(request.criterion, (sides[0], sides[1]), notify)
    except WorkerError as error:  # it gave outputs, and crashes in the timed processes
        side = NEW if error.what.startswith(f"{request.label(NEW)} ") else OLD
        comparison.findings = Findings({side: Failure("run", str(error))})
        return
    why = ""
    if timed.state is State.INCONCLUSIVE:
        why = f"{timed.looks[-1].why}; more time may decide it: --decide-within"
    elif timed.mostly_disturbed:
        count, last = len(timed.disturbances), timed.disturbances[-1]
        why = f"{count} processes were disturbed, more than were not; {last}"
    comparison.timed = timed
    comparison.findings = replace(comparison.findings, latency=timed.state, latency_why=why)


def _profile(
    comparison: Comparison, request: UpgradeRequest, batches: Mapping[str, Batch],
    executors: Mapping[str, Executor], *, processes: int,
) -> None:  # fmt: skip
    """Which kernels both versions run, and for how long; in processes of its own, interleaved."""
    for turn in range(processes):
        for side in SIDES if turn % 2 == 0 else SIDES[::-1]:
            (case,) = (case for case in batches[side].cases if case.name == request.criterion.metric.case)
            params = {**case.params, "index": 0, "seconds": PROFILE_SECONDS}
            alone = replace(batches[side], cases=(replace(case, name=PROFILE, params=params),))
            result, _ = _run(executors[side], alone)
            if result.status is not Status.OK:
                comparison.no_profile = result.reason.partition("\n")[0]
                return
            comparison.profiles[side].append(Profile.read(result.samples.arrays, result.samples.values))
