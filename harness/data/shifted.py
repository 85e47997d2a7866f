"""Corrupted copies of the clean test set, by family and severity."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import ShiftsTable
from harness.data import corruptions
from harness.data.datasets import content_sha256
from harness.store.cache import Cache, code_sha256, key_of


def cells(shifts: ShiftsTable) -> list[tuple[str, int]]:
    """Return the pairs of family and severity of a table ``[shifts]``."""
    if shifts.kind == "none":
        return []
    supported = corruptions.IMAGE_FAMILIES if shifts.kind == "image" else corruptions.FEATURE_FAMILIES
    families = shifts.families or tuple(supported)
    return [(family, severity) for family in families for severity in shifts.severities]


class Shifted:
    """The corrupted copies of one input; what all of them are made from is hashed once."""

    def __init__(
        self,
        cache: Cache,
        raw: NDArray[Any],
        ids: NDArray[np.int64],
        shifts: ShiftsTable,
        calibration: NDArray[Any] | None,
    ) -> None:
        self._cache, self._raw, self._ids, self._seed = cache, raw, ids, shifts.seed
        self._kind: Literal["image", "features"] = "image" if shifts.kind == "image" else "features"
        self._reference = reference = calibration if self._kind == "features" else None
        self._made_from = {
            "what": "corruption", "code": code_sha256(Path(__file__).parent), "seed": shifts.seed,
            "kind": shifts.kind, "raw": content_sha256(raw), "ids": content_sha256(ids),
            "reference": "" if reference is None else content_sha256(reference),
        }  # fmt: skip

    def put(self, family: str, severity: int) -> str:
        """Return the hash of the stored array, which is computed only if the cache does not have it."""
        key = key_of({**self._made_from, "family": family, "severity": severity})
        stored = self._cache.recall(key)
        if stored is not None and self._cache.has_array(stored["sha256"]):
            return str(stored["sha256"])
        changed = corruptions.corrupt(
            self._raw, self._ids, family, severity,
            seed=self._seed, kind=self._kind, reference=self._reference,
        )  # fmt: skip
        digest = self._cache.put_array(changed)
        self._cache.note(key, {"sha256": digest})
        return digest
