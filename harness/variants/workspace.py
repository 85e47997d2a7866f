"""The workspace of ``compress`` and ``search``: a float model with its data, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness import tasks
from harness.compression import choose, model_file
from harness.compression.export.kinds import Runtime
from harness.compression.recipe import VariantBuilder
from harness.compression.states import with_states
from harness.config.folders import cache_folder, shipped_folder
from harness.config.load import load_validation, validation_file
from harness.config.schema import ShiftsTable
from harness.config.validation import Validation, VariantTable
from harness.core import commands
from harness.core.errors import ModelError, UsageError
from harness.data import sets
from harness.data.fit import check_states
from harness.data.sets import PreparedData
from harness.run import name_checks
from harness.store.cache import Cache

#: Called with a line of text about what is being done.
Progress = Callable[[str], None]
Rows = Mapping[str, NDArray[Any]]
"""Input name to raw samples, shape (n, …)."""
#: Samples a call if the model does not fix its batch.
BATCH = 32


@dataclass(frozen=True, slots=True)
class Workspace:
    """A float model, its clean test data and its calibration data.

    Parameters
    ----------
    validation : Validation
    file : Path
        The ``validation.toml``.
    folder : Path
        Folder that its relative paths start from.
    cache : Cache
    builder : VariantBuilder
    model : onnx.ModelProto
        The given model with its shapes fixed.
    data : PreparedData
        Clean and calibration data; no shifts.
    """

    validation: Validation
    file: Path
    folder: Path
    cache: Cache
    builder: VariantBuilder
    model: onnx.ModelProto
    data: PreparedData

    def test_rows(self) -> Rows:
        """Return the raw samples of the clean test set, in the order of a run."""
        return {
            name: np.load(self.cache.array_path(digest), mmap_mode="r", allow_pickle=False)
            for name, digest in self.data.sets[0].ref.inputs.items()
        }

    def predict(self, model: bytes | str, rows: Rows) -> NDArray[Any]:
        """Compute the answer to every sample with ONNX Runtime on one thread of this machine.

        Parameters
        ----------
        model : bytes or str
            Content of an ONNX file, or its path. If its batch is fixed, the last batch is
            padded with the last row.
        rows : mapping
            Raw samples.

        Returns
        -------
        ndarray, shape (n, …)
            As the task has them: of a classification the class, shape (n,), int64.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        reading = choose.reading_of(self.model, self.validation)
        task, answers = tasks.named(reading.task), []
        by_name = {spec.name: spec for spec in model_file.inspect_onnx(self.model).outputs}
        specs = [by_name[name or reading.output] for name in task.outputs(reading)]
        feeding = self.data.feeding(specs)
        size, left = feeding.size or BATCH, len(next(iter(rows.values())))
        names = [spec.name for spec in specs]
        for feeds in self.data.feeds_of(rows, size):
            outputs = dict(zip(names, session.run(names, feeds), strict=True))
            answers.append(task.answers(reading, feeding.answers(outputs, min(size, left))))
            left -= size
        return np.concatenate(answers)


def open_workspace(
    validation: Validation,
    folder: Path,
    file: Path,
    variants: Mapping[str, VariantTable],
    progress: Progress,
    runtime: Runtime = "litert",
) -> Workspace:
    """Read model and data, and check the variants that are to be made.

    Raises
    ------
    ConfigurationError
        A name in `variants` is unknown.
    ModelError, DataError
        There is no ONNX model, or the model or the data are invalid.
    """
    alone = validation.model_copy(
        update={"variants": dict(variants), "shifts": ShiftsTable(), "gate": (), "search": None}
    )
    name_checks.check_validation(alone, file)
    cache = Cache(cache_folder())
    progress("reading model and data")
    builder = VariantBuilder(alone, folder, cache, runtime=runtime, progress=progress)
    if builder.model is None:
        raise ModelError(
            "there is no ONNX model to compress", where=f"{file}: model.file",
            cause="only prebuilt files are given", next_step="name the trained ONNX model in model.file",
        )  # fmt: skip
    info = model_file.inspect_onnx(builder.model)
    scores = info.scores(alone)
    data = sets.prepare(alone, folder, cache, info.inputs, scores)
    check_states(data.preprocess, info.inputs, info.outputs)
    data = with_states(builder.model, data)
    return Workspace(alone, file, folder, cache, builder, builder.model, data)


def bundled_model(progress: Progress) -> Path:
    """Return the folder of the bundled model, for a command that was given none; says so."""
    folder = shipped_folder("models") / "digits"
    progress(f"no MODEL given: using the bundled model, {commands.short(folder)}")
    return folder


def find_validation(model: Path) -> tuple[Validation, Path, Path]:
    """Read a ``validation.toml``, given by its path, its folder, or the ONNX file beside it.

    Returns
    -------
    tuple
        The validation, its folder, and its path.
    """
    beside = model.parent / "validation.toml"
    if model.suffix == ".onnx" and beside.is_file():
        validation, folder = load_validation(beside)
        if (folder / validation.model.file).resolve() != model.resolve():
            raise UsageError(
                f"{beside} describes {validation.model.file}, not {model.name}",
                next_step=f"{commands.harness()} init {commands.quoted(model)} --data PATH"
                f" --out {commands.quoted(model.with_suffix('.toml'))}",
            )
        return validation, folder, beside.resolve()
    validation, folder = load_validation(model)
    return validation, folder, validation_file(model).resolve()
