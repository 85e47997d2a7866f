"""Proof that a runtime opens and runs a file: once, in a process of its own, before it is planned.

A runtime can kill its process on a file (LiteRT aborts on a scale of 1e36), which no exception handler sees.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from harness.compression.tools import processor
from harness.compression.variant import Variant
from harness.core.artifact import Artifact
from harness.core.preprocess import Feeds
from harness.device import plugins
from harness.device.probe import Proof, prove
from harness.run import estimate
from harness.store.cache import Cache, key_of

#: Distributions of the runtimes: another version has to prove a file again.
RUNTIMES = ("ai-edge-litert", "onnxruntime", "onnxruntime-gpu", "openvino", "tflite-runtime")
_PARALLEL = 2


def proven(
    variants: Sequence[Variant],
    feeds: Feeds | None,
    cache: Cache,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Variant, ...]:
    """Open and run the files of variants on each installed runtime that would be given them.

    An ONNX model without a recipe is left out: it is opened where the reference is chosen.

    Parameters
    ----------
    variants : sequence of Variant
    feeds : mapping, optional
        What the canonical model takes; without it zeros.
    cache : Cache
        Remembers the results by file, backend, and versions of the runtimes.
    progress : callable
        Called with a line of text before something is run.

    Returns
    -------
    tuple of Variant
        With ``unusable``; the card has the results under ``proofs`` and a note for what did not run.
    """
    backends = {name: plugins.formats(plugin) for name, plugin in plugins.catalogue(plugins.BACKENDS).items()}
    wanted = {
        (variant.name, backend): artifact
        for variant in variants
        for backend, formats in backends.items()
        if (artifact := _proved(variant, formats)) is not None
    }
    results = prove_files(wanted, feeds, cache, progress)
    return tuple(
        _with_proofs(
            variant, {backend: proof for (name, backend), proof in results.items() if name == variant.name}
        )
        for variant in variants
    )


def _proved(variant: Variant, formats: Sequence[str]) -> Artifact | None:
    """Return the file that a backend would be given, made or prebuilt; None for the float ONNX model."""
    fmt = next((fmt for fmt in formats if fmt in variant.artifacts), None)
    lineage = variant.card.get("lineage", {})
    if fmt is None or (lineage and fmt == "onnx" and not lineage["recipe"]):
        return None
    return variant.artifacts[fmt]


def prove_files(
    wanted: Mapping[tuple[str, str], Artifact],
    feeds: Feeds | None,
    cache: Cache,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[tuple[str, str], Proof]:
    """Open and run files once, by variant and backend; how long a call took is remembered for estimates."""
    keys = {where: _key(artifact, where[1]) for where, artifact in wanted.items()}
    records: dict[tuple[str, str], Mapping[str, Any] | None] = {
        where: cache.recall(key) for where, key in keys.items()
    }
    missing = [where for where, record in records.items() if record is None]
    if missing:
        progress(f"running {', '.join(dict.fromkeys(name for name, _ in missing))} once on each runtime")
    with (
        tempfile.TemporaryDirectory(prefix="harness-proof-") as folder,
        ThreadPoolExecutor(_PARALLEL) as pool,
    ):
        sample = None
        if feeds is not None and missing:
            sample = Path(folder) / "sample.npz"
            np.savez(sample, np.array(list(feeds)), *feeds.values())
        proofs = pool.map(lambda where: prove(where[1], wanted[where], sample), missing)
        for where, proof in zip(missing, proofs, strict=True):
            record = {} if proof is None else asdict(proof)
            records[where] = record
            cache.note(keys[where], record)
            if proof is not None and proof.call_s:
                estimate.note_call(cache, wanted[where], where[1], proof.call_s)
    return {where: Proof(**record) for where, record in records.items() if record}


def _key(artifact: Artifact, backend: str) -> str:
    versions = {}
    for name in RUNTIMES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return key_of({
        "what": "proof", "of": artifact.sha256, "backend": backend, "versions": versions, "on": processor(),
    })  # fmt: skip


def _with_proofs(variant: Variant, proofs: Mapping[str, Proof]) -> Variant:
    if not proofs:
        return variant
    died = {backend: proof.reason for backend, proof in proofs.items() if proof.died}
    notes = [*variant.card["notes"]]
    notes += [f"{backend} dies on it: {reason}" for backend, reason in died.items()]
    for backend, proof in proofs.items():
        if builtin := proof.effective.get("builtin"):
            notes.append(f"{backend} computes with builtin kernels, which round differently: {builtin}")
    # Without the time of a call: a card says the same whenever it is made.
    described: dict[str, Any] = {
        backend: {name: value for name, value in asdict(proof).items() if name != "call_s"}
        for backend, proof in proofs.items()
    }
    card = {**variant.card, "proofs": described, "notes": notes}
    unusable = {backend: f"{backend} dies on {variant.name}: {reason}" for backend, reason in died.items()}
    return replace(variant, card=card, unusable=unusable)
