"""``harness compress``: run a recipe and write the files and the card of the variant."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import tasks
from harness.compression import card, model_file
from harness.compression.export.kinds import RUNTIMES, Runtime
from harness.compression.variant import Variant
from harness.config.load import read_toml
from harness.config.schema import RecipeFile
from harness.config.validation import FLOAT32, Validation, VariantTable
from harness.core import commands, preprocess
from harness.core.errors import DataError, ModelError, UnsupportedOperator, UsageError
from harness.data.sets import PreparedData
from harness.device import plugins
from harness.run.proofs import proven
from harness.stats import paired
from harness.store.cache import write_atomically, writing
from harness.variants.workspace import Progress, Workspace, bundled_model, find_validation, open_workspace

#: Recipes that need no variant in validation.toml.
RECIPES: dict[str, tuple[dict[str, Any], ...]] = {
    "int8": ({"pass": "quantize"},),
    "int8-dynamic": ({"pass": "dynamic"},),
    "int4-weights": ({"pass": "weight_only", "bits": 4},),
    "float16": ({"pass": "float16"},),
}
FORMATS = ("onnx", "tflite")


@dataclass(frozen=True, slots=True)
class CompressResult:
    """A variant that was written.

    Parameters
    ----------
    folder : Path
    card : mapping
        Content of ``card.json``.
    reference : mapping
        Card of the float model.
    """

    folder: Path
    card: Mapping[str, Any]
    reference: Mapping[str, Any]


def compress(
    model: Path | None,
    recipe: str,
    out: Path,
    *,
    formats: Sequence[str] = (),
    runtime: str = "litert",
    progress: Progress = lambda text: None,
) -> CompressResult:
    """Make one variant.

    Parameters
    ----------
    model : Path
        A folder or a ``validation.toml``, or an ONNX file that has one beside it. None: the bundled model,
        which only a shipped recipe can be meant for.
    recipe : str
        A variant of the ``validation.toml``, one of ``RECIPES``, or a TOML file with ``recipe = […]``.
    out : Path
        Folder to write; it must be empty or not exist.
    formats : sequence of str
        ``onnx``, ``tflite``; raises if one cannot be written. Empty: those of both that can be written.
    runtime : str
        The oldest TFLite runtime that must open the file.
    progress : callable
        Called with a line of text about what is being done.

    Raises
    ------
    UsageError
        A name is unknown, or `out` is not empty.
    ModelError, DataError
        The recipe cannot be run on this model and these data; nothing is written.
    """
    _require_empty(out)
    if model is None:
        if recipe not in RECIPES:
            raise UsageError(
                f"the recipe {recipe} needs the model it was made for", where="MODEL",
                next_step=f"{commands.harness()} compress MODEL --recipe {shlex.quote(recipe)}"
                f" -o {commands.quoted(out)}",
            )  # fmt: skip
        model = bundled_model(progress)
    validation, folder, file = find_validation(model)
    name, steps = _recipe(recipe, validation)
    return _make(validation, folder, file, name, steps, out, formats, runtime, progress)


def rebuild(
    path: Path,
    out: Path,
    *,
    model: Path | None = None,
    progress: Progress = lambda text: None,
) -> CompressResult:
    """Make the variant of a card again, bit for bit.

    Parameters
    ----------
    path : Path
        The ``card.json``.
    out : Path
    model : Path, optional
        Where model and data are now, if they are no longer where the card says.

    Raises
    ------
    UsageError
        The file is not a card.
    ModelError, DataError
        The model, the calibration data, or the files that were made have another hash.
    """
    _require_empty(out)
    try:
        card_before = json.loads(path.read_text())
        lineage, name = card_before["lineage"], card_before["variant"]
        validation_path, formats = Path(card_before["validation"]), tuple(card_before["files"])
        recipe, runtime, model_name = tuple(lineage["recipe"]), lineage["runtime"], lineage["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "the file is not the card of a variant", where=str(path),
            cause=f"{type(error).__name__}: {error}",
            next_step="give the card.json that harness compress wrote, or cards/VARIANT.json of a run",
        ) from error  # fmt: skip
    validation, folder, file = find_validation(model or validation_path)
    now = [[f.name, f.sha256] for f in model_file.onnx_files(folder / validation.model.file)]
    if now != lineage["model"]:
        raise ModelError(
            f"the model has the hash {now[0][1][:12]}…, the card has {lineage['model'][0][1][:12]}…",
            where=str(folder / validation.model.file), next_step="restore the old model",
        )  # fmt: skip
    # A TFLite file contains the model's name at the time it was made.
    renamed = validation.model.model_copy(update={"name": model_name})
    validation = validation.model_copy(update={"model": renamed})
    return _make(validation, folder, file, name, recipe, out, formats, runtime, progress, before=card_before)


def _make(
    validation: Validation, folder: Path, file: Path, name: str, steps: tuple[dict[str, Any], ...], out: Path,
    formats: Sequence[str], runtime: str, progress: Progress,
    before: Mapping[str, Any] | None = None,
) -> CompressResult:  # fmt: skip
    for fmt in formats:
        if fmt not in FORMATS:
            raise plugins.unknown("format", fmt, FORMATS)
    if runtime not in RUNTIMES:
        raise plugins.unknown("runtime", runtime, RUNTIMES)
    chosen: Runtime = next(supported for supported in RUNTIMES if supported == runtime)
    variants = {} if name == FLOAT32 else {name: VariantTable(recipe=steps)}
    workspace = open_workspace(validation, folder, file, variants, progress, chosen)
    _check_calibration(workspace.data, steps, before)
    float32, *others = workspace.builder.build(
        dict.fromkeys((FLOAT32, name)), formats or FORMATS, workspace.data
    )
    variant = others[0] if others else float32
    for fmt in formats:
        if fmt in variant.refused:
            raise UnsupportedOperator(variant.refused[fmt])
    wanted = {fmt: artifact for fmt, artifact in variant.artifacts.items() if not formats or fmt in formats}
    if before is not None:
        hashes = {fmt: artifact.sha256 for fmt, artifact in wanted.items()}
        card.check_rebuilt(before, hashes, variant.card["lineage"])
    feeds = next(workspace.data.calibration_feeds(), None)
    (variant,) = proven([variant], feeds, workspace.cache, progress)
    progress("comparing class by class")
    whole = {
        **variant.card,
        "files": {fmt: variant.card["files"][fmt] for fmt in wanted},
        "classes": _class_losses(float32, variant, workspace),
        "validation": str(file),
    }
    _write(out, wanted.values(), whole)
    return CompressResult(out, whole, float32.card)


def _recipe(text: str, validation: Validation) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Return name and steps of a recipe."""
    path = Path(text)
    if path.suffix == ".toml" or path.is_file():
        return path.stem, read_toml(path, RecipeFile).recipe
    named = {name: table.recipe for name, table in validation.variants.items() if table.recipe}
    recipes = {FLOAT32: (), **RECIPES, **named}
    if text not in recipes:
        raise plugins.unknown("recipe", text, tuple(recipes))
    return text, tuple(recipes[text])


def _check_calibration(
    data: PreparedData, steps: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None
) -> None:
    if before is None or not steps:
        return
    now, then = preprocess.digest(data.calibration_feeds()), before["lineage"]["calibration"]
    if now != then:
        raise DataError(
            f"the calibration data have the digest {now[:12]}…, the card has {then[:12]}…",
            where="data", cause="samples, split or preprocessing changed",
            next_step="restore the old data and validation.toml",
        )  # fmt: skip


def _class_losses(float32: Variant, variant: Variant, workspace: Workspace) -> list[dict[str, Any]]:
    """Return the accuracy loss of each class on clean test data with ONNX Runtime.

    Empty without labels or without an ONNX file.
    """
    data = workspace.data
    runs = all("onnx" in compared.artifacts for compared in (float32, variant))
    has_classes = tasks.named(workspace.validation.model.task).has_classes
    if data.labels is None or not has_classes or not runs:
        return []
    labels, rows = np.asarray(data.labels), workspace.test_rows()
    base, right = (
        workspace.predict(str(compared.artifacts["onnx"].path), rows) == labels
        for compared in (float32, variant)
    )
    losses = []
    for label in np.unique(labels).tolist():
        in_class = labels == label
        loss = paired.flips(base[in_class], right[in_class]).loss
        name = data.class_names[label] if label < len(data.class_names) else str(label)
        entry = {"label": label, "name": name, "n": int(in_class.sum())}
        losses.append(
            {**entry, "loss_pt": 100 * loss.value, "ci_low": 100 * loss.low, "ci_high": 100 * loss.high}
        )
    return losses


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", where=str(out), next_step="name another folder with -o")


def _write(out: Path, artifacts: Any, whole: Mapping[str, Any]) -> None:  # noqa: ANN401 - values of a dict
    """Write the whole folder or nothing."""
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out.parent))
        try:
            for artifact in artifacts:
                for file in artifact.files:
                    (temporary / file.name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(artifact.folder / file.name, temporary / file.name)
            write_atomically(temporary / "card.json", json.dumps(whole, indent=1, sort_keys=True).encode())
            temporary.chmod(0o777 & ~_umask())
            if out.is_dir():
                out.rmdir()
            temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
