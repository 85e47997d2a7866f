"""An explanation as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from harness.explain.layers.errors import Error
from harness.explain.layers.table import Layer
from harness.explain.requests.of_run import Answer
from harness.explain.scene import Finding
from harness.explain.search.explanation import Explanation
from harness.explain.words import text


def answer_as_json(answer: Answer) -> dict[str, Any]:
    """What is stored of one question of a run."""
    question, explanation = answer.question, answer.explanation
    about = {
        "target": question.target, "backend": question.backend, "variant": question.variant,
        "setting": question.setting, "gates": list(question.gates),
        "passing": list(question.passing), "failing": list(question.failing),
    }  # fmt: skip
    if explanation is None:
        return {**about, "reference": "", "other": "", "causes": [], "reason": answer.reason}
    whole = as_json(explanation)
    causes = [
        {
            "text": text.cause(finding),
            "layer": finding.layer,
            "remedy": None if finding.remedy is None else dataclasses.asdict(finding.remedy),
        }
        for finding in explanation.confirmed
    ]
    return {**about, **whole, "causes": causes, "reason": "" if causes else text.nothing(explanation)}


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Everything as JSON."""
    scene = explanation.scene
    return {
        "reference": scene.reference.label,
        "other": scene.other.label,
        "artifacts": [scene.reference.artifact.sha256, scene.other.artifact.sha256],
        "samples": len(scene.rows),
        "difference": _number(scene.gap),
        "within_rounding": scene.is_within_rounding,
        "seconds": round(explanation.seconds, 1),
        "causes": [finding.cause for finding in explanation.confirmed],
        "left_share": explanation.left_share,
        "reproducer": None if explanation.reproducer is None else str(explanation.reproducer),
        "effect": None if explanation.effect is None else dataclasses.asdict(explanation.effect),
        "rounds": [[_finding(finding) for finding in findings] for findings in explanation.rounds],
        "left_out": explanation.left_out,
        "notes": scene.refused,
        "layers": [_layer(row) for row in explanation.layers],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    remedy = finding.remedy
    return {
        "hypothesis": finding.hypothesis,
        "state": finding.state.value,
        "evidence": finding.evidence,
        "share": finding.share,
        "cause": finding.cause,
        "layer": finding.layer,
        "remedy": None if remedy is None else dataclasses.asdict(remedy),
    }


def _layer(row: Layer) -> dict[str, Any]:
    return {
        "point": row.point.name,
        "layer": row.point.layer,
        "operator": row.point.operator,
        "within_the_run": _error(row.accumulated),
        "fed_by_the_reference": _error(row.isolated),
    }


def _error(error: Error | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "relative": _number(error.relative),
        "largest": _number(error.largest),
        "differing": error.differing,
        "steps": error.steps,
        "saturated": error.saturated,
    }


def _number(number: float) -> float | None:
    """A number of JSON, which has no infinity."""
    return number if math.isfinite(number) else None
