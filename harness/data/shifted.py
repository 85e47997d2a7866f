"""Shifted copies of the clean test set, by family and severity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import ShiftsTable
from harness.core.errors import DataError, UsageError
from harness.core.preprocess import Preprocess
from harness.core.profile import Profile
from harness.data.datasets import content_sha256
from harness.data.shifts import catalogue, parallel
from harness.data.shifts.apply import about
from harness.data.shifts.family import About, Family, Kind
from harness.data.shifts.parallel import Work, starts_processes
from harness.store.cache import Cache, code_sha256, key_of

Cell = tuple[Family, int]
Tell = Callable[[str], None]


def quiet(text: str) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What is made: pairs of family and severity; and why other families are not, by name."""

    made: tuple[Cell, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def without(self, names: Collection[str]) -> Cells:
        """Leave out families of some names: the user brings their sets."""
        made = tuple(cell for cell in self.made if cell[0].name not in names)
        return Cells(made, {name: why for name, why in self.skipped.items() if name not in names})


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
    whole = profile is Profile.STANDARD
    if not inputs or not (whole or shifts.quick):
        return Cells()
    kind = next(iter(inputs.values())).kind
    installed = catalogue.of_kind(kind)
    names = dict.fromkeys(shifts.families or catalogue.DEFAULTS.get(kind, tuple(installed)))
    made, skipped = [], {}
    for name in (*names, *(name for name in installed if whole and name not in names)):
        family = catalogue.named(name, kind)
        reason = next(filter(None, (family.reason_against(one) for one in inputs.values())), "")
        if reason and name in shifts.families and reason == family.missing():
            raise UsageError(f"the shifts {name} cannot be made: {reason}", where="shifts.families")
        if reason and (name in names or not family.mistake):
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
        lengths: Sequence[int] = (),
    ) -> None:
        kind = kind_of(shifts, raw)
        reference = None if kind is Kind.IMAGE else calibration
        self._shape = raw.shape
        if lengths and kind is Kind.SERIES:
            length = _one_length(lengths, len(raw))
            ids, raw = ids[::length], _windows(raw, length)
            reference = None if reference is None else _windows(reference, length)
        self.about = about(kind, raw, reference, step, shifts.rate_hz)
        self._cache, self._raw, self._ids, self._seed = cache, raw, ids, shifts.seed
        self._reference = reference

    def stored(self, family: Family, severity: int) -> str:
        """Return the hash of an array that is in the cache; empty where it is not."""
        entry = self._cache.recall(self._key(family, severity))
        there = entry is not None and self._cache.has_array(entry["sha256"])
        return str(entry["sha256"]) if entry is not None and there else ""

    def store(self, family: Family, severity: int, changed: NDArray[Any]) -> str:
        """Store an array, and return its hash."""
        digest = self._cache.put_array(changed.reshape(self._shape))
        self._cache.note(self._key(family, severity), {"sha256": digest})
        return digest

    def work(self, family: Family, severity: int) -> Work:
        """Return what is needed to make an array."""
        return Work(self._path, self._ids, family, severity, self._seed, self.about)

    @cached_property
    def _made_from(self) -> dict[str, Any]:
        about, reference = self.about, self._reference
        return {
            "what": "corruption", "code": code_sha256(Path(__file__).parent), "seed": self._seed,
            "kind": about.kind, "raw": content_sha256(self._raw), "ids": content_sha256(self._ids),
            "reference": "" if reference is None else content_sha256(reference),
            "rate_hz": about.rate_hz, "step": about.step.to_json(),
        }  # fmt: skip

    @cached_property
    def _path(self) -> Path:
        return self._cache.array_path(self._cache.put_array(self._raw))

    def _key(self, family: Family, severity: int) -> str:
        family_ = {"family": family.name, "origin": catalogue.origin(family), "severity": severity}
        return key_of({**self._made_from, **family_})


def _one_length(lengths: Sequence[int], rows: int) -> int:
    """Return the length of all sequences.

    Raises
    ------
    DataError
        The sequences have different lengths.
    """
    if {*lengths} != {lengths[0]} or sum(lengths) != rows:
        raise DataError(
            f"the sequences have {min(lengths)} to {max(lengths)} rows, and a series has one length",
            where="shifts.kind",
            next_step='use kind = "table", by which each row is changed for itself; or leave out max_samples',
        )
    return lengths[0]


def _windows(rows: NDArray[Any], length: int) -> NDArray[Any]:
    """Bring the rows of sequences into the shape (sequences, rows, …)."""
    count = len(rows) // length
    return rows[: count * length].reshape(count, length, *rows.shape[1:])


def make(
    copies: Mapping[str, Shifted], cells: Sequence[Cell], tell: Tell = quiet, workers: int = 0
) -> list[dict[str, str]]:
    """Make the arrays that the cache does not have, on all cores where that is worth it.

    Parameters
    ----------
    copies : mapping of input name to Shifted
    cells : sequence of (Family, int)
    tell : callable
        Gets lines of progress.
    workers : int
        Processes; 0: as many as are worth it.

    Returns
    -------
    list of mapping of input name to hash
        One for each cell.
    """
    arrays = [{name: copy.stored(*cell) for name, copy in copies.items()} for cell in cells]
    missing = [(index, name) for index, made in enumerate(arrays) for name, sha in made.items() if not sha]
    works = [copies[name].work(*cells[index]) for index, name in missing]
    tells = starts_processes(works)
    for done, ((index, name), changed) in enumerate(zip(missing, parallel.made(works, workers), strict=True)):
        family, severity = cells[index]
        arrays[index][name] = copies[name].store(family, severity, changed)
        if tells and (done + 1 == len(missing) or cells[missing[done + 1][0]][0] is not family):
            tell(f"shifted data: {family.name} is made, {done + 1} of {len(missing)} sets")
    return arrays
