"""Why two stored runs of one target differ: both sides are made again from what the runs stored."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.load import check
from harness.config.schema import ImageTable
from harness.config.targets import TargetTable
from harness.core.errors import HarnessError, UsageError
from harness.core.job import DEPLOY, Batch
from harness.core.plan import HOST
from harness.core.suite import SupportsAgreement
from harness.core.target import Target
from harness.executors import wheels
from harness.executors.abilities import abilities_of
from harness.explain import procedure
from harness.explain.procedure import Explanation
from harness.explain.request import SAMPLES_IN_ALL, originals_of, scene_between
from harness.explain.scene import Hypothesis
from harness.explain.sides import FEWEST_S, Runner, Side
from harness.explain.swapped import Swapped, of_version
from harness.run.observer import Observer
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.selection import load_suites
from harness.run.side_by_side import find_accepted
from harness.store.cache import Cache
from harness.store.run_folder import Facts, RunFolder

Notify = Callable[[str], None]
Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """One target, backend and variant of both runs.

    Parameters
    ----------
    place : tuple of str
    explanation : Explanation, optional
        None where a side could not be made again.
    reason : str
        Why not.
    """

    place: Place
    explanation: Explanation | None = None
    reason: str = ""


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


def places(base: Facts, new: Facts) -> list[Place]:
    """What both runs measured the answers of, in the order of the new one."""
    shared = _batches(base).keys() & _batches(new).keys()
    return [place for place in _batches(new) if place in shared]


def _batches(facts: Facts) -> dict[Place, Batch]:
    suites = load_suites(tuple({batch.suite for batch in facts.plan.batches}))
    return {
        (batch.target, batch.backend, batch.variant): batch
        for batch in facts.plan.batches
        if batch.target != HOST and isinstance(suites[batch.suite], SupportsAgreement)
    }


def explain(
    folders: tuple[RunFolder, RunFolder],
    hypotheses: Sequence[Hypothesis],
    budget_s: float,
    observer: Observer,
    notify: Notify = lambda text: None,
) -> Iterator[Compared]:
    """Explain each place that both runs have, within the budget.

    Raises
    ------
    UsageError
        The runs have no place in common.
    """
    base, new = (folder.facts() for folder in folders)
    shared = places(base, new)
    if not shared:
        raise UsageError(
            f"{folders[0].run_id} and {folders[1].run_id} have no target, backend and variant in common",
            next_step="harness explain --between A,B compares two targets",
        )
    end_s = time.monotonic() + budget_s
    for place in shared:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            yield Compared(place, reason="the time is used up")
            continue
        stored = tuple(
            _stored(folder, facts, place) for folder, facts in zip(folders, (base, new), strict=True)
        )
        notify(f"{place[2]} on {place[0]}: {stored[0].run_id} and {stored[1].run_id}")
        try:
            with closing(_prepared(new.run, base.run, stored, folders[1].path.parent, observer)) as prepared:
                tables = [facts.run["validation"]["data"] for facts in (base, new)]
                explanation = _explain(prepared, stored, tables, hypotheses, end_s, notify)
            yield Compared(place, explanation)
        except HarnessError as error:
            yield Compared(place, reason=error.what)
        finally:
            observer.end()


def _stored(folder: RunFolder, facts: Facts, place: Place) -> StoredSide:
    version = next(
        (
            str(record.facts["backend_version"])
            for record in facts.environments
            if (record.target, record.backend) == place[:2] and "backend_version" in record.facts
        ),
        "",
    )
    return StoredSide(folder.run_id, folder.path, _batches(facts)[place], version)


def _prepared(
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


def _explain(
    prepared: Prepared, stored: Sequence[StoredSide], tables: Sequence[Mapping[str, Any]],
    hypotheses: Sequence[Hypothesis], end_s: float, notify: Notify,
) -> Explanation:  # fmt: skip
    left_s = max(FEWEST_S, end_s - time.monotonic())
    with Runner(prepared.cache, left_s) as runner:
        reference, other = (
            _side(prepared, one, name) for one, name in zip(stored, ("base", "new"), strict=True)
        )
        scene = scene_between(prepared, runner, reference, other)
        swapped = list(_swapped(stored, reference, other, tables))
        return procedure.explain(scene, [*swapped, *hypotheses], end_s - time.monotonic(), notify)


def _side(prepared: Prepared, stored: StoredSide, name: str) -> Side:
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


def _swapped(
    stored: Sequence[StoredSide], base: Side, new: Side, tables: Sequence[Mapping[str, Any]]
) -> Iterator[Swapped]:
    """What differs between the runs beside the file, each as a cause that can be tested."""
    if base.executor is not new.executor:
        yield of_version(base, new, stored[0].version, stored[1].version)
    if base.options != new.options:
        before, after = base.options.to_json(), new.options.to_json()
        yield _of_table("settings", "deploy", before, after, replace(new, options=base.options))
    for name in new.preprocess:
        before, after = base.preprocess[name].to_json(), new.preprocess[name].to_json()
        if before != after:
            changed = replace(new, preprocess={**new.preprocess, name: base.preprocess[name]})
            yield _of_table(f"preprocessing of {name}", f"input.{_key(name)}", before, after, changed)
    if not _same_samples(base, new):
        yield _of_samples(tables, replace(new, raw=base.raw))


def _of_samples(tables: Sequence[Mapping[str, Any]], changed: Side) -> Swapped:
    """Other samples: because images are prepared otherwise, or because the data are others."""
    before, after = tables
    images = [table.get("image") or ImageTable().model_dump(mode="json") for table in tables]
    if images[0] != images[1] and {**before, "image": None} == {**after, "image": None}:
        return _of_table("preprocessing of the images", "data.image", images[0], images[1], changed)
    return Swapped("test samples", "those of the base", "others", changed, "[data] as before")


def _of_table(
    what: str, table: str, before: Mapping[str, Any], after: Mapping[str, Any], changed: Side
) -> Swapped:
    """Keys of a table of TOML that differ."""
    keys = [key for key in after if before.get(key) != after[key]]
    one, two = (", ".join(_toml(values[key]) for key in keys) for values in (before, after))
    line = f"[{table}] " + "\n".join(
        f"{key} = {_toml(before[key])}" for key in keys if before[key] is not None
    )
    return Swapped(f"{what} ({', '.join(keys)})", one, two, changed, line)


def _same_samples(base: Side, new: Side) -> bool:
    return base.raw.keys() == new.raw.keys() and all(
        np.array_equal(base.raw[name], new.raw[name]) for name in base.raw
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)
