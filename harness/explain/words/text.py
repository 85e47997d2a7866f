"""An explanation in words: the cause, the evidence, the remedy, the layers."""

from __future__ import annotations

import math

from harness.core.commands import short
from harness.core.exit_code import ExitCode
from harness.explain.layers.errors import Error
from harness.explain.layers.table import Layer
from harness.explain.scene import INPUT, OUTPUT, Finding
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import EXPLAINED
from harness.explain.search.explanation import Explanation

#: Most layers to print; the JSON has all.
SHOWN = 30
#: Hypotheses without a test that are named where nothing was decided.
NAMED = 6
#: A budget that was too short is proposed so many times longer, and at least so long.
LONGER, LEAST_BUDGET_S = 3, 60


def exit_code(explanation: Explanation) -> ExitCode:
    """0 where nothing differs but for rounding, or a cause was confirmed; 4 where none was."""
    return ExitCode.PASSED if explanation.is_decided else ExitCode.INCONCLUSIVE


def text(explanation: Explanation) -> str:
    """Everything for a terminal."""
    scene = explanation.scene
    head = f"{scene.other.label} against {scene.reference.label}, {len(scene.rows)} samples"
    size = f"the outputs differ by {scene.gap:.2g} of their size (root mean square)"
    if len(scene.quantities) > 1:
        size += f", the mean of {len(scene.quantities)} groups of columns of different scale"
    if math.isinf(scene.gap):
        size = "one has NaN or infinity, and the other has numbers"
    lines = [f"{head}: {size if scene.gap else 'every output is equal'}", ""]
    if explanation.layers:
        lines += [*_table(explanation.layers), ""]
    lines += [f"{'note':17} {name}: {why}" for name, why in scene.refused.items()]
    for place, tested in enumerate(explanation.rounds):
        if place:
            lines.append(f"what is left without {explanation.causes[place - 1].hypothesis}:")
        lines += [f"{finding.state:17} {finding.hypothesis}: {finding.evidence}" for finding in tested]
    if explanation.left_out:
        lines.append(f"{'no time for':17} {', '.join(explanation.left_out)}")
    lines.append("")
    for finding in explanation.confirmed:
        lines.append(f"{'CAUSE':17} {cause(finding)}")
        if finding.remedy is not None:
            ran = "not run"
            if finding.remedy.was_run:
                ran = f"run, {_left(explanation, finding)}"
            line = "; ".join(["", *finding.remedy.line.splitlines()]) if finding.remedy.line else ""
            lines.append(f"{'REMEDY':17} {finding.remedy.text}: {ran}{line}")
    if explanation.confirmed and math.isfinite(explanation.left_share) and explanation.left_share > EXPLAINED:
        lines.append(f"{'unexplained':17} {explanation.left_share:.0%} of the difference")
    if explanation.reproducer is not None:
        lines.append(f"{'reproducer':17} {short(explanation.reproducer)}   # python reproduce.py, in it")
    if not explanation.confirmed:
        lines.append(nothing(explanation))
    return "\n".join(lines)


def cause(finding: Finding) -> str:
    """A confirmed cause in one line, with the layer."""
    is_named = finding.layer in (INPUT, OUTPUT) or finding.layer in finding.cause
    layer = "" if is_named else f", first in {finding.layer}"
    return f"{finding.cause}{layer}"


def _left(explanation: Explanation, finding: Finding) -> str:
    """How much of the difference a remedy leaves; that of the last cause was measured for all together."""
    effect = explanation.effect
    if effect is None or finding is not explanation.confirmed[-1]:
        return f"{percent_left(finding.share)} of the difference is left"
    interval = f"{effect.left:.1%} [{effect.low:.1%}, {effect.high:.1%}]"
    left = f"{interval} of the difference is left on {effect.samples} other samples"
    score = effect.score
    if score is None:
        return left
    change = f"{score.after - score.before:+.4f} [{score.low:+.4f}, {score.high:+.4f}]"
    return f"{left}, {score.name} {score.after:.4f} ({change})"


def nothing(explanation: Explanation) -> str:
    """Why there is no cause."""
    if not explanation.scene.gap:
        return "no difference, and no cause"
    if explanation.scene.is_within_rounding:
        return "no difference beyond rounding, and no cause"
    if explanation.is_expected:
        return "no difference beyond what 8 bits make, and no cause"
    if explanation.left_out:
        return f"{'not decided':17} {_not_tested(explanation)}"
    return f"{'not decided':17} no hypothesis explains the difference"


def _not_tested(explanation: Explanation) -> str:
    """What there was no time for, and how to give it more."""
    names = list(dict.fromkeys(explanation.left_out))
    tested = {finding.hypothesis for findings in explanation.rounds for finding in findings}
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return (
        f"{len(names)} of {len(names) + len(tested - {*names})} hypotheses were not tested, because the time "
        f"({explanation.budget_s:.0f} s) was used up: {shown}; next: the same harness explain with "
        f"--budget {longer_s(explanation.budget_s)}s"
    )


def longer_s(budget_s: float) -> int:
    """The budget to try after one that was too short, in seconds."""
    return max(LEAST_BUDGET_S, math.ceil(LONGER * budget_s))


def _table(table: list[Layer]) -> list[str]:
    widths = max(len(row.point.layer) for row in table[:SHOWN])
    lines = [f"{'layer':{widths}}  {'operator':18}  {'within the run':>24}  {'fed by the reference':>24}"]
    lines += [
        f"{row.point.layer:{widths}}  {row.point.operator:18}  {_error(row.accumulated):>24}  "
        f"{_error(row.isolated):>24}"
        for row in table[:SHOWN]
    ]
    if len(table) > SHOWN:
        lines.append(f"… and {len(table) - SHOWN} more layers")
    return lines


def _error(error: Error | None) -> str:
    if error is None:
        return "--"
    if error.largest == 0:
        return "equal"
    ratio = "no signal" if math.isinf(error.sqnr_db) else f"{error.sqnr_db:.1f} dB"
    return f"{ratio}, {error.steps:.1f} steps" if error.steps is not None else ratio
