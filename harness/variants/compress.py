"""``harness compress``: a recipe made into files and a card, without a validation."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.compression import card, model_file
from harness.compression.export.kinds import RUNTIMES, Runtime
from harness.compression.recipe import Variant
from harness.config.load import read_toml
from harness.config.schema import RecipeFile
from harness.config.validation import FLOAT32, Validation, VariantTable
from harness.core import preprocess
from harness.core.errors import DataError, ModelError, UnsupportedOperator, UsageError
from harness.data.sets import PreparedData
from harness.device import plugins
from harness.stats import paired
from harness.store.cache import write_atomically, writing
from harness.variants.workspace import Desk, find_validation, set_up

#: Recipes for which no validation.toml has to name a variant.
RECIPES: dict[str, tuple[dict[str, Any], ...]] = {
    "int8": ({"pass": "quantize"},),
    "int8-dynamic": ({"pass": "dynamic"},),
    "int4-weights": ({"pass": "weight_only", "bits": 4},),
    "float16": ({"pass": "float16"},),
}
FORMATS = ("onnx", "tflite")


@dataclass(frozen=True, slots=True)
class Made:
    """What lies in ``folder`` now; ``card`` as in ``card.json``, ``reference`` that of the float model."""

    folder: Path
    card: Mapping[str, Any]
    reference: Mapping[str, Any]


def compress(
    model: Path,
    recipe: str,
    out: Path,
    *,
    formats: Sequence[str] = (),
    runtime: str = "litert",
    told: Callable[[str], None] = lambda text: None,
) -> Made:
    """Make one variant.

    Parameters
    ----------
    model : Path
        A folder or a ``validation.toml``, or an ONNX file that has one beside it.
    recipe : str
        A variant of the ``validation.toml``, one of ``RECIPES``, or a TOML file with ``recipe = […]``.
    out : Path
        Folder to write; it must not hold anything yet.
    formats : sequence of str
        ``onnx``, ``tflite``. Empty: both, or what can be had of them; one that is named must be had.
    runtime : str
        The oldest TFLite runtime that must open the file.
    told : callable
        Is told what is being done.

    Raises
    ------
    UsageError
        A name is unknown, or `out` holds something.
    ModelError, DataError
        The recipe cannot be run on this model and these data; nothing is written then.
    """
    _refuse_filled(out)
    validation, folder, file = find_validation(model)
    name, steps = _recipe(recipe, validation)
    return _make(validation, folder, file, name, steps, out, formats, runtime, told)


def rebuild(
    path: Path,
    out: Path,
    *,
    model: Path | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> Made:
    """Make again what a card tells of, bit for bit.

    Parameters
    ----------
    path : Path
        The ``card.json``.
    out : Path
    model : Path, optional
        Where model and data lie now; the card knows where they lay.

    Raises
    ------
    UsageError
        This is no card.
    ModelError, DataError
        The model or the calibration data are others, or what was made has another hash.
    """
    _refuse_filled(out)
    try:
        known = json.loads(path.read_text())
        lineage, name, runtime = known["lineage"], known["variant"], known["lineage"]["runtime"]
        where, recipe, formats = Path(known["validation"]), tuple(lineage["recipe"]), tuple(known["files"])
        written_as = lineage["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "this is no card of a variant", where=str(path), cause=f"{type(error).__name__}: {error}",
            next_step="give the card.json that harness compress wrote, or cards/VARIANT.json of a run",
        ) from error  # fmt: skip
    validation, folder, file = find_validation(model or where)
    now = [[f.name, f.sha256] for f in model_file.onnx_files(folder / validation.model.file)]
    if now != lineage["model"]:
        raise ModelError(
            f"the model has the hash {now[0][1][:12]}…, the card's was {lineage['model'][0][1][:12]}…",
            where=str(folder / validation.model.file), next_step="put the old model back",
        )  # fmt: skip
    # The TFLite file holds the name under which it was made.
    named = validation.model.model_copy(update={"name": written_as})
    validation = validation.model_copy(update={"model": named})
    return _make(validation, folder, file, name, recipe, out, formats, runtime, told, before=known)


def _make(
    validation: Validation, folder: Path, file: Path, name: str, steps: tuple[dict[str, Any], ...], out: Path,
    formats: Sequence[str], runtime: str, told: Callable[[str], None],
    before: Mapping[str, Any] | None = None,
) -> Made:  # fmt: skip
    for fmt in formats:
        if fmt not in FORMATS:
            raise plugins.unknown("format", fmt, FORMATS)
    if runtime not in RUNTIMES:
        raise plugins.unknown("runtime", runtime, RUNTIMES)
    chosen: Runtime = next(known for known in RUNTIMES if known == runtime)
    variants = {} if name == FLOAT32 else {name: VariantTable(recipe=steps)}
    desk = set_up(validation, folder, file, variants, told, chosen)
    _same_calibration(desk.data, steps, before)
    float32, *rest = desk.workshop.build(dict.fromkeys((FLOAT32, name)), formats or FORMATS, desk.data)
    variant = rest[0] if rest else float32
    for fmt in formats:
        if fmt in variant.refused:
            raise UnsupportedOperator(variant.refused[fmt])
    wanted = {fmt: artifact for fmt, artifact in variant.artifacts.items() if not formats or fmt in formats}
    if before is not None:
        hashes = {fmt: artifact.sha256 for fmt, artifact in wanted.items()}
        card.check_rebuilt(before, hashes, variant.card["lineage"])
    told("comparing class by class")
    whole = {
        **variant.card,
        "files": {fmt: variant.card["files"][fmt] for fmt in wanted},
        "classes": _classes(float32, variant, desk),
        "validation": str(file),
    }
    _write(out, wanted.values(), whole)
    return Made(out, whole, float32.card)


def _recipe(text: str, validation: Validation) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Name and steps of a recipe."""
    path = Path(text)
    if path.suffix == ".toml" or path.is_file():
        return path.stem, read_toml(path, RecipeFile).recipe
    named = {name: table.recipe for name, table in validation.variants.items() if table.recipe}
    known = {FLOAT32: (), **RECIPES, **named}
    if text not in known:
        raise plugins.unknown("recipe", text, tuple(known))
    return text, tuple(known[text])


def _same_calibration(
    data: PreparedData, steps: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None
) -> None:
    if before is None or not steps:
        return
    now, then = preprocess.digest(data.calibration_feeds()), before["lineage"]["calibration"]
    if now != then:
        raise DataError(
            f"the calibration data have the digest {now[:12]}…, the card was made from {then[:12]}…",
            where="data", cause="other samples, another split, or other preprocessing",
            next_step="put the old data and validation.toml back",
        )  # fmt: skip


def _classes(float32: Variant, variant: Variant, desk: Desk) -> list[dict[str, Any]]:
    """Loss of each class on clean test data, as ONNX Runtime has it; none without labels or ONNX file."""
    data = desk.data
    runs = all("onnx" in each.artifacts for each in (float32, variant))
    if data.labels is None or desk.validation.model.task != "classification" or not runs:
        return []
    labels, rows = np.asarray(data.labels), desk.test_rows()
    base, right = (
        desk.predict(str(each.artifacts["onnx"].path), rows) == labels for each in (float32, variant)
    )
    found = []
    for label in np.unique(labels).tolist():
        own = labels == label
        loss = paired.flips(base[own], right[own]).loss
        name = data.class_names[label] if label < len(data.class_names) else str(label)
        entry = {"label": label, "name": name, "n": int(own.sum())}
        found.append(
            {**entry, "loss_pt": 100 * loss.value, "ci_low": 100 * loss.low, "ci_high": 100 * loss.high}
        )
    return found


def _refuse_filled(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} holds something already", where=str(out), next_step="name another folder with -o"
        )


def _write(out: Path, artifacts: Any, whole: Mapping[str, Any]) -> None:  # noqa: ANN401 - values of a dict
    """Write the folder whole or not at all."""
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
