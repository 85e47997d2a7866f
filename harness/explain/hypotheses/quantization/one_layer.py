"""One layer of a quantized file loses far more than rounding to 8 bits makes it lose."""

from __future__ import annotations

import math

import numpy as np

from harness.core.errors import HarnessError
from harness.explain.files.edits import FED
from harness.explain.hypotheses.quantization.quantized import STEPS, with_recipe
from harness.explain.layers.errors import gaps
from harness.explain.layers.fed import feed
from harness.explain.layers.pairs import Pair
from harness.explain.layers.table import Layer
from harness.explain.layers.tapped import Tapped
from harness.explain.operators import mistakes
from harness.explain.operators.alone import cut_out
from harness.explain.operators.description import Description
from harness.explain.scene import Finding, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import SMALL

#: So many layers are tried.
TRIED = 3
#: A layer that takes away less of the difference does not explain it.
ENOUGH = 0.5
#: Rounding of inputs, weights and result, in steps of the result.
GRAIN = 3.0


class OneLayer:
    """A single layer of the quantized file is not the float model's."""

    name = "one layer of the file"

    def test(self, scene: Scene) -> Finding:
        """Put what one quantized layer after the other makes of the right numbers into the float model."""
        if scene.reference.artifact.precision or not scene.other.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not a float file against an integer one")
        if scene.gap <= SMALL:
            return Finding(self.name, State.REFUTED, "the difference is one that 8 bits make")
        if not scene.table or scene.tapped is None:
            return Finding(self.name, State.UNTESTED, scene.why_no_layers())
        rows = [row for row in scene.table if row.isolated and (row.isolated.steps or 0.0) > STEPS]
        rows.sort(key=lambda row: -row.isolated.relative if row.isolated else 0.0)
        if not rows:
            return Finding(self.name, State.REFUTED, f"no layer loses more than {STEPS:g} steps by itself")
        pairs = {pair.other.name: pair for pair in scene.tapped.pairs}
        shares = {row.point.name: _share(scene, scene.tapped, pairs[row.point.name]) for row in rows[:TRIED]}
        name = max(shares, key=lambda one: shares[one])
        row, share = next(row for row in rows if row.point.name == name), shares[name]
        layer = pairs[name].reference  # an activation may be a layer of its own in the quantized file
        left = f"the float model with {layer.layer} of the quantized file: {percent_left(share, 0)} is left"
        if share < ENOUGH:
            return Finding(self.name, State.REFUTED, left, max(0.0, share))
        described = _described(scene, row)
        assert row.isolated is not None
        text = f"it loses all but {row.isolated.sqnr_db:.0f} dB" if described is None else described.text
        finding = Finding(
            self.name, State.CONFIRMED, left, share,
            f"{layer.operator} {layer.layer} of {scene.other.label} is not the float model's: {text}",
            layer.layer,
        )  # fmt: skip
        return with_recipe(scene, finding, [{"float_layers": [layer.layer]}])


def _share(scene: Scene, tapped: Tapped, pair: Pair) -> float:
    """The part of the difference that the float model has with the result of the quantized layer."""
    assert scene.files is not None
    (file, other), name = scene.files, pair.reference.name
    if name not in file.read:
        return 0.0
    isolated = feed(scene.runner, tapped, scene.other, other, [pair])
    like = tapped.reference.tensors[name]
    outputs = [one for one in scene.first.outputs if one in tapped.reference.tensors]
    content = file.exploded({name: like[0]}, outputs)
    inputs = set(tapped.reference.tensors) - set(tapped.reference.outputs)
    feeds = {one: tapped.reference.tensors[one] for one in inputs}
    feeds[name + FED] = tapped.second(pair, isolated).reshape(like.shape).astype(like.dtype)
    trace = scene.runner.tensors(scene.runner.with_file(scene.reference, content, file.name), feeds)
    names = [one for one in scene.second.outputs if one in tapped.other.tensors]
    if len(names) != len(outputs):
        return 0.0
    wrong = [tapped.other.real(one) for one in names]
    before, after = (
        sum(
            float(np.sum(gaps(x.reshape(-1), y.reshape(-1)) ** 2))
            for x, y in zip(wrong, [made.real(one) for one in outputs], strict=True)
        )
        for made in (tapped.reference, trace)
    )
    return 1 - math.sqrt(after / before) if before else 0.0


def _described(scene: Scene, row: Layer) -> Description | None:
    step = row.point.step
    try:
        layer = cut_out(scene, row)
    except HarnessError:
        return None
    grain = GRAIN * step.scale if step is not None else None
    return mistakes.of_layer(scene, layer, is_reference_wrong=False, grain=grain)
