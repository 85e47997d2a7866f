"""``compare --live``: what its two sides mean, made ready and measured side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.config.folders import shipped_folder
from harness.config.targets import load_target, target_files
from harness.core.artifact import Artifact, describe_file, sha256_file
from harness.core.errors import HarnessError, TargetUnavailable, UsageError
from harness.core.job import Batch
from harness.core.metric import TIMED
from harness.device import plugins
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request, parse_seconds
from harness.store import run_folder
from harness.store.cache import Cache
from harness.timing.interleave import Arm, Demand, Interleaved, interleave

MODELS = (".onnx", ".tflite")


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
    demand : Demand
    """

    base: str
    new: str
    target: str
    model: Path
    variant: str
    results: Path
    demand: Demand = field(default_factory=Demand)


def read(
    base: str, new: str, results: Path, *, target: str, model: str, variant: str, metric: str,
    max_ratio: float, decide_within: str,
) -> Question:  # fmt: skip
    """Read what a command line says; an empty model is the bundled one.

    Raises
    ------
    UsageError
        A text cannot be read, or a number means nothing.
    """
    folder = Path(model) if model else shipped_folder("models") / "digits"
    return Question(base, new, target, folder, variant, results, demand(metric, max_ratio, decide_within))


def demand(metric: str, max_ratio: float, decide_within: str) -> Demand:
    """Read what is to be decided; see ``read``."""
    if metric not in TIMED:
        raise plugins.unknown("metric", metric, TIMED)
    if not 1 < max_ratio < 100:
        raise UsageError(f"a ratio above 1 is asked for, and {max_ratio:g} is none", where="--max-ratio")
    return Demand(metric, max_ratio, parse_seconds(decide_within, "decide-within"))


def compare(question: Question, observer: Observer, told: Callable[[str], None]) -> Interleaved:
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
    opened: dict[str, Prepared] = {}
    for text in (question.base, question.new):
        _place(text, question)  # refuse the second side before the first is prepared
    try:
        arms = (
            _arm(question.base, question, opened, observer),
            _arm(question.new, question, opened, observer),
        )
        return interleave(question.demand, arms, told)
    finally:
        for prepared in opened.values():
            prepared.close()


def _place(text: str, question: Question) -> tuple[str, str, bool]:
    """Target and backend on which a side is timed, and whether it names them itself; refuses what it can.

    Before anything is prepared: an emulated target would be built first, and a missing file found last.
    """
    target, _, backend = text.partition("/")
    itself = target in target_files()
    if not itself:
        _check_subject(text, question)
        target, _, backend = question.target.partition("/")
    found = load_target(target)
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
        run_folder.find_run(text, question.results)
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
    folder = run_folder.find_run(text, question.results)
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
