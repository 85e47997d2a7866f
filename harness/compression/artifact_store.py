"""Artifacts in the cache: kept with their lineage and what was learned on the way, recalled by lineage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.compression import card
from harness.core.artifact import Artifact, File, describe_file, verify
from harness.core.errors import ModelError
from harness.store.cache import Cache, key_of

#: Beside the files of an artifact.
NOTE = "lineage.json"


class Shelf:
    """The artifacts of one cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def file(self, artifact: Artifact) -> dict[str, Any]:
        """Return name, hash and bytes of its main file, plain and after gzip; JSON."""
        key = key_of({"what": "gzip", "of": artifact.sha256})
        known = self._cache.recall(key)
        if known is None:
            sizes = [card.gzip_byte((artifact.folder / file.name).read_bytes()) for file in artifact.files]
            known = {"gzip_byte": sum(sizes)}
            self._cache.note(key, known)
        return {
            "name": artifact.path.name, "sha256": artifact.sha256, "size_byte": artifact.size_byte, **known,
        }  # fmt: skip

    def noted(self, artifact: Artifact) -> dict[str, Any]:
        """Return its lineage and the facts that were kept with it."""
        found: dict[str, Any] = json.loads((artifact.folder / NOTE).read_text())
        return found

    def recall(self, name: str, lineage: Mapping[str, Any]) -> Artifact | None:
        """Return what was made with that lineage; None where there is nothing, or nothing whole."""
        known = self._cache.recall(key_of(lineage))
        if known is None:
            return None
        artifact = Artifact.from_json(known, Path())
        artifact = replace(artifact, variant=name, folder=self._cache.artifact_folder(artifact.sha256))
        try:
            verify(artifact)
        except ModelError:
            self._cache.drop_artifact(artifact.sha256)  # damaged since: it is made again
            return None
        return artifact

    def drop(self, artifact: Artifact, lineage: Mapping[str, Any]) -> None:
        """Forget what was kept with that lineage."""
        self._cache.forget(key_of(lineage))
        self._cache.drop_artifact(artifact.sha256)

    def keep(
        self,
        name: str,
        fmt: str,
        lineage: Mapping[str, Any],
        content: Mapping[str, bytes | Path],
        facts: Mapping[str, Any] | None = None,
        **layout: Any,  # noqa: ANN401 - fields of Artifact
    ) -> Artifact:
        """Store the files with their lineage and what was learned on the way; the artifact in the cache."""
        files = []
        for file_name, data in content.items():
            if isinstance(data, Path):
                described = describe_file(data)
                files.append(File(file_name, described.sha256, described.size_byte))
            else:
                files.append(File(file_name, hashlib.sha256(data).hexdigest(), len(data)))
        artifact = Artifact(name, fmt, tuple(files), Path(), **layout)
        note = json.dumps({"lineage": lineage, **(facts or {})}, sort_keys=True, indent=1).encode()
        folder = self._cache.put_artifact(artifact.sha256, {**content, NOTE: note})
        self._cache.note(key_of(lineage), artifact.to_json())
        return replace(artifact, folder=folder)
