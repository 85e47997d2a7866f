"""Shifted copies of the clean test set, by family and severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import ShiftsTable
from harness.core.errors import UsageError
from harness.core.preprocess import Preprocess
from harness.core.profile import Profile
from harness.data.datasets import content_sha256
from harness.data.shifts import catalogue
from harness.data.shifts.apply import about, shift
from harness.data.shifts.family import About, Family, Kind
from harness.store.cache import Cache, code_sha256, key_of


@dataclass(frozen=True, slots=True)
class Cells:
    """What is made: pairs of family and severity; and why other families are not, by name."""

    made: tuple[tuple[Family, int], ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def kinds(shifts: ShiftsTable) -> tuple[Kind, ...]:
    """Return the kinds of data that a table ``[shifts]`` may mean."""
    if shifts.kind == "none":
        return ()
    return (Kind.TABLE, Kind.SERIES) if shifts.kind == "features" else (Kind(shifts.kind),)


def kind_of(shifts: ShiftsTable, raw: NDArray[Any]) -> Kind:
    """Return the kind of some samples: features with a time axis are a series."""
    if shifts.kind == "features":
        return Kind.SERIES if raw.ndim > 2 else Kind.TABLE
    return Kind(shifts.kind)


def cells(shifts: ShiftsTable, inputs: Mapping[str, About], profile: Profile = Profile.QUICK) -> Cells:
    """Choose the families and severities of a run.

    With the profile ``standard`` these are all families for the kind of data, in all severities.

    Parameters
    ----------
    inputs : mapping of input name to About
        A family has to apply to all of them; none where there are no shifts.

    Raises
    ------
    UsageError
        A family that the table names cannot be made here.
    """
    if not inputs:
        return Cells()
    kind = next(iter(inputs.values())).kind
    whole = profile is Profile.STANDARD
    installed = catalogue.of_kind(kind)
    names = dict.fromkeys(shifts.families or catalogue.DEFAULTS.get(kind, tuple(installed)))
    made, skipped = [], {}
    for name in (*names, *(name for name in installed if whole and name not in names)):
        family = catalogue.named(name, kind)
        reason = next(filter(None, (family.reason_against(one) for one in inputs.values())), "")
        if reason and name in shifts.families and reason == family.missing():
            raise UsageError(f"the shifts {name} cannot be made: {reason}", where="shifts.families")
        if reason:
            skipped[name] = reason
        severities = family.severities if whole or family.mistake else shifts.severities
        made += [(family, severity) for severity in severities if not reason]
    return Cells(tuple(made), skipped)


class Shifted:
    """The shifted copies of one input; what all of them are made from is hashed once."""

    def __init__(
        self,
        cache: Cache,
        raw: NDArray[Any],
        ids: NDArray[np.int64],
        shifts: ShiftsTable,
        calibration: NDArray[Any] | None,
        step: Preprocess,
    ) -> None:
        kind = kind_of(shifts, raw)
        reference = None if kind is Kind.IMAGE else calibration
        self.about = about(kind, raw, reference, step, shifts.rate_hz)
        self._cache, self._raw, self._ids, self._seed = cache, raw, ids, shifts.seed
        self._made_from = {
            "what": "corruption", "code": code_sha256(Path(__file__).parent), "seed": shifts.seed,
            "kind": kind, "raw": content_sha256(raw), "ids": content_sha256(ids),
            "reference": "" if reference is None else content_sha256(reference),
            "rate_hz": shifts.rate_hz,
        }  # fmt: skip

    def put(self, family: Family, severity: int) -> str:
        """Return the hash of the stored array, which is computed only if the cache does not have it."""
        key = key_of({**self._made_from, "family": family.name, "severity": severity})
        stored = self._cache.recall(key)
        if stored is not None and self._cache.has_array(stored["sha256"]):
            return str(stored["sha256"])
        changed = shift(self._raw, self._ids, family, severity, seed=self._seed, about=self.about)
        digest = self._cache.put_array(changed)
        self._cache.note(key, {"sha256": digest})
        return digest
