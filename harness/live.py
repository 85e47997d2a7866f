"""Two versions side by side: interleaved in fresh processes until the ratio is decided or the time is spent.

Stands above ``run``: it prepares, starts batch after batch and looks at what came. A round is the palindrome
base, new, control, control, new, base (the three begin by turns), so that whatever rises or falls in time,
heat or a neighbour, meets all three alike. The control is the base once more: what differs there is the
machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import config, plugins
from harness.cache import Cache
from harness.core.artifact import Artifact, describe_file, sha256_file
from harness.core.contracts import Executor
from harness.core.errors import HarnessError, TargetUnavailable, UsageError, WorkerError
from harness.core.job import Batch, EnvironmentRecord, JobResult, Status
from harness.core.verdict import State
from harness.prepare import Observer, Prepared, Request, prepare
from harness.report import store
from harness.stats import side_by_side
from harness.stats.disturbance import disturbance, overload
from harness.stats.latency import min_queries, percentile
from harness.stats.side_by_side import FEWEST, Look

ARMS = ("base", "new", "control")
METRICS = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}
#: Each process is timed for so long; five are, in a run.
SECONDS = 0.2
SINGLE_STREAM = "single_stream"
MODELS = (".onnx", ".tflite")

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Parameters
    ----------
    base, new : str
        A target, ``TARGET/BACKEND``, a model file, or a run whose artifact is meant.
    target : str
        ``TARGET`` or ``TARGET/BACKEND`` for what is no target itself.
    model : Path
        A folder or a ``validation.toml``.
    variant : str
    metric : str
        One of ``METRICS``: what decides.
    limit : float
        Largest allowed ratio new / base.
    within_s : float
        No further rounds after so long.
    """

    base: str
    new: str
    target: str
    model: Path
    variant: str
    results: Path
    metric: str = "latency_p50"
    limit: float = 1.05
    within_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Arm:
    """One side: where it runs and what."""

    label: str
    executor: Executor
    batch: Batch

    def once(self, index: int) -> Batch:
        """The batch of one fresh process, which measures in itself."""
        (case,) = (case for case in self.batch.cases if case.name == SINGLE_STREAM)
        params = {
            **case.params, "index": index, "processes": 1, "seconds": SECONDS,
            "requests": -(-min_queries(0.99) // FEWEST),
        }  # fmt: skip
        return replace(self.batch, cases=(replace(case, params=params),))


@dataclass(slots=True)
class Live:
    """What was measured, and each look at it.

    Parameters
    ----------
    times_ns : mapping of arm to list of ndarray, shape (calls,), int64
        One array a process, in order of time.
    looks : list of Look
    disturbed : list of str
        Why processes were set aside and begun again: throttling, stolen time, no core. The machine says so,
        not the times, so that no side loses its slow ones.
    """

    question: Question
    arms: tuple[Arm, Arm]
    times_ns: dict[str, list[NDArray[np.int64]]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    looks: list[Look] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)
    effective: dict[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def hopeless(self) -> bool:
        """More processes were disturbed than not: what is left cannot be called undisturbed."""
        return len(self.disturbed) > max(FEWEST, sum(map(len, self.times_ns.values())))

    @property
    def state(self) -> State:
        """The last look's answer; INVALID where the machine was disturbed too often."""
        return State.INVALID if self.hopeless else self.looks[-1].state

    def figures(self, arm: str, metric: str) -> Values:
        """One percentile a process, in ns."""
        return np.array([percentile(times, METRICS[metric]) for times in self.times_ns[arm]], np.float64)


def compare(question: Question, observer: Observer, told: Callable[[str], None]) -> Live:
    """Measure both sides until the metric is decided, or the time is spent.

    Raises
    ------
    UsageError
        A side names nothing that there is, or cannot be timed.
    TargetUnavailable
        A side cannot run here.
    WorkerError
        A process ended in an error.
    """
    if question.metric not in METRICS:
        raise plugins.unknown("metric", question.metric, METRICS)
    opened: dict[str, Prepared] = {}
    for text in (question.base, question.new):
        _place(text, question)  # refuse the second side before the first is prepared
    try:
        arms = (
            _arm(question.base, question, opened, observer),
            _arm(question.new, question, opened, observer),
        )
        return _measure(Live(question, arms), told)
    finally:
        for prepared in opened.values():
            prepared.close()


def _measure(live: Live, told: Callable[[str], None]) -> Live:
    began, rounds = time.monotonic(), 0
    while True:
        goal = FEWEST * 2 ** len(live.looks)
        while len(live.times_ns["base"]) < goal and not live.hopeless:
            turn = rounds % len(ARMS)
            order = ARMS[turn:] + ARMS[:turn]
            for arm in (*order, *reversed(order)):
                while not live.hopeless and not _once(live, arm):
                    pass
            rounds += 1
        live.seconds = time.monotonic() - began
        if live.hopeless:
            return live
        parts = [live.figures(arm, live.question.metric) for arm in ("base", "control", "new")]
        look = side_by_side.judge(*parts, limit=live.question.limit, look=len(live.looks) + 1)
        live.looks.append(look)
        # Twice as many processes take as long again as all so far.
        spent = 2 * live.seconds > live.question.within_s
        if look.state is not State.INCONCLUSIVE or spent:
            return live
        told(f"{goal} processes a side, undecided: {look.why}; {goal} more")


def _once(live: Live, name: str) -> bool:
    """Measure in one fresh process; whether its times count."""
    arm = live.arms[name == "new"]
    before: Mapping[str, Any] = {}
    reasons: list[str] = []
    times: NDArray[np.int64] | None = None
    for event in arm.executor.run([arm.once(len(live.times_ns[name]))]):
        if isinstance(event, EnvironmentRecord):
            if event.phase == "before":
                before = event.facts
            elif event.phase == "after" and (why := disturbance(before, event.facts)):
                reasons.append(why)
            if why := overload(event.facts):
                reasons.append(why)
        elif isinstance(event, JobResult):
            if event.status is not Status.OK:
                raise WorkerError(f"{arm.label} cannot be timed: {event.reason}", where=str(event.key))
            times, live.effective[name] = event.samples.arrays["latency_ns"], event.effective
    if times is None:
        raise WorkerError(f"{arm.label} said nothing of its times", where=arm.batch.target)
    if reasons:
        live.disturbed.append(f"{arm.label}: {'; '.join(reasons)}")
    else:
        live.times_ns[name].append(times)
    return not reasons


def _place(text: str, question: Question) -> tuple[str, str, bool]:
    """Target and backend on which a side is timed, and whether it names them itself; refuses what it can.

    Before anything is prepared: an emulated target would be built first, and a missing file found last.
    """
    target, _, backend = text.partition("/")
    itself = target in config.target_files()
    if not itself:
        _check_subject(text, question)
        target, _, backend = question.target.partition("/")
    found = config.load_target(target)
    if found.emulated:
        raise UsageError(f"{found.name} is emulated: its times say nothing", where=text)
    if backend and backend not in found.backends:
        raise UsageError(
            f"the target {target} has no backend {backend}", where=f"{target}/{backend}",
            next_step=f"take one of {', '.join(found.backends)}",
        )  # fmt: skip
    return target, backend or found.backends[0], itself


def _check_subject(text: str, question: Question) -> None:
    path = Path(text)
    if path.suffix in MODELS:
        if not path.is_file():
            raise UsageError("there is no such file", where=text)
        return
    try:
        store.find_run(text, question.results)
    except HarnessError as error:
        raise UsageError(
            f"{text!r} is no target, no model file and no run", next_step="harness targets; ls results"
        ) from error


def _arm(text: str, question: Question, opened: dict[str, Prepared], observer: Observer) -> Arm:
    """Find out what a side means; what is prepared is put into `opened`, by target."""
    target, backend, itself = _place(text, question)
    if target not in opened:
        request = Request(
            targets=(target,), model=question.model, variants=(question.variant,), suites=("performance",),
            results=question.results,
        )  # fmt: skip
        opened[target] = prepare(request, observer)
    prepared = opened[target]
    batch = _batch(prepared, target, backend, question.variant)
    if not itself:
        batch = replace(batch, artifact=_artifact(text, batch, question, prepared.cache))
    return Arm(text, prepared.executors[target], batch)


def _batch(prepared: Prepared, target: str, backend: str, variant: str) -> Batch:
    for batch in prepared.plan.batches:
        if (batch.target, batch.backend, batch.variant) == (target, backend, variant):
            return batch
    why = [
        result.reason
        for result in prepared.plan.skipped
        if (result.key.target, result.key.backend, result.key.variant) == (target, backend, variant)
    ]
    if why:
        raise TargetUnavailable(f"{variant} cannot run on {target}/{backend}: {why[0]}")
    raise TargetUnavailable(f"nothing of {variant} is timed on {target}/{backend}", next_step="harness plan")


def _artifact(text: str, batch: Batch, question: Question, cache: Cache) -> Artifact:
    """A model file, or what a run had in place of the batch's own artifact."""
    path = Path(text)
    if path.suffix in MODELS:
        if path.suffix != f".{batch.artifact.format}":
            raise UsageError(
                f"{batch.target}/{batch.backend} runs {batch.artifact.format} files here", where=text,
                next_step="name a target for it: --target tflite",
            )  # fmt: skip
        return replace(batch.artifact, files=(describe_file(path),), folder=path.resolve().parent)
    folder = store.find_run(text, question.results)
    for each in folder.facts().plan.batches:
        if (each.backend, each.variant) == (batch.backend, batch.variant):
            return _cached(each.artifact, cache, text)
    raise UsageError(f"the run has no {batch.variant} on {batch.backend}", where=str(folder.path))


def _cached(artifact: Artifact, cache: Cache, text: str) -> Artifact:
    folder = cache.artifact_folder(artifact.sha256)
    for file in artifact.files:
        path = folder / file.name
        if not path.is_file() or sha256_file(path) != file.sha256:
            raise UsageError(
                f"the {artifact.variant} artifact of {text} is not in the cache any more", where=str(path),
                next_step=f"rebuild it: harness compress --from RUN/cards/{artifact.variant}.json -o DIR, "
                "and name the file",
            )  # fmt: skip
    return replace(artifact, folder=folder)
