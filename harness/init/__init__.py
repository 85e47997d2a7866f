"""``harness init``: inspect a model and its data and write a ``validation.toml`` that can be run."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.compression.file_facts import file_facts
from harness.compression.model_file import companions_of
from harness.config.load import check
from harness.config.schema import MAX_BYTES
from harness.config.validation import FLOAT32, Validation
from harness.core import commands
from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Backend, Session
from harness.core.errors import BackendError, ModelError, StoreError, TargetUnavailable, UsageError
from harness.core.job import Options
from harness.core.suite import ProposalContext
from harness.device import plugins
from harness.init import data as init_data
from harness.init import gates as init_gates
from harness.init import toml as init_toml
from harness.init.preprocess import Guess
from harness.init.trial import Findings, Trial, explore

#: Format and runtime by file suffix.
RUNTIMES = {".onnx": ("onnx", "onnxruntime"), ".tflite": ("tflite", "tflite")}


@dataclass(frozen=True, slots=True)
class InitReport:
    """The result of ``harness init``.

    Parameters
    ----------
    path : Path
        The file that was written, as it was named.
    headline : str
        Model, shapes, samples.
    findings : Findings
    gates : tuple of str
        Limits and the reasons for them.
    notes : tuple of str
        What the user should check.
    """

    path: Path
    headline: str
    findings: Findings
    gates: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def guess(self) -> Guess:
        """The preprocessing that was chosen."""
        return self.findings.trials[0].guess

    def text(self) -> str:
        """Return the report as text; its last line is the next command."""
        split = self.findings.split
        lines = [self.headline, f"preprocessing guessed: {self.guess.text}"]
        if self.findings.trials[0].per_sample.size:
            lines.append(f"  {self._scores()}")
        rule = "split" if self.findings.table.callable else f"split by {self.findings.table.split}"
        lines.append(f"{rule}: {len(split.calibration):,} calibration | {len(split.test):,} test")
        lines += [f"gate: {gate}" for gate in self.gates]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"wrote {self.path}")
        lines.append(f"next: {commands.harness()} validate --model {commands.quoted(self.path)}")
        return "\n".join(lines)

    def _scores(self) -> str:
        classes = self.findings.task == "classification"

        def formatted(trial: Trial) -> str:
            return f"{100 * trial.score:.1f} %" if classes else f"{-trial.score:.4g}"

        best, *others = self.findings.trials
        remarks = [f"next guess {formatted(trial)}: {trial.guess.text}" for trial in others[:1]]
        if classes:
            remarks.append(f"chance {100 * self.findings.chance:.1f} %")
        score = "top-1" if classes else "mean absolute error"
        text = f"{score} {formatted(best)} on {best.per_sample.size} samples"
        return f"{text}   ({'; '.join(remarks)})" if remarks else text


def init(
    model: Path,
    data: str,
    labels: Path | None = None,
    *,
    out: Path | None = None,
    force: bool = False,
    split: init_data.Splitting = "hash",
    skip_damaged: bool = False,
    missing: Literal["drop"] | float | None = None,
    max_bytes: int | None = None,
) -> InitReport:
    """Inspect model and data, guess the preprocessing, choose gates, and write ``validation.toml``.

    Parameters
    ----------
    model : Path
        ``.onnx`` or ``.tflite``.
    data : str
        A file, a folder, or ``package.module:function``.
    labels : Path, optional
        If they are not beside the data.
    out : Path, optional
        The file to write, or its folder. Default: beside the model.
    force : bool
        Overwrite an existing file.
    split : str
        ``hash``, ``first`` or ``none``: how calibration samples are chosen.
    skip_damaged : bool
        Leave out image files that cannot be decoded, by name.
    missing : "drop", float or None
        Leave out samples with missing values, replace the values, or refuse them.
    max_bytes : int, optional
        Largest data file, and largest size of the arrays.

    Raises
    ------
    UsageError
        The file exists, or the model or the data are invalid.
    TargetUnavailable
        The runtime that opens the model is not installed.
    StoreError
        The file cannot be written.
    """
    fmt, runtime = _format(model)
    destination = _destination(model, out, force=force)
    files = companions_of(model, fmt)
    facts = file_facts(model, fmt)
    artifact = Artifact(FLOAT32, fmt, files, model.parent, quantization=facts.quantization)
    first = fmt == "onnx"
    with _session(runtime, artifact) as session:
        reading = init_data.Reading(split, skip_damaged, missing, max_bytes or MAX_BYTES)
        source = init_data.find(data, labels, session.inputs, reading=reading, channels_first=first)
        findings = explore(session, artifact, source, channels_first=first)
        inputs, outputs = session.inputs, session.outputs
    test = findings.split.test
    no_int8 = ""
    if facts.precision:
        no_int8 = f"the model is an {facts.precision} model already: it is measured as it is"
    elif not len(findings.split.calibration):
        no_int8 = "there are no calibration samples: [data] split"
    quantizes = fmt == "onnx" and not no_int8
    best = findings.trials[0]
    context = ProposalContext(
        task=findings.task, labelled=test.labels is not None, quantizes=quantizes,
        shifted=findings.shift_kind != "none", samples=len(test), right=int(max(0, best.per_sample.sum())),
        tried=best.per_sample.size, chance=findings.chance,
    )  # fmt: skip
    gates = init_gates.propose(context)
    limited = [gate for gate in gates if gate.why and not gate.commented]
    values = sum(math.prod(size or 1 for size in spec.shape[1:]) for spec in outputs)
    text = init_toml.write(
        init_toml.Contents(
            model=model, folder=destination.parent, fmt=fmt, task=findings.task, data=findings.table,
            steps=best.guess.steps, shapes={spec.name: spec.shape for spec in inputs},
            shift_kind=findings.shift_kind, no_int8=no_int8, gates=gates,
            output_byte=4 * values * len(test),
        )
    )  # fmt: skip
    # Nothing is written that the schema would refuse.
    check(tomllib.loads(text), Validation, where=str(destination))
    _write(destination, text)
    notes = [*source.notes, *findings.split.notes, *findings.notes]
    if fmt == "onnx" and no_int8:
        notes.append(f"no int8 variant: {no_int8.partition(': [')[0]}")
    elif facts.precision:
        notes.append(no_int8)
    if facts.keeps_state:
        notes.append("the file keeps state between calls: it is reset before each call")
    notes += [
        f"the input {name} has its samples on axis {step.batch_axis}: check [input.{name}] batch_axis"
        if step.batch_axis is not None
        else f"the input {name} has no axis for samples: it takes one a call"
        for name, step in best.guess.steps.items()
        if step.batch_axis != 0
    ]
    if quantizes and not any(gate.table.get("variant") == "int8" for gate in gates):
        notes.append(f"no gate on int8: {len(test):,} test samples are too few to decide any margin")
    count = len(test) + len(findings.split.calibration)
    return InitReport(
        path=destination,
        headline=f"{model.name}  {_shapes(inputs)} -> {_shapes(outputs)}   {count:,} samples",
        findings=findings,
        gates=tuple(f"{gate.name}: {_limit(gate.table)}, {gate.why}" for gate in limited),
        notes=tuple(notes),
    )


def _limit(table: Mapping[str, Any]) -> str:
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
            f"{path.name} already exists",
            where=str(path),
            next_step="name another file with --out, or overwrite it with --force",
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"there is no folder {path.parent}",
            where=str(path),
            next_step=f"mkdir -p {commands.quoted(path.parent)}",
        )
    return path


@contextmanager
def _session(runtime: str, artifact: Artifact) -> Iterator[Session]:
    backend: Backend = plugins.choose(plugins.BACKENDS, runtime)()
    availability = backend.probe()
    if availability.reason:
        raise TargetUnavailable(
            f"{artifact.path.name} needs {runtime}: {availability.reason}",
            where=str(artifact.path),
            next_step=availability.install,
        )
    try:
        session = backend.open(artifact, Options())
    except BackendError as error:
        # The user's file is at fault here, not the runtime.
        raise ModelError(
            error.what, where=error.where, cause=error.cause, next_step=error.next_step
        ) from error
    with session:
        yield session


def _write(path: Path, text: str) -> None:
    """Write the whole file or nothing."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(
            f"{path.name} cannot be written: {error.strerror}",
            where=str(path),
            next_step="name another file with --out",
        ) from error
