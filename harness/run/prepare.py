"""Everything before the first measurement: select, connect, build, plan. Writes only the cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from harness.config.folders import cache_folder
from harness.core.errors import HarnessError
from harness.core.executor import Executor
from harness.core.groups import Groups
from harness.core.plan import HOST, Plan
from harness.core.target import Target
from harness.core.verdict import Gate
from harness.executors.abilities import abilities_of
from harness.run import budget, checks, declared, estimate
from harness.run.budget import Deadline
from harness.run.build import Build, build, open_model
from harness.run.connection import Connection, connect
from harness.run.estimate import Lane
from harness.run.observer import Observer
from harness.run.outline import outline
from harness.run.plan import PlanInputs, make_plan, sizes
from harness.run.request import Request
from harness.run.selection import Selection, select
from harness.store import cache_space
from harness.store.cache import Cache, key_of

#: Key of ``run.json``: the groups of samples by column.
GROUPS = "groups"
#: Packages that the host's arithmetic depends on; their versions are stored with the run.
VERSIONS = ("deployment-validation-harness", "numpy", "pandas", "scipy", "onnx")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is ready to be measured.

    Parameters
    ----------
    plan : Plan
    run : mapping
        What ``run.json`` will hold.
    labels : ndarray, optional
    groups : tuple of Groups
    cards : mapping of variant to its card
    targets : tuple of Target
    executors : mapping of target to Executor
    gates : tuple of Gate
    cache : Cache
    size : mapping
        Jobs, samples and bytes of the plan (see ``harness.run.plan.sizes``).
    lanes : tuple of Lane
    estimate_s : float
        How long the plan is expected to take.
    inputs : PlanInputs, optional
        What the plan was made from, before anything was left out for a budget.
    deadline : Deadline, optional
        The end of the budget.
    not_made : tuple of str
        Variants that are described, and not made yet.
    """

    plan: Plan
    run: Mapping[str, Any]
    labels: Any
    cards: Mapping[str, Any]
    targets: tuple[Target, ...]
    executors: Mapping[str, Executor]
    gates: tuple[Gate, ...]
    cache: Cache
    size: Mapping[str, int]
    lanes: tuple[Lane, ...]
    estimate_s: float
    inputs: PlanInputs | None = None
    deadline: Deadline | None = None
    groups: tuple[Groups, ...] = ()
    not_made: tuple[str, ...] = ()

    def close(self) -> None:
        """Release the devices."""
        for executor in self.executors.values():
            executor.close()


def prepare(
    request: Request,
    observer: Observer,
    stored: Mapping[str, Any] | None = None,
    *,
    builds: bool = True,
) -> Prepared:
    """Walk a request through every step up to the plan.

    Parameters
    ----------
    request : Request
    observer : Observer
    stored : mapping, optional
        ``run.json`` of an interrupted run: its configuration is used instead of the files.
    builds : bool
        False: variants and data sets are described and not made, so that nothing can be measured.

    Returns
    -------
    Prepared
        The caller closes it.
    """
    deadline = None
    if request.budget_s is not None and stored is None:  # a resumed run measures all of the rest
        deadline = Deadline.start(request.budget_s)
    observer.stage("reading the configuration")
    selection = select(request, stored)
    cache = Cache(cache_folder())
    cache_space.most_byte()  # a wrong size is refused now, and not after the run
    builder = open_model(selection, cache, observer)
    _note_emulated(selection, request, observer)
    connection = connect(selection, cache.folder, request.wait_s, observer)
    try:
        if builds:
            built = build(builder, selection, connection, cache, observer, request.profile)
        else:
            built = outline(builder, selection, connection, cache, request.profile)
        return _plan(request, selection, connection, built, cache, deadline)
    except BaseException:  # nothing will be measured
        connection.close()
        raise


def _note_emulated(selection: Selection, request: Request, observer: Observer) -> None:
    for target in selection.targets:
        if abilities_of(target).emulated:
            text = f"{target.name} is emulated here ({target.description}): its times say nothing"
            if request.release:
                text += ", and a release demands real hardware"
            observer.note(text)


def _plan(
    request: Request,
    selection: Selection,
    connection: Connection,
    built: Build,
    cache: Cache,
    deadline: Deadline | None,
) -> Prepared:
    """The fifth step: the jobs, and what part of them fits the budget."""
    inputs = PlanInputs(
        validation=selection.validation, targets=selection.targets, variants=built.variants,
        selected=selection.variants, suites=selection.suites, formats=connection.formats,
        available=connection.available, data=built.data, inputs=built.model.inputs,
        outputs=built.model.outputs, for_runtime=built.for_runtime, failed=built.failed,
        checks=tuple(checks.installed(selection.suites).values()),
        profile=request.profile, soak_s=request.soak_s,
    )  # fmt: skip
    plan = make_plan(inputs)
    lanes = make_lanes(selection.targets, connection.executors)
    seconds = estimate.estimate(plan, cache, selection.emulated).with_starts()
    if deadline is not None:
        _check_left(deadline)
        left_s = budget.PLANNED_SHARE * deadline.left_s()
        plan = budget.restrict(inputs, plan, budget.choose(plan, seconds, lanes, left_s))
        seconds = estimate.estimate(plan, cache, selection.emulated).with_starts()
    return Prepared(
        plan=plan, run=_record(request, selection, built), labels=built.data.labels,
        cards={variant.name: variant.card for variant in built.variants}, targets=selection.targets,
        executors=connection.executors, gates=selection.validation.gates, cache=cache,
        size=sizes(inputs, plan), lanes=lanes, inputs=inputs,
        estimate_s=estimate.wall_s(seconds, lanes, estimate.untimed(plan)),
        deadline=deadline, groups=built.data.groups, not_made=built.not_made,
    )  # fmt: skip


def _check_left(deadline: Deadline) -> None:
    if deadline.used_up:
        raise HarnessError(
            f"the preparation took longer than the budget of {deadline.budget_s:g} s",
            where="--budget",
            next_step="run again, now that what was prepared is in the cache; or give a larger --budget",
        )


def _record(request: Request, selection: Selection, built: Build) -> dict[str, Any]:
    """Make what ``run.json`` holds, but for the run's id and time."""
    model = selection.validation.model
    return {
        "validation": json.loads(selection.validation.model_dump_json(by_alias=True)),
        "validation_path": str(selection.file),
        "targets": {target.name: target.to_json() for target in selection.targets},
        "suites": list(selection.suites),
        declared.KEY: declared.of_suites(selection.suites).to_json(),
        "variants": list(selection.variants),
        "budget_s": request.budget_s,
        "emulated": list(selection.emulated),
        "release": request.release,
        "decide_within_s": request.decide_within_s,
        "profile": request.profile,
        "soak_s": request.soak_s,
        "model": {
            "name": model.name,
            "task": model.task,
            "sha256": next(iter(built.variants[0].artifacts.values())).sha256,
            "class_names": list(built.data.class_names),
        },
        "data": {prepared.info.name: prepared.ref.to_json() for prepared in built.data.sets},
        "data_notes": list(built.data.notes),
        GROUPS: {one.column: _counts(one) for one in built.data.groups},
        "versions": {name: version(name) for name in VERSIONS},
        "python": sys.version.split()[0],
    }


def _counts(groups: Groups) -> dict[str, Any]:
    """Samples of each group, and a digest of which sample is in which."""
    counts = np.bincount(groups.index, minlength=len(groups.names))
    return {
        "samples": dict(zip(groups.names, counts.tolist(), strict=True)),
        "sha256": key_of(groups.to_json()),
    }


def make_lanes(targets: Iterable[Target], executors: Mapping[str, Executor]) -> tuple[Lane, ...]:
    """Group the targets that share this machine into one lane; every other target is a lane by itself."""
    local = {target.name for target in targets if abilities_of(target).uses_this_machine} | {HOST}
    parallel = {name: executor.parallel_batches for name, executor in executors.items()}
    shared = {name: count for name, count in parallel.items() if name in local}
    return shared, *({name: count} for name, count in parallel.items() if name not in local)
