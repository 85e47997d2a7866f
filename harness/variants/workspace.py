"""What ``compress`` and ``search`` work at: a float model with its data, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.compression import model_file
from harness.compression.export.kinds import Runtime
from harness.compression.recipe import Workshop
from harness.config.folders import cache_folder
from harness.config.load import load_validation, validation_file
from harness.config.schema import ShiftsTable
from harness.config.validation import Validation, VariantTable
from harness.core import preprocess
from harness.core.errors import ModelError, UsageError
from harness.data import sets
from harness.data.sets import PreparedData
from harness.run import name_checks
from harness.store.cache import Cache

Told = Callable[[str], None]
Rows = Mapping[str, NDArray[Any]]
"""Input name to raw samples, shape (n, …)."""
#: Samples a call, where the model leaves it open.
BATCH = 32


@dataclass(frozen=True, slots=True)
class Desk:
    """A float model, its clean test data and its calibration data.

    Parameters
    ----------
    validation : Validation
    file : Path
        The ``validation.toml``.
    folder : Path
        Where its relative paths start.
    cache : Cache
    workshop : Workshop
    model : onnx.ModelProto
        As given, with its shapes fixed.
    data : PreparedData
        Without shifts.
    """

    validation: Validation
    file: Path
    folder: Path
    cache: Cache
    workshop: Workshop
    model: onnx.ModelProto
    data: PreparedData

    def test_rows(self) -> Rows:
        """Raw samples of the clean test set, in the run's order."""
        return {
            name: np.load(self.cache.array_path(digest), mmap_mode="r", allow_pickle=False)
            for name, digest in self.data.sets[0].ref.inputs.items()
        }

    def predict(self, model: bytes | str, rows: Rows) -> NDArray[np.int64]:
        """Class of every sample as ONNX Runtime computes it here, on one thread.

        Parameters
        ----------
        model : bytes or str
            An ONNX file, or its path. Where its batch is fixed, the last one is filled up with its last row.
        rows : mapping
            Raw samples.

        Returns
        -------
        ndarray, shape (n,), int64
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0].shape
        size = first[0] if first and isinstance(first[0], int) else BATCH
        count = len(next(iter(rows.values())))
        classes = []
        for start in range(0, count, size):
            taken = np.minimum(np.arange(start, start + size), count - 1)
            feeds = {
                name: preprocess.apply(raw[taken], self.data.preprocess[name]) for name, raw in rows.items()
            }
            scores = session.run(None, feeds)[0].reshape(size, -1)
            classes.append(scores.argmax(axis=1)[: count - start])
        return np.concatenate(classes)


def set_up(
    validation: Validation,
    folder: Path,
    file: Path,
    variants: Mapping[str, VariantTable],
    told: Told,
    runtime: Runtime = "litert",
) -> Desk:
    """Read model and data, and check what is to be made of them.

    Raises
    ------
    ConfigurationError
        A name in `variants` is unknown.
    ModelError, DataError
        There is no ONNX model, or something is wrong with it or with the data.
    """
    alone = validation.model_copy(
        update={"variants": dict(variants), "shifts": ShiftsTable(), "gate": (), "search": None}
    )
    name_checks.check_validation(alone, file)
    cache = Cache(cache_folder())
    told("reading model and data")
    workshop = Workshop(alone, folder, cache, runtime=runtime, told=told)
    if workshop.model is None:
        raise ModelError(
            "there is no ONNX model to begin with", where=f"{file}: model.file",
            cause="only prebuilt files are named", next_step="name the trained ONNX model in model.file",
        )  # fmt: skip
    info = model_file.inspect_onnx(workshop.model)
    data = sets.prepare(alone, folder, cache, info.inputs, info.classes)
    return Desk(alone, file, folder, cache, workshop, workshop.model, data)


def find_validation(model: Path) -> tuple[Validation, Path, Path]:
    """Read the ``validation.toml`` that is meant by its folder, itself, or the ONNX file beside it.

    Returns
    -------
    tuple
        It, its folder, and its path.
    """
    beside = model.parent / "validation.toml"
    if model.suffix == ".onnx" and beside.is_file():
        validation, folder = load_validation(beside)
        if (folder / validation.model.file).resolve() != model.resolve():
            raise UsageError(
                f"{beside} is about {validation.model.file}, not {model.name}",
                next_step=f"harness init {model} --data PATH --out {model.stem}.toml",
            )
        return validation, folder, beside.resolve()
    validation, folder = load_validation(model)
    return validation, folder, validation_file(model).resolve()
