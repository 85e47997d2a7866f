"""One layer is computed otherwise than its operator is defined."""

from __future__ import annotations

import math

from harness.core.errors import HarnessError
from harness.explain import mistakes, referee
from harness.explain.layers import Layer
from harness.explain.scene import Finding, Scene, State

#: A float32 layer that is fed with the same numbers differs by less, relative to its result: 2^-24 for each
#: of a few thousand products that are added.
FLOAT_BOUND = 2.0**-13
#: An integer layer differs by at most so many steps: kernels round once, or twice.
STEPS_BOUND = 2.0


def culprits(table: list[Layer]) -> list[Layer]:
    """Layers that differ by more than rounding when they are fed with the same numbers; in order."""
    listed = []
    for row in table:
        error = row.isolated
        if error is None:
            continue
        over = error.steps > STEPS_BOUND + 1e-3 if error.steps is not None else error.relative > FLOAT_BOUND
        if over or math.isinf(error.largest):
            listed.append(row)
    return listed


class WrongOperator:
    """A kernel computes something else; a referee says which side is right."""

    name = "wrong operator"

    def test(self, scene: Scene) -> Finding:
        """Feed each layer with the same numbers; the operator's definition judges the first that differs."""
        one, two = scene.reference, scene.other
        if one.variant != two.variant:
            return Finding(self.name, State.UNTESTED, "the variants are meant to differ in every layer")
        table = scene.table
        if not table or all(row.isolated is None for row in table):
            why = "; ".join(scene.refused.values()) or "no layer can be compared"
            return Finding(self.name, State.UNTESTED, why)
        wrong = culprits(table)
        if one.artifact.format == two.artifact.format and one.artifact.sha256 != two.artifact.sha256:
            where = f"; they differ from {wrong[0].point.layer} on" if wrong else ""
            return Finding(self.name, State.UNTESTED, f"the two run different files{where}")
        if not wrong:
            return Finding(
                self.name, State.REFUTED, "fed with the same numbers, every layer agrees but for rounding"
            )  # fmt: skip
        row = wrong[0]
        assert row.isolated is not None
        error = row.isolated
        size = f"{error.relative:.2g}" if error.steps is None else f"{error.steps:.0f} steps"
        evidence = (
            f"fed with the same numbers, {len(wrong)} of {len(table)} layers differ by more than rounding; "
        )
        evidence += f"first {row.point.layer}, by {size}"
        label, described = scene.other.label, None
        try:
            layer = referee.alone(scene, row)
            is_reference, verdict = _judged(scene, layer)
            evidence += verdict
            label = scene.reference.label if is_reference else label
            described = mistakes.of_layer(scene, layer, is_reference_wrong=is_reference)
        except HarnessError as refused:
            evidence += f"; the layer cannot be run alone: {refused.what}"
        cause = f"{row.point.operator} {row.point.layer} is computed wrongly on {label}"
        if described is not None:
            cause += f": {described.text}"
            evidence += f"; {described.text}: so changed, {described.left:.1%} of its error is left"
        return Finding(
            self.name, State.CONFIRMED, evidence, 1.0, cause, row.point.layer,
            side=label if label != scene.other.label else "",
        )  # fmt: skip


def _judged(scene: Scene, layer: referee.Alone) -> tuple[bool, str]:
    """Whether the reference is the side that is wrong, and what the referee says."""
    try:
        verdict = referee.judge(scene, layer)
    except HarnessError as refused:
        return False, f"; the referee cannot run it: {refused.what}"
    return verdict.wrong == "reference", f"; {verdict.text}"
