"""``harness init``: inspect a model and its data and write a ``validation.toml`` that can be run."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness import tasks
from harness.compression.file_facts import FileFacts, file_facts
from harness.compression.model_file import companions_of
from harness.config.load import check
from harness.config.schema import MAX_BYTES
from harness.config.validation import FLOAT32, Validation
from harness.core import commands
from harness.core.artifact import STRING, Artifact, TensorSpec
from harness.core.contracts import Backend, Session
from harness.core.errors import BackendError, DataError, ModelError, StoreError, TargetUnavailable, UsageError
from harness.core.job import Options
from harness.core.preprocess import Preprocess
from harness.core.suite import ProposalContext, ProposedGate
from harness.core.task import options_of
from harness.data.groups import groups_of
from harness.device import plugins
from harness.init import chance, constants, readings
from harness.init import data as init_data
from harness.init import gates as init_gates
from harness.init import toml as init_toml
from harness.init.file_notes import file_notes
from harness.init.findings import Findings
from harness.init.preprocess import Guess
from harness.init.proof import Int8, Proof, make_int8, prove
from harness.init.readings import Asked as Asked
from harness.init.running import independent_samples
from harness.init.trial import explore

#: Format and runtimes by file suffix; the first that opens the file runs it.
RUNTIMES = {
    ".onnx": ("onnx", ("onnxruntime", "openvino")), ".tflite": ("tflite", ("tflite", "openvino")),
    ".xml": ("openvino", ("openvino",)),
}  # fmt: skip


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
    proof : Proof, optional
        The score with the settings that were written; None without labels.
    gates : tuple of str
        Limits and the reasons for them.
    notes : tuple of str
        What the user should check.
    target : str
        The one that opens a file which the usual target does not open; empty for ONNX.
    """

    path: Path
    headline: str
    findings: Findings
    proof: Proof | None
    gates: tuple[str, ...]
    notes: tuple[str, ...]
    target: str = ""

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
        if self.proof is not None:
            lines.append(f"ran as written: {self.proof.text}")
        rule = "split" if self.findings.table.callable else f"split by {self.findings.table.split}"
        lines.append(f"{rule}: {len(split.calibration):,} calibration | {len(split.test):,} test")
        lines += [f"gate: {gate}" for gate in self.gates]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"wrote {self.path}")
        target = f" --target {self.target}" if self.target else ""
        lines.append(f"next: {commands.harness()} validate --model {commands.quoted(self.path)}{target}")
        return "\n".join(lines)

    def _scores(self) -> str:
        task = tasks.named(self.findings.task)

        def formatted(score: float) -> str:
            return f"{100 * score:.1f} %" if task.is_share else f"{-score:.4g}"

        best, *others = self.findings.trials
        remarks = [
            f"next guess {formatted(trial.score)}: {trial.guess.text}"
            for trial in [trial for trial in others if trial.reading == best.reading][:1]
        ]
        guess = "chance" if task.is_share else "a constant answer"
        remarks.append(f"{guess} {formatted(self.findings.chance)}")
        score = f"{task.score_name} {formatted(best.score)}"
        return f"{score} on {best.per_sample.size} samples   ({'; '.join(remarks)})"


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
    label_columns: Sequence[str | int] = (),
    asked: Asked | None = None,
    accept_chance: bool = False,
    values: Sequence[str] = (),
    columns: Mapping[str, str | int] | None = None,
    states: Sequence[str] = (),
) -> InitReport:
    """Inspect model and data, guess the settings, run them, and write ``validation.toml``.

    Parameters
    ----------
    model : Path
        ``.onnx``, ``.tflite``, or the ``.xml`` of an OpenVINO model.
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
    label_columns : sequence of str or int
        The columns of a table with the labels, by name or position; none: they are looked for.
    asked : Asked, optional
        Task, output and layout that the user fixed.
    accept_chance : bool
        Write the file for a float model that is no better than chance, too.
    values : sequence of str
        ``NAME=NUMBER`` for each input that has no samples.
    columns : mapping of key to column, optional
        Keys of ``[data]`` that name columns which describe the samples: ``group``, ``time``, ``sequence``.
    states : sequence of str
        ``NAME=OUTPUT`` for each input that takes that output of the row before.

    Raises
    ------
    UsageError
        The file exists, the model or the data are invalid, something has to be chosen by the user, or the
        float model is no better than chance.
    TargetUnavailable
        The runtime that opens the model is not installed.
    StoreError
        The file cannot be written.
    """
    fmt, runtimes = _format(model)
    destination = _destination(model, out, force=force)
    files = companions_of(model, fmt)
    facts = file_facts(model, fmt)
    artifact = Artifact(FLOAT32, fmt, files, model.parent, quantization=facts.quantization)
    first = fmt != "tflite"
    asked = asked or Asked()
    steps = constants.parse(values, states)
    with _session(runtimes, artifact) as (opened, refusals):
        session = constants.ConstantSession(opened, steps)
        reading = init_data.Reading(
            split, skip_damaged, missing, max_bytes or MAX_BYTES, tuple(label_columns), columns or {}
        )
        source = init_data.find(
            data, labels, session.inputs, session.outputs, reading=reading, channels_first=first
        )
        findings = explore(session, artifact, source, asked, channels_first=first)
        if not len(findings.split.test):
            raise DataError(
                f"there are no test samples: all {len(findings.split.calibration)} are calibration samples",
                where=data,
                next_step="give more samples, or --split hash",
            )
        _, about_groups = groups_of(findings.split, findings.table, where=data)
        outputs = tuple(spec for spec in session.outputs if spec.dtype != STRING)
        written = _Written(model, destination, fmt, findings, session.inputs, outputs, steps)
        tried = len(findings.trials)
        proof = prove(session, artifact, written.validation(), destination.parent, tried=tried)
    if proof is not None and not accept_chance:
        proof.require(tried=tried, next_step=_next_step(labels))
    notes = [*refusals, *source.notes, *findings.split.notes, *about_groups, *findings.notes]
    notes += file_notes(findings, facts, model, fmt)
    if proof is not None and not proof.beats_chance:
        notes.append(f"not better than chance, accepted by --accept-chance: {proof.text}")
    no_int8 = _no_int8(written, facts)
    int8 = Int8((), no_int8) if no_int8 else make_int8(written.validation(), destination.parent)
    if int8.recipe:
        notes.append(f"int8 {int8.text}")
    else:
        no_int8 = int8.text
    if fmt == "onnx" and no_int8 and not facts.precision:  # then it is said already
        notes.append(f"no int8 variant: {no_int8.partition(': [')[0]}")
    test = findings.split.test
    best = findings.trials[0]
    context = ProposalContext(
        task=findings.task, labelled=test.labels is not None, quantizes=bool(int8.recipe),
        shifted=findings.shift_kind != "none", samples=independent_samples(test, findings.table),
        right=int(max(0, best.per_sample.sum())), tried=best.per_sample.size, chance=chance.of_test(findings),
        fewest=chance.fewest(findings),
    )  # fmt: skip
    gates = init_gates.propose(context)
    limited = [gate for gate in gates if gate.why and not gate.commented]
    variants = {"int8": int8.recipe} if int8.recipe else {}
    written = replace(written, variants=variants, about_int8=int8.text, gates=gates)
    written.validation()  # nothing is written that the schema would refuse
    _write(destination, written.text())
    count = len(test) + len(findings.split.calibration)
    return InitReport(
        path=destination,
        headline=f"{model.name}  {_shapes(written.inputs)} -> {_shapes(written.outputs)}   {count:,} samples",
        findings=findings,
        proof=proof,
        gates=tuple(f"{gate.name}: {_limit(gate.table)}, {gate.why}" for gate in limited),
        notes=tuple(notes),
        target="" if fmt == "onnx" else fmt,
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """The file that is to be written, as far as it is known."""

    model: Path
    destination: Path
    fmt: str
    findings: Findings
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    constants: Mapping[str, Preprocess] = field(default_factory=dict)
    variants: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    about_int8: str = ""
    gates: Sequence[ProposedGate] = ()

    def text(self) -> str:
        findings = self.findings
        values = sum(math.prod(size or 1 for size in spec.shape[1:]) for spec in self.outputs)
        return init_toml.write(
            init_toml.Contents(
                model=self.model, folder=self.destination.parent, fmt=self.fmt,
                reading=readings.table_of(findings.reading, self.outputs[0].name),
                options=options_of(findings.reading), data=findings.table,
                steps={**findings.trials[0].guess.steps, **self.constants},
                shapes={spec.name: spec.shape for spec in self.inputs},
                shift_kind=findings.shift_kind, variants=self.variants, about_int8=self.about_int8,
                gates=self.gates, output_byte=4 * values * len(findings.split.test),
            )
        )  # fmt: skip

    def validation(self) -> Validation:
        return check(tomllib.loads(self.text()), Validation, where=str(self.destination))


def _no_int8(written: _Written, facts: FileFacts) -> str:
    """Say why no int8 variant can be made; empty if that is not known."""
    if written.fmt != "onnx":
        return "only an ONNX model can be quantized"
    if facts.precision:
        return f"the model is an {facts.precision} model already: it is measured as it is"
    if not len(written.findings.split.calibration):
        return "there are no calibration samples: [data] split"
    return ""


def _next_step(labels: Path | None) -> str:
    return (
        f"check the labels{' of --labels' if labels else ''}, name --label-column, --output, --task or "
        "--layout, give more samples, or write the file all the same with --accept-chance"
    )


def _limit(table: Mapping[str, Any]) -> str:
    return f"at most {table['max']}" if "max" in table else f"at least {table['min']}"


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join("x".join("?" if size is None else str(size) for size in spec.shape) for spec in specs)


def _format(model: Path) -> tuple[str, tuple[str, ...]]:
    if model.suffix not in RUNTIMES:
        raise UsageError(
            f"{model.name} is no .onnx, .tflite or .xml file",
            where=str(model),
            cause="the weights of an OpenVINO model; its .xml is the model" if model.suffix == ".bin" else "",
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
def _session(runtimes: Sequence[str], artifact: Artifact) -> Iterator[tuple[Session, list[str]]]:
    """Open the file with the first runtime that takes it; also returns what the others said.

    Raises
    ------
    TargetUnavailable
        The first runtime is not installed.
    ModelError
        None of them opens the file; it is at fault, not they.
    """
    refusals: list[BackendError] = []
    for runtime in runtimes:
        backend: Backend = plugins.choose(plugins.BACKENDS, runtime)()
        availability = backend.probe()
        if availability.reason and not refusals:
            raise TargetUnavailable(
                f"{artifact.path.name} needs {runtime}: {availability.reason}",
                where=str(artifact.path),
                next_step=availability.install,
            )
        if availability.reason:
            continue
        try:
            session = backend.open(artifact, Options())
        except BackendError as error:
            refusals.append(error)
            continue
        with session:
            yield session, [f"{error.what}; the scores are those of {runtime}" for error in refusals]
        return
    first = refusals[0]
    raise ModelError(first.what, where=first.where, cause=first.cause, next_step=first.next_step) from first


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
