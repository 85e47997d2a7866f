"""What differs between two sides beside the file: the other side is run with the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.config.schema import ImageTable
from harness.executors import wheels
from harness.explain.recipes.toml import as_key, as_toml
from harness.explain.scene import INPUT, Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.sides.side import Side


@dataclass(slots=True)
class Swapped:
    """Confirmed where the other side with one thing of the reference loses the difference.

    Parameters
    ----------
    name, before, after : str
        What differs, with its value on the reference and on the other side.
    changed : Side
        The other side with the reference's.
    remedy : str
        Line of the target or of ``validation.toml``.
    """

    name: str
    before: str
    after: str
    changed: Side
    remedy: str

    def test(self, scene: Scene) -> Finding:
        """Run the other side with it."""
        trace = scene.runner.samples(self.changed, scene.rows)
        is_exact = scene.distance(scene.first, trace) == 0
        share = scene.share(scene.first, trace)
        state = scene.judged(share, is_exact=is_exact)
        left = "no difference is left" if is_exact else f"{percent_left(share)} of the difference is left"
        text = f"{self.before} instead of {self.after}"
        if state not in (State.CONFIRMED, State.PARTLY):
            return Finding(self.name, state, f"{text}: {left}", max(0.0, share))
        one, two = self.changed, scene.other
        is_of_input = one.raw is not two.raw or one.preprocess != two.preprocess
        return Finding(
            self.name, state, f"{text}: {left}", share, self._cause(scene),
            INPUT if is_of_input else scene.first_layer,
            Remedy(f"{self.name} as before", self.remedy, scene.other.label),
            scene.replaced(scene.other, self.changed),
        )  # fmt: skip

    def _cause(self, scene: Scene) -> str:
        """What changed, and what of it the sessions report."""
        before, after = scene.first.effective, scene.second.effective
        reported = [
            f"the session reports {key} {after[key]} instead of {before[key]}"
            for key in before.keys() & after.keys()
            if before[key] != after[key]
        ]
        return "; ".join([f"{self.name}: {self.before} became {self.after}", *sorted(reported)])


def of_version(reference: Side, other: Side, before: str, after: str) -> Swapped:
    """Another version of the runtime, in an environment of its own on the same device."""
    runtime = wheels.RUNTIMES.get(other.backend, other.backend)
    return Swapped(
        f"version of {runtime}", before, after,
        replace(other, executor=reference.executor, target=reference.target),
        f'[executor] requirements = ["{runtime}=={before}"]',
    )  # fmt: skip


def between_runs(
    base: Side, new: Side, versions: Sequence[str], data: Sequence[Mapping[str, Any]]
) -> Iterator[Swapped]:
    """What differs between two runs beside the file, each as a cause that can be tested.

    Parameters
    ----------
    base, new : Side
    versions : sequence of str
        Of the runtime, in both runs.
    data : sequence of mapping
        Tables ``data`` of both ``validation.toml``.
    """
    if base.executor is not new.executor:
        yield of_version(base, new, *versions)
    if base.options != new.options:
        before, after = base.options.to_json(), new.options.to_json()
        yield _of_table("settings", "deploy", before, after, replace(new, options=base.options))
    for name in new.preprocess:
        before, after = base.preprocess[name].to_json(), new.preprocess[name].to_json()
        if before != after:
            changed = replace(new, preprocess={**new.preprocess, name: base.preprocess[name]})
            yield _of_table(f"preprocessing of {name}", f"input.{as_key(name)}", before, after, changed)
    if not _same_samples(base, new):
        yield _of_samples(data, replace(new, raw=base.raw))


def _of_samples(data: Sequence[Mapping[str, Any]], changed: Side) -> Swapped:
    """Other samples: because images are prepared otherwise, or because the data are others."""
    before, after = data
    images = [table.get("image") or ImageTable().model_dump(mode="json") for table in data]
    if images[0] != images[1] and {**before, "image": None} == {**after, "image": None}:
        return _of_table("preprocessing of the images", "data.image", images[0], images[1], changed)
    return Swapped("test samples", "those of the base", "others", changed, "[data] as before")


def _of_table(
    what: str, table: str, before: Mapping[str, Any], after: Mapping[str, Any], changed: Side
) -> Swapped:
    """Keys of a table of TOML that differ."""
    keys = [key for key in after if before.get(key) != after[key]]
    one, two = (", ".join(_value(values[key]) for key in keys) for values in (before, after))
    line = f"[{table}] " + "\n".join(
        f"{key} = {as_toml(before[key])}" for key in keys if before[key] is not None
    )
    return Swapped(f"{what} ({', '.join(keys)})", one, two, changed, line)


def _value(value: object) -> str:
    return "none" if value is None else as_toml(value)


def _same_samples(base: Side, new: Side) -> bool:
    return base.raw.keys() == new.raw.keys() and all(
        np.array_equal(base.raw[name], new.raw[name]) for name in base.raw
    )
