"""Variants that the user made: their files are stored and described, and never changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from harness.compression import card, model_file
from harness.compression.artifact_store import ArtifactStore
from harness.compression.file_facts import FileFacts, file_facts
from harness.compression.saturation import saturating
from harness.config.validation import VariantTable
from harness.core.artifact import Artifact
from harness.core.errors import ModelError

#: What the card says of a file with variables.
STATE_NOTE = "; it keeps state between calls, which is reset before each call"


def store_prebuilt(
    store: ArtifactStore, folder: Path, name: str, table: VariantTable
) -> tuple[dict[str, Artifact], dict[str, Any]]:
    """Store the files of a variant.

    Parameters
    ----------
    store : ArtifactStore
    folder : Path
        Folder that relative paths start from.
    name : str
        The variant.
    table : VariantTable

    Returns
    -------
    artifacts : dict of format to Artifact
    described : dict
        What the card says of them: ``notes``, and the operators that can saturate.

    Raises
    ------
    ModelError
        A file is missing, is no such file, or is not the recorded one.
    """
    artifacts: dict[str, Artifact] = {}
    notes = ["prebuilt: not made by the harness"]
    wrong: tuple[str, ...] = ()
    for fmt, relative in table.files.items():
        path = folder / relative
        parts = model_file.companions_of(path, fmt)
        recorded = table.sha256.get(fmt)
        if recorded is not None and recorded != parts[0].sha256:
            raise ModelError(
                f"{path.name} has the hash {parts[0].sha256[:12]}…, but {recorded[:12]}… is recorded",
                where=str(path),
                next_step=f'put the old file back, or set sha256 = {{ {fmt} = "{parts[0].sha256}" }}',
            )
        content: dict[str, bytes | Path] = {file.name: path.parent / file.name for file in parts}
        lineage = {
            "what": "prebuilt",
            "files": [[file.name, file.sha256] for file in parts],
            "format": fmt,
        }
        facts = file_facts(path, fmt)
        artifacts[fmt] = store.put(name, fmt, lineage, content, **layout_of(facts))
        kind = f"{facts.precision or 'float'} file"
        notes.append(f"{path.name}: {kind}{STATE_NOTE if facts.keeps_state else ''}")
        if fmt == "onnx":
            wrong = saturating(onnx.load(path, load_external_data=False))
    return artifacts, {"saturating": list(wrong), "notes": notes + card.saturation_notes(wrong)}


def layout_of(facts: FileFacts) -> dict[str, Any]:
    """Fields of `Artifact` that a file says itself."""
    return {
        "quantization": facts.quantization,
        "output_quantization": facts.output_quantization,
        "precision": facts.precision,
    }
