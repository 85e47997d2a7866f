"""What a run would build, as far as it is known without building it: for ``harness plan``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.compression import runtime
from harness.compression.export.kinds import RUNTIMES
from harness.compression.recipe import VariantBuilder
from harness.compression.variant import Variant
from harness.config.validation import FLOAT32, VariantTable
from harness.core.artifact import Artifact, File
from harness.core.errors import HarnessError
from harness.core.profile import Profile
from harness.data.sets import PreparedData
from harness.run import proofs
from harness.run.build import Build, formats_of, inspected, load_data
from harness.run.connection import Connection
from harness.run.selection import Selection
from harness.store.cache import Cache, key_of

#: The runtime that runs the given file once, so that times are estimated from a call.
PROBED = "onnxruntime"
#: Passes whose files compute in integers; those of others come as what they are given.
TO_INTEGERS = ("quantize", "nncf", "ai_edge_quantizer")


def outline(
    builder: VariantBuilder, selection: Selection, connection: Connection, cache: Cache, profile: Profile
) -> Build:
    """Return what would be built.

    Variants that are in the cache are those; the others have the files that their recipe leads to, without
    content. No set of data is shifted.

    Raises
    ------
    HarnessError
        The model cannot be inspected, or the data are invalid.
    """
    model = inspected(builder, selection, connection)
    data = load_data(builder, selection, cache, model, profile, stores=False)
    formats = formats_of(selection, connection)
    known: dict[str, Variant] = {}
    unknown: list[str] = []
    for name in selection.built_variants:
        variant = _from_cache(builder, name, formats, data)
        if variant is None:
            unknown.append(name)
            variant = _expected(builder, selection, name)
        known[name] = variant
    variants = tuple(known.values())
    for_runtime: dict[str, Sequence[Variant]] = {
        name: variants
        for name in RUNTIMES[1:]
        if any(target.for_runtime == name for target in selection.targets)
    }
    if (given := variants[0].artifacts.get("onnx")) is not None:
        feeds = next(data.calibration_feeds(), None)
        proofs.prove_files({(FLOAT32, PROBED): given}, feeds, cache)
    return Build(variants, for_runtime, model, data, {}, tuple(unknown))


def _from_cache(
    builder: VariantBuilder, name: str, formats: Sequence[str], data: PreparedData
) -> Variant | None:
    with contextlib.suppress(runtime.NeedsChild, HarnessError), runtime.forbidden():
        return builder.build([name], formats, data)[0]
    return None


def _expected(builder: VariantBuilder, selection: Selection, name: str) -> Variant:
    """The variant with files that are not there."""
    table = selection.validation.variants.get(name, VariantTable())
    steps = [step["pass"] for step in table.recipe]
    precision = "int8" if any(step in TO_INTEGERS for step in steps) else ""
    content = {"of": [file.sha256 for file in builder.files], "recipe": list(table.recipe)}
    size_byte = sum(file.size_byte for file in builder.files)
    formats = ("tflite",) if steps[-1:] == ["ai_edge_quantizer"] else ("onnx", "tflite")
    artifacts = {
        fmt: Artifact(
            name, fmt, (File(f"{name}.{fmt}", key_of({**content, "format": fmt}), size_byte),), Path(),
            precision=precision,
        )
        for fmt in formats
    }  # fmt: skip
    if not steps:
        folder = (selection.file.parent / selection.validation.model.file).parent
        artifacts["onnx"] = replace(artifacts["onnx"], files=builder.files, folder=folder)
    return Variant(name, artifacts, quantized=bool(precision))
