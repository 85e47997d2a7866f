"""``compare --side-by-side``: read what its two sides name, prepare both, and time them interleaved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.folders import shipped_folder
from harness.config.targets import load_target, target_files
from harness.core.artifact import Artifact, describe_file, sha256_file
from harness.core.errors import HarnessError, TargetUnavailable, UsageError
from harness.core.job import Batch
from harness.device import plugins
from harness.executors.abilities import abilities_of
from harness.run import declared
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request, parse_seconds
from harness.store import run_folder
from harness.store.cache import Cache
from harness.timing.interleave import Criterion, InterleavedTiming, TimedSide, interleave

MODELS = (".onnx", ".tflite")


@dataclass(frozen=True, slots=True)
class TimingRequest:
    """The two sides and what is to be decided.

    Parameters
    ----------
    base, new : str
        A target, ``TARGET/BACKEND``, a model file, or a run, whose artifact is timed.
    target : str
        ``TARGET`` or ``TARGET/BACKEND`` on which a model file or the artifact of a run is timed.
    model : Path
        A folder or a ``validation.toml``.
    variant : str
    results : Path
    criterion : Criterion
    """

    base: str
    new: str
    target: str
    model: Path
    variant: str
    results: Path
    criterion: Criterion


def parse(
    base: str, new: str, results: Path, *, target: str, model: str, variant: str, metric: str,
    max_ratio: float, decide_within: str,
) -> TimingRequest:  # fmt: skip
    """Read the texts of a command line; an empty model is the bundled one.

    Raises
    ------
    UsageError
        A metric, a ratio or a duration is invalid.
    """
    folder = Path(model) if model else shipped_folder("models") / "digits"
    criterion = parse_criterion(metric, max_ratio, decide_within)
    return TimingRequest(base, new, target, folder, variant, results, criterion)


def parse_criterion(metric: str, max_ratio: float, decide_within: str) -> Criterion:
    """Read what is to be decided; see ``parse``. An empty metric is the first that a suite declares."""
    able = {timed.name: timed for timed in declared.installed().timed()}
    if not able:
        raise UsageError("no installed suite has a metric that can be timed side by side")
    if metric and metric not in able:
        raise plugins.unknown("metric", metric, able)
    timed = able[metric] if metric else next(iter(able.values()))
    if not 1 < max_ratio < 100:
        raise UsageError(
            f"invalid ratio {max_ratio:g}; use a number above 1 and below 100", where="--max-ratio"
        )
    return Criterion(timed, max_ratio, parse_seconds(decide_within, "decide-within"))


def compare(request: TimingRequest, observer: Observer, notify: Callable[[str], None]) -> InterleavedTiming:
    """Time both sides until the criterion is decided or its time is used up.

    Raises
    ------
    UsageError
        A side names nothing that exists, or cannot be timed.
    TargetUnavailable
        A side cannot run here.
    WorkerError
        A process ended in an error.
    """
    prepared: dict[str, Prepared] = {}
    for text in (request.base, request.new):
        _place(text, request)  # refuse the second side before the first is prepared
    try:
        sides = (
            _side(request.base, request, prepared, observer),
            _side(request.new, request, prepared, observer),
        )
        return interleave(request.criterion, sides, notify)
    finally:
        for target in prepared.values():
            target.close()


def _place(text: str, request: TimingRequest) -> tuple[str, str, bool]:
    """Target and backend on which a side is timed, and whether its text names them.

    Called before anything is prepared: otherwise an emulated target would be built before it is refused.
    """
    target, _, backend = text.partition("/")
    is_target = target in target_files()
    if not is_target:
        _check_subject(text, request)
        target, _, backend = request.target.partition("/")
    table = load_target(target)
    if abilities_of(table).emulated:
        raise UsageError(f"{table.name} is emulated: its times say nothing", where=text)
    if backend and backend not in table.backends:
        raise UsageError(
            f"the target {target} has no backend {backend}", where=f"{target}/{backend}",
            next_step=f"use one of {', '.join(table.backends)}",
        )  # fmt: skip
    return target, backend or table.backends[0], is_target


def _check_subject(text: str, request: TimingRequest) -> None:
    path = Path(text)
    if path.suffix in MODELS:
        if not path.is_file():
            raise UsageError("there is no such file", where=text)
        return
    try:
        run_folder.find_run(text, request.results)
    except HarnessError as error:
        raise UsageError(
            f"{text!r} is no target, no model file and no run", next_step="harness targets; ls results"
        ) from error


def _side(text: str, request: TimingRequest, prepared: dict[str, Prepared], observer: Observer) -> TimedSide:
    """Prepare a side; `prepared` holds what is prepared already, by target."""
    target, backend, is_target = _place(text, request)
    if target not in prepared:
        run_request = Request(
            targets=(target,), model=request.model, variants=(request.variant,),
            suites=(request.criterion.metric.suite,), results=request.results,
        )  # fmt: skip
        prepared[target] = prepare(run_request, observer)
    ready = prepared[target]
    batch = _batch(ready, target, backend, request.variant)
    if not is_target:
        batch = replace(batch, artifact=_artifact(text, batch, request, ready.cache))
    return TimedSide(text, ready.executors[target], batch)


def _batch(prepared: Prepared, target: str, backend: str, variant: str) -> Batch:
    for batch in prepared.plan.batches:
        if (batch.target, batch.backend, batch.variant) == (target, backend, variant):
            return batch
    reasons = [
        result.reason
        for result in prepared.plan.skipped
        if (result.key.target, result.key.backend, result.key.variant) == (target, backend, variant)
    ]
    if reasons:
        raise TargetUnavailable(f"{variant} cannot run on {target}/{backend}: {reasons[0]}")
    raise TargetUnavailable(f"nothing of {variant} is timed on {target}/{backend}", next_step="harness plan")


def _artifact(text: str, batch: Batch, request: TimingRequest, cache: Cache) -> Artifact:
    """A model file, or the artifact of a run, to be timed instead of the batch's own."""
    path = Path(text)
    if path.suffix in MODELS:
        if path.suffix != f".{batch.artifact.format}":
            raise UsageError(
                f"{batch.target}/{batch.backend} runs {batch.artifact.format} files here", where=text,
                next_step="name a target for it: --target tflite",
            )  # fmt: skip
        return replace(batch.artifact, files=(describe_file(path),), folder=path.resolve().parent)
    folder = run_folder.find_run(text, request.results)
    for stored in folder.facts().plan.batches:
        if (stored.backend, stored.variant) == (batch.backend, batch.variant):
            return _cached(stored.artifact, cache, text)
    raise UsageError(f"the run has no {batch.variant} on {batch.backend}", where=str(folder.path))


def _cached(artifact: Artifact, cache: Cache, text: str) -> Artifact:
    folder = cache.artifact_folder(artifact.sha256)
    for file in artifact.files:
        path = folder / file.name
        if not path.is_file() or sha256_file(path) != file.sha256:
            raise UsageError(
                f"the {artifact.variant} artifact of {text} is no longer in the cache", where=str(path),
                next_step=f"rebuild it: harness compress --from RUN/cards/{artifact.variant}.json -o DIR, "
                "and name the file",
            )  # fmt: skip
    return replace(artifact, folder=folder)
