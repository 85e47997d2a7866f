"""Why two versions of a runtime give other bits: the first layer and the cause; where nodes run in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.core.job import DEPLOY, Samples
from harness.explain.requests.prepared import SAMPLES, scene_between
from harness.explain.scene import Hypothesis, Scene
from harness.explain.search import procedure
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side
from harness.explain.words import text
from harness.explain.words.as_json import as_json
from harness.run.prepare import Prepared
from harness.upgrade.run_both import Comparison, Notify, UpgradeRequest, Why, batch, suites
from harness.upgrade.targets import NEW, OLD, SIDES, TargetPair


def explain(
    comparison: Comparison, request: UpgradeRequest, pair: TargetPair, prepared: Prepared,
    hypotheses: Sequence[Hypothesis], notify: Notify,
) -> Why:  # fmt: skip
    """Ask where nodes run, and, where bits differ, for the first layer and the cause.

    What fails is a reason: the comparison itself is complete.
    """
    sides = {side: _side(comparison, request, pair, prepared, side) for side in SIDES}
    with Runner(prepared.cache) as runner:
        try:
            placement = {side: runner.placement(sides[side]) for side in SIDES}
        except HarnessError as error:
            return Why(reason=error.what)
        if comparison.findings.bit_exact == 1:
            return Why(placement=placement)
        rows = differing(comparison.samples)
        if not rows:
            return Why(reason="no stored output of a sample differs", placement=placement)
        try:
            scene = replace(
                scene_between(prepared, runner, sides[OLD], sides[NEW]), rows=rows[:SAMPLES], held_out=()
            )
            return replace(of_scene(scene, hypotheses, request.explain_s, notify), placement=placement)
        except HarnessError as error:
            return Why(reason=error.what, placement=placement)


def of_scene(scene: Scene, hypotheses: Sequence[Hypothesis], budget_s: float, notify: Notify) -> Why:
    """Explain a scene whose reference is the old version; its runner is still open.

    Raises
    ------
    HarnessError
        A side cannot be run again.
    """
    explanation = procedure.explain(scene, hypotheses, budget_s, notify)
    if not scene.gap:
        return Why(reason="run again, both versions give the same", facts=as_json(explanation))
    layer = scene.first_layer
    operator = next((row.point.operator for row in scene.table if row.point.layer == layer), "")
    causes = tuple(text.cause(finding) for finding in explanation.confirmed)
    return Why(
        layer, operator, causes, "" if causes else "no option of the runtime takes the difference away",
        facts=as_json(explanation),
    )  # fmt: skip


def differing(samples: Mapping[str, Samples]) -> list[int]:
    """Samples of which an output has other bits, in their order."""
    old, new = (
        {name: array for name, array in samples[side].arrays.items() if name.startswith("output:")}
        for side in SIDES
    )
    masks = [
        _bytes(old[name]) != _bytes(new[name])
        for name in old.keys() & new.keys()
        if old[name].shape == new[name].shape and old[name].dtype == new[name].dtype
    ]
    return sorted({int(row) for mask in masks for row in np.flatnonzero(mask.any(axis=1))})


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).reshape(len(array), -1)


def _side(
    comparison: Comparison, request: UpgradeRequest, pair: TargetPair, prepared: Prepared, side: str
) -> Side:
    judging, _ = suites(request)
    planned = batch(prepared, pair, comparison, judging, side)
    assert prepared.inputs is not None
    raw = {
        name: np.load(prepared.cache.array_path(digest), mmap_mode="r", allow_pickle=False)
        for name, digest in prepared.inputs.data.sets[0].ref.inputs.items()
    }
    return Side(
        request.label(side), pair.targets[side].name, pair.backend, comparison.variant, planned.artifact,
        planned.options[DEPLOY], prepared.executors[pair.targets[side].name], planned.preprocess, raw,
    )  # fmt: skip
