"""``harness init``: look at a model and its data, and write a ``validation.toml`` that runs as it is."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.compression.model_file import companions_of
from harness.config.load import check
from harness.config.validation import FLOAT32, Validation
from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Backend, Session
from harness.core.errors import BackendError, ModelError, StoreError, TargetUnavailable, UsageError
from harness.core.job import Options
from harness.device import plugins
from harness.init import data as init_data
from harness.init import gates as init_gates
from harness.init import toml as init_toml
from harness.init.preprocess import Guess
from harness.init.trial import Findings, Trial, explore

#: Formats and runtimes by suffix.
RUNTIMES = {".onnx": ("onnx", "onnxruntime"), ".tflite": ("tflite", "tflite")}


@dataclass(frozen=True, slots=True)
class InitReport:
    """What was found and written.

    Parameters
    ----------
    path : Path
        The file that was written.
    headline : str
        Model, shapes, samples.
    findings : Findings
    gates : tuple of str
        Limits and where they come from.
    notes : tuple of str
        What a person should look at.
    """

    path: Path
    headline: str
    findings: Findings
    gates: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def guess(self) -> Guess:
        """The preprocessing that was taken."""
        return self.findings.trials[0].guess

    def text(self) -> str:
        """Say it on a screen."""
        split = self.findings.split
        lines = [self.headline, f"preprocessing guessed: {self.guess.text}"]
        if self.findings.trials[0].per_sample.size:
            lines.append(f"  {self._scores()}")
        how = "split" if self.findings.table.callable else f"split by {self.findings.table.split}"
        lines.append(f"{how}: {len(split.calibration):,} calibration | {len(split.test):,} test")
        lines += [f"gate: {gate}" for gate in self.gates]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, f"wrote {self.path}", f"next: harness validate --model {self.path}"])

    def _scores(self) -> str:
        classes = self.findings.task == "classification"

        def say(trial: Trial) -> str:
            return f"{100 * trial.score:.1f} %" if classes else f"{-trial.score:.4g}"

        best, *others = self.findings.trials
        beside = [f"next guess {say(trial)}: {trial.guess.text}" for trial in others[:1]]
        beside += [f"chance {100 * self.findings.chance:.1f} %"] * classes
        what = "top-1" if classes else "mean absolute error"
        text = f"{what} {say(best)} on {best.per_sample.size} samples"
        return f"{text}   ({'; '.join(beside)})" if beside else text


def init(
    model: Path,
    data: str,
    labels: Path | None = None,
    *,
    out: Path | None = None,
    force: bool = False,
    split: init_data.Splitting = "hash",
) -> InitReport:
    """Inspect, split, guess the preprocessing, choose gates, write.

    Parameters
    ----------
    model : Path
        ``.onnx`` or ``.tflite``.
    data : str
        A file, a folder, or ``package.module:function``.
    labels : Path, optional
        Where they are elsewhere.
    out : Path, optional
        The file to write, or its folder; beside the model by default.
    force : bool
        Overwrite it.
    split : str
        ``hash``, ``first`` or ``none``: how calibration samples are set apart.

    Raises
    ------
    UsageError
        The file exists, or model or data are not what they should be.
    TargetUnavailable
        The runtime that opens the model is not installed.
    StoreError
        The file cannot be written.
    """
    fmt, runtime = _format(model)
    destination = _destination(model, out, force=force)
    artifact = Artifact(FLOAT32, fmt, companions_of(model, fmt), model.parent)
    first = fmt == "onnx"
    with _session(runtime, artifact) as session:
        source = init_data.find(data, labels, session.inputs, split=split, channels_first=first)
        findings = explore(session, artifact, source, channels_first=first)
        inputs, outputs = session.inputs, session.outputs
    test = findings.split.test
    quantizes = fmt == "onnx" and len(findings.split.calibration) > 0
    best = findings.trials[0]
    limits = init_gates.choose(
        task=findings.task, labelled=test.labels is not None, quantizes=quantizes,
        shifted=findings.shift_kind != "none", samples=len(test), right=int(max(0, best.per_sample.sum())),
        tried=best.per_sample.size, chance=findings.chance,
    )  # fmt: skip
    values = sum(math.prod(size or 1 for size in spec.shape[1:]) for spec in outputs)
    text = init_toml.write(
        init_toml.Contents(
            model=model, folder=destination.parent, fmt=fmt, task=findings.task, data=findings.table,
            steps=best.guess.steps, shapes={spec.name: spec.shape for spec in inputs},
            shift_kind=findings.shift_kind, quantizes=quantizes, limits=limits,
            output_byte=4 * values * len(test),
        )
    )  # fmt: skip
    # The schema that will read it has read it once before anything is written.
    check(tomllib.loads(text), Validation, where=str(destination))
    _write(destination, text)
    notes = [*source.notes, *findings.notes]
    if fmt == "onnx" and not quantizes:
        notes.append("no int8 variant: nothing was set apart to calibrate with")
    if quantizes and not any(gate["variant"] == "int8" for gate, _ in limits.values()):
        notes.append(f"{len(test):,} test samples can decide no margin of int8: there is no gate on it")
    count = len(test) + len(findings.split.calibration)
    return InitReport(
        path=destination,
        headline=f"{model.name}  {_shapes(inputs)} -> {_shapes(outputs)}   {count:,} samples",
        findings=findings,
        gates=tuple(f"{name}: {_limit(table)}, {limit.why}" for name, (table, limit) in limits.items()),
        notes=tuple(notes),
    )


def _limit(table: dict[str, object]) -> str:
    return f"at most {table['max']}" if "max" in table else f"at least {table['min']}"


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join("x".join("?" if size is None else str(size) for size in spec.shape) for spec in specs)


def _format(model: Path) -> tuple[str, str]:
    if model.suffix not in RUNTIMES:
        raise UsageError(
            f"{model.name} is neither an .onnx nor a .tflite file",
            where=str(model),
            next_step="export the model to ONNX, or write validation.toml by hand for prebuilt files",
        )
    if not model.is_file():
        raise ModelError("there is no such model file", where=str(model), next_step="check the path")
    return RUNTIMES[model.suffix]


def _destination(model: Path, out: Path | None, *, force: bool) -> Path:
    path = out or model.parent
    path = path / "validation.toml" if path.is_dir() else path
    if path.exists() and not force:
        raise UsageError(
            f"{path.name} exists and is not overwritten",
            where=str(path),
            next_step="name another file with --out, or overwrite it with --force",
        )
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", where=str(path), next_step="make it")
    return path


@contextmanager
def _session(runtime: str, artifact: Artifact) -> Iterator[Session]:
    backend: Backend = plugins.choose(plugins.BACKENDS, runtime)()
    able = backend.probe()
    if able.reason:
        raise TargetUnavailable(
            f"{artifact.path.name} needs {runtime}: {able.reason}",
            where=str(artifact.path),
            next_step=able.install,
        )
    try:
        session = backend.open(artifact, Options())
    except BackendError as error:
        # It is the user's file that is at fault here, not a runtime.
        known = {"where": error.where, "cause": error.cause, "next_step": error.next_step}
        raise ModelError(error.what, **known) from error
    with session:
        yield session


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(
            f"{path.name} cannot be written: {error.strerror}",
            where=str(path),
            next_step="name another place with --out",
        ) from error
