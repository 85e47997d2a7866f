"""One layer is computed otherwise than its operator is defined."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import replace

from harness.core.errors import HarnessError
from harness.explain.files.model_file import OnnxFile
from harness.explain.hypotheses.files import other_format
from harness.explain.layers.table import Layer
from harness.explain.operators import mistakes, referee
from harness.explain.operators.alone import Alone, cut_out
from harness.explain.operators.rewrites import rewrites
from harness.explain.operators.solved import solve
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.sides.side import are_one_model

#: A float32 layer that is fed with the same numbers differs by less, relative to its result: 2^-24 for each
#: of a few thousand products that are added.
FLOAT_BOUND = 2.0**-13
#: An integer layer differs by at most so many steps: kernels round once, or twice.
STEPS_BOUND = 2.0


def differing_layers(table: list[Layer]) -> list[Layer]:
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


#: Operators with weights, by the names of ONNX and of TFLite.
WEIGHTED = frozenset({
    "Conv", "ConvTranspose", "Gemm", "MatMul", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
    "TRANSPOSE_CONV", "BATCH_MATMUL",
})  # fmt: skip
#: So many layers with other weights are listed.
LISTED = 3
#: A file has other weights where so many of the layers with weights are wrong.
MOST_WEIGHTED = 0.6


class WrongOperator:
    """A kernel computes something else; a referee says which side is right."""

    name = "wrong operator"

    def test(self, scene: Scene) -> Finding:
        """Feed each layer with the same numbers; the operator's definition judges the first that differs."""
        one, two = scene.reference, scene.other
        if not are_one_model(scene.reference, scene.other):
            return Finding(self.name, State.UNTESTED, "the variants are meant to differ in every layer")
        table = scene.table
        if not table or all(row.isolated is None for row in table):
            why = scene.why_no_layers()
            return Finding(self.name, State.UNTESTED, why)
        wrong = differing_layers(table)
        is_same_format = one.artifact.format == two.artifact.format
        if is_same_format and len({side.emulates or side.artifact.sha256 for side in (one, two)}) > 1:
            where = f"; they differ from {wrong[0].point.layer} on" if wrong else ""
            return Finding(self.name, State.UNTESTED, f"the two run different files{where}")
        if wrong and not is_same_format and (other := other_format.first_material(scene)):
            return Finding(self.name, State.UNTESTED, f"the two run different files: {other}")
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
        label, described, is_reference = scene.other.label, None, False
        try:
            layer = cut_out(scene, row)
            is_reference, verdict = _judged(scene, layer)
            evidence += verdict
            label = scene.reference.label if is_reference else label
            described = mistakes.of_layer(scene, layer, is_reference_wrong=is_reference)
        except HarnessError as refused:
            evidence += f"; the layer cannot be run alone: {refused.what}"
        cause = f"{row.point.operator} {row.point.layer} is computed wrongly on {label}"
        if weights := _of_weights(table, wrong):
            sha256 = (one if is_reference else two).artifact.sha256
            which = _which_weights(scene, wrong, is_reference_wrong=is_reference)
            cause = (
                f"{label} computes with other weights than those of the file that was hashed "
                f"({sha256[:12]}): {which}; {weights}"
            )
        elif described is not None:
            cause += f": {described.text}"
            evidence += f"; {described.text}: so changed, {described.left:.1%} of its error is left"
        finding = Finding(
            self.name, State.CONFIRMED, evidence, 1.0, cause, row.point.layer,
            side=label if label != scene.other.label else "",
        )  # fmt: skip
        return _rewritten(scene, finding)


def _of_weights(table: Sequence[Layer], wrong: Sequence[Layer]) -> str:
    """How many layers are wrong, where these are the layers with weights; empty where they are not.

    One kernel is wrong alone, or with all of its kind; a file that is not the one that was hashed has other
    weights in many layers, and the operators without weights are right.
    """
    weighted = [row for row in table if row.isolated is not None and row.point.operator in WEIGHTED]
    others = sum(row.isolated is not None for row in table) - len(weighted)
    kinds = {row.point.operator for row in wrong}
    if not kinds <= WEIGHTED or len(wrong) < max(3, MOST_WEIGHTED * len(weighted)):
        return ""
    if len(kinds) < max(2, len({row.point.operator for row in weighted})):
        return ""
    beside = f", and none of the other {others}" if others else ""
    return f"{len(wrong)} of {len(weighted)} layers with weights differ{beside}"


def _which_weights(scene: Scene, wrong: Sequence[Layer], *, is_reference_wrong: bool) -> str:
    """Of the first wrong layers, how many weights differ and by how much; else how much of the results."""
    texts = []
    for row in wrong[:LISTED]:
        solved = None
        if time.monotonic() < scene.end_s:
            with contextlib.suppress(HarnessError):  # the layer cannot be run alone: its results say less
                solved = solve(cut_out(scene, row), is_reference_wrong=is_reference_wrong)
        error = row.isolated
        assert error is not None  # so it was chosen
        by_results = f"{error.differing:.0%} of its results differ, by {error.relative:.1%} of their size"
        texts.append(f"{row.point.layer}: {by_results if solved is None else solved.text}")
    more = f"; and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
    return "; ".join(texts) + more


def _rewritten(scene: Scene, finding: Finding) -> Finding:
    """The finding with another form of the operator as its remedy, where one was run and helps."""
    side = scene.reference if finding.side else scene.other
    if side.artifact.format != "onnx":
        return finding
    for text, model in rewrites(OnnxFile(side.artifact.path).model, finding.layer):
        # Where both run the file, both run the changed one: it has the same meaning.
        content, sha256 = model.SerializeToString(), side.artifact.sha256
        after = [
            scene.runner.with_file(one, content, one.artifact.path.name)
            if one.artifact.sha256 == sha256
            else one
            for one in (scene.reference, scene.other)
        ]
        try:
            share = scene.share(*(scene.runner.samples(one, scene.rows) for one in after))
        except HarnessError:
            continue
        if scene.judged(share, is_exact=share == 1) is not State.REFUTED:
            return replace(
                finding, share=share, remedy=Remedy(text, "export the model so", side.label),
                after=(after[0], after[1]),
                evidence=f"{finding.evidence}; with {text} {percent_left(share)} is left",
            )  # fmt: skip
    return finding


def _judged(scene: Scene, layer: Alone) -> tuple[bool, str]:
    """Whether the reference is the side that is wrong, and what the referee says."""
    try:
        verdict = referee.judge(scene, layer)
    except HarnessError as refused:
        return False, f"; the referee cannot run it: {refused.what}"
    return verdict.wrong == "reference", f"; {verdict.text}"
