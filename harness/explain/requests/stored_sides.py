"""Sides that are made again from what two runs of one target stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.load import check
from harness.config.targets import TargetTable
from harness.core.errors import HarnessError
from harness.core.job import DEPLOY, Batch
from harness.core.plan import HOST
from harness.core.suite import SupportsAgreement
from harness.core.target import Target
from harness.executors import wheels
from harness.executors.abilities import abilities_of
from harness.explain.requests.prepared import SAMPLES_IN_ALL, originals_of
from harness.explain.sides.side import Side
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.selection import load_suites
from harness.run.side_by_side import find_accepted
from harness.store.cache import Cache
from harness.store.run_folder import Facts, RunFolder

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class StoredSide:
    """What a run stored of one place.

    Parameters
    ----------
    run_id : str
    folder : Path
    batch : Batch
        The artifact's files need not be on this machine.
    version : str
        Of the runtime; empty where the run did not store it.
    """

    run_id: str
    folder: Path
    batch: Batch
    version: str

    def artifact_in(self, cache: Cache) -> Batch:
        """The batch with its artifact, by hash.

        Raises
        ------
        HarnessError
            It is no longer on this machine.
        """
        like = self.batch.artifact
        artifact = find_accepted(like, like.sha256, self.folder, cache)
        if artifact is None:
            raise HarnessError(
                f"the {like.variant} file of {self.run_id} is no longer on this machine",
                where=like.sha256,
                next_step="explain two files: harness explain --between TARGET:FILE,TARGET:FILE",
            )
        return replace(self.batch, artifact=artifact)


def batches_of(facts: Facts) -> dict[Place, Batch]:
    """What a run planned of each place whose answers it measured."""
    suites = load_suites(tuple({batch.suite for batch in facts.plan.batches}))
    return {
        (batch.target, batch.backend, batch.variant): batch
        for batch in facts.plan.batches
        if batch.target != HOST and isinstance(suites[batch.suite], SupportsAgreement)
    }


def stored_side(folder: RunFolder, facts: Facts, place: Place) -> StoredSide:
    """What a run stored of a place."""
    version = next(
        (
            str(record.facts["backend_version"])
            for record in facts.environments
            if (record.target, record.backend) == place[:2] and "backend_version" in record.facts
        ),
        "",
    )
    return StoredSide(folder.run_id, folder.path, batches_of(facts)[place], version)


def prepared_for(
    new: Mapping[str, Any], base: Mapping[str, Any], stored: Sequence[StoredSide], results: Path,
    observer: Observer,
) -> Prepared:  # fmt: skip
    """Connect both sides' targets; they are one where the version of the runtime is the same."""
    name, variant = stored[1].batch.target, stored[1].batch.variant
    tables = {name: _table(new, stored[1])}
    if (other := _table(base, stored[0]))["executor"] != tables[name]["executor"]:
        tables[_base_name(name)] = other
    request = {
        "validation": new["validation"], "validation_path": new["validation_path"], "targets": tables,
    }  # fmt: skip
    return prepare(Request(targets=tuple(tables), variants=(variant,), results=results), observer, request)


def _base_name(target: str) -> str:
    return f"{target}@base"


def _table(run: Mapping[str, Any], stored: StoredSide) -> dict[str, Any]:
    """The stored target with the stored version of its runtime, if another one is installed."""
    backend = stored.batch.backend
    table = {**run["targets"][stored.batch.target], "backends": [backend]}
    runtime = wheels.RUNTIMES.get(backend, "")
    if not runtime or not stored.version or table["executor"].get("python"):
        return table
    name = stored.batch.target
    target = check(table, TargetTable, where=name).to_target(name)
    listed = wheels.requirements(target)
    if f"{runtime}=={stored.version}" not in listed:
        table["executor"] = _pinned(target, listed, runtime, stored.version)
    return table


def _pinned(target: Target, listed: Sequence[str], runtime: str, version: str) -> dict[str, Any]:
    abilities = abilities_of(target)
    # On this machine pip chooses what suits the version; wheels for another one have to be named.
    others = listed if abilities.lists_wheels else target.executor.get("requirements", ())
    names = [text for text in others if text.partition("==")[0] != runtime]
    lock = {"lock_name": target.name} if abilities.locks else {}
    return {**target.executor, "requirements": [*names, f"{runtime}=={version}"], **lock}


def side_of(prepared: Prepared, stored: StoredSide, name: str) -> Side:
    """A side as its run had it; `name` is ``base`` or ``new``.

    Raises
    ------
    HarnessError
        Its file or samples are no longer on this machine, or its target is not available.
    """
    batch = stored.artifact_in(prepared.cache)
    executors = prepared.executors
    is_base = name == "base" and _base_name(batch.target) in executors
    target = _base_name(batch.target) if is_base else batch.target
    if reason := next((why for at, _, why in prepared.plan.unavailable if at == target), ""):
        raise HarnessError(reason, where=target)
    return Side(
        f"{batch.variant} of {stored.run_id}", target, batch.backend, batch.variant, batch.artifact,
        batch.options[DEPLOY], executors[target], batch.preprocess, _raw(prepared, batch),
        originals_of(prepared),
    )  # fmt: skip


def _raw(prepared: Prepared, batch: Batch) -> dict[str, Any]:
    """The run's own samples, of its first set."""
    raw = {}
    for name, digest in next(iter(batch.data.values())).inputs.items():
        path = prepared.cache.array_path(digest)
        if not path.is_file():
            raise HarnessError(
                f"the samples of {batch.variant} on {batch.target} are no longer on this machine",
                where=str(path),
            )
        raw[name] = np.load(path, mmap_mode="r", allow_pickle=False)[:SAMPLES_IN_ALL]
    return raw
