"""Why two stored runs of one target differ: both sides are made again from what the runs stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from harness.core.errors import HarnessError, UsageError
from harness.explain.requests.prepared import scene_between
from harness.explain.requests.stored_sides import (
    Place,
    StoredSide,
    batches_of,
    prepared_for,
    side_of,
    stored_side,
)
from harness.explain.requests.swapped import between_runs
from harness.explain.scene import Hypothesis
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.runner import FEWEST_S, Runner
from harness.run.observer import Observer
from harness.run.prepare import Prepared
from harness.store.run_folder import Facts, RunFolder

Notify = Callable[[str], None]


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


def places(base: Facts, new: Facts) -> list[Place]:
    """What both runs measured the answers of, in the order of the new one."""
    shared = batches_of(base).keys() & batches_of(new).keys()
    return [place for place in batches_of(new) if place in shared]


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
            stored_side(folder, facts, place) for folder, facts in zip(folders, (base, new), strict=True)
        )
        notify(f"{place[2]} on {place[0]}: {stored[0].run_id} and {stored[1].run_id}")
        try:
            with closing(
                prepared_for(new.run, base.run, stored, folders[1].path.parent, observer)
            ) as prepared:
                data = [facts.run["validation"]["data"] for facts in (base, new)]
                explanation = _explain(prepared, stored, data, hypotheses, end_s, notify)
            yield Compared(place, explanation)
        except HarnessError as error:
            yield Compared(place, reason=error.what)
        finally:
            observer.end()


def _explain(
    prepared: Prepared, stored: Sequence[StoredSide], data: Sequence[Mapping[str, Any]],
    hypotheses: Sequence[Hypothesis], end_s: float, notify: Notify,
) -> Explanation:  # fmt: skip
    left_s = max(FEWEST_S, end_s - time.monotonic())
    with Runner(prepared.cache, left_s) as runner:
        reference, other = (
            side_of(prepared, one, name) for one, name in zip(stored, ("base", "new"), strict=True)
        )
        scene = scene_between(prepared, runner, reference, other)
        swapped = list(between_runs(reference, other, [one.version for one in stored], data))
        return procedure.explain(scene, [*swapped, *hypotheses], end_s - time.monotonic(), notify)
