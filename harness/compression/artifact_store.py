"""Artifacts in the cache, stored and looked up by their lineage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.compression.zipped import gzip_byte_of_file
from harness.core.artifact import Artifact, File, describe_file, verify
from harness.core.errors import ModelError
from harness.store.cache import Cache, key_of
from harness.store.cache_space import use

#: Lineage and facts, beside the files of an artifact.
METADATA = "lineage.json"


class ArtifactStore:
    """The artifacts of one cache.

    Parameters
    ----------
    cache : Cache
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def describe(self, artifact: Artifact) -> dict[str, Any]:
        """Return name, hash, size and gzip size of an artifact's main file, as JSON."""
        key = key_of({"what": "gzip", "of": artifact.sha256})
        sizes = self._cache.recall(key)
        if sizes is None:
            sizes = {
                "gzip_byte": sum(
                    gzip_byte_of_file(artifact.folder / f.name, f.sha256) for f in artifact.files
                )
            }
            self._cache.note(key, sizes)
        return {
            "name": artifact.path.name, "sha256": artifact.sha256, "size_byte": artifact.size_byte, **sizes,
        }  # fmt: skip

    def metadata(self, artifact: Artifact) -> dict[str, Any]:
        """Return the lineage of an artifact and the facts that were stored with it."""
        metadata: dict[str, Any] = json.loads((artifact.folder / METADATA).read_text())
        return metadata

    def find(self, name: str, lineage: Mapping[str, Any], file_name: str = "") -> Artifact | None:
        """Return the artifact of that lineage; None if there is none or it is damaged.

        Parameters
        ----------
        name : str
            The variant.
        lineage : mapping
        file_name : str
            What its file is called: another variant of the same recipe may have made it. Empty: as it is.
        """
        record = self._cache.recall(key_of(lineage))
        if record is None:
            return None
        artifact = Artifact.from_json(record, Path())
        artifact = replace(artifact, variant=name, folder=self._cache.artifact_folder(artifact.sha256))
        try:
            verify(artifact)
        except ModelError:
            self._cache.drop_artifact(artifact.sha256)  # damaged: it has to be made again
            return None
        use(artifact.folder)
        if file_name and len(artifact.files) == 1 and artifact.files[0].name != file_name:
            self._cache.put_artifact(artifact.sha256, {file_name: artifact.path})
            artifact = replace(artifact, files=(replace(artifact.files[0], name=file_name),))
        return artifact

    def drop(self, artifact: Artifact, lineage: Mapping[str, Any]) -> None:
        """Delete an artifact and its record."""
        self._cache.forget(key_of(lineage))
        self._cache.drop_artifact(artifact.sha256)

    def put(
        self,
        name: str,
        fmt: str,
        lineage: Mapping[str, Any],
        content: Mapping[str, bytes | Path],
        facts: Mapping[str, Any] | None = None,
        **layout: Any,  # noqa: ANN401 - fields of Artifact
    ) -> Artifact:
        """Store files with their lineage and facts.

        Parameters
        ----------
        name : str
            The variant.
        fmt : str
        lineage : mapping
        content : mapping of file name to bytes or the path of a file
        facts : mapping, optional
            JSON that is stored with the lineage.
        **layout
            Further fields of the `Artifact`.

        Returns
        -------
        Artifact
            As it lies in the cache.
        """
        files = []
        for file_name, data in content.items():
            if isinstance(data, Path):
                described = describe_file(data)
                files.append(File(file_name, described.sha256, described.size_byte))
            else:
                files.append(File(file_name, hashlib.sha256(data).hexdigest(), len(data)))
        artifact = Artifact(name, fmt, tuple(files), Path(), **layout)
        metadata = json.dumps({"lineage": lineage, **(facts or {})}, sort_keys=True, indent=1).encode()
        folder = self._cache.put_artifact(artifact.sha256, {**content, METADATA: metadata})
        self._cache.note(key_of(lineage), artifact.to_json())
        return replace(artifact, folder=folder)
