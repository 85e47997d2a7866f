"""``harness explain``: two sides in, a cause with its evidence out."""

from __future__ import annotations

import dataclasses
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.core import unexpected
from harness.device import plugins
from harness.explain import of_run, procedure, reproducer, request, text, two_runs
from harness.explain.layers import Error, Layer
from harness.explain.of_run import Answer
from harness.explain.procedure import Explanation
from harness.explain.scene import Finding, Hypothesis
from harness.explain.two_runs import Compared
from harness.run.observer import Observer
from harness.run.outcome import Outcome
from harness.store import explanations
from harness.store.cache import write_atomically, writing
from harness.store.run_folder import RunFolder

#: Folder of the results, and the file in a folder of it.
FOLDER, FILE = "explain", "explain.json"


def hypotheses() -> list[Hypothesis]:
    """All that are installed; ours first."""
    catalogue = plugins.catalogue(plugins.HYPOTHESES)
    ours_first = sorted(catalogue, key=lambda name: (name != "harness", name))
    return [one for name in ours_first for one in plugins.choose(plugins.HYPOTHESES, name)]


def explain(
    *, model: str, between: str, within_s: float, results: Path, observer: Observer,
    notify: Callable[[str], None], hosts: tuple[str, ...] = (),
) -> tuple[Explanation, Path, str]:  # fmt: skip
    """Explain why two sides differ, and store what was seen.

    Returns
    -------
    tuple of Explanation, Path and str
        With the file that holds it, and the text for a terminal.

    Raises
    ------
    HarnessError
    """
    sides = request.parse(between)
    with request.opened(model, sides, observer, hosts) as scene:
        versions = request.versions(sides, scene)
        end_s = time.monotonic() + within_s
        explanation = procedure.explain(scene, [*versions, *hypotheses()], within_s, notify)
        path = _new_path(results)
        reproducer.attempt(explanation, path.parent / reproducer.FOLDER, end_s)
        _write(path, as_json(explanation))
        return explanation, path, text.text(explanation)


def explain_two(
    runs: tuple[RunFolder, RunFolder], within_s: float, results: Path, observer: Observer,
    notify: Callable[[str], None],
) -> tuple[list[Compared], Path]:  # fmt: skip
    """Explain what two stored runs of one target compute otherwise, and store what was seen.

    Raises
    ------
    HarnessError
    """
    compared = list(two_runs.explain(runs, hypotheses(), within_s, observer, notify))
    stored = [
        {
            "target": one.place[0], "backend": one.place[1], "variant": one.place[2], "reason": one.reason,
            **({} if one.explanation is None else as_json(one.explanation)),
        }
        for one in compared
    ]  # fmt: skip
    content = {"base": runs[0].run_id, "new": runs[1].run_id, "places": stored}
    path = _new_path(results)
    _write(path, content)
    return compared, path


def _new_path(results: Path) -> Path:
    now = datetime.now(UTC)
    return results.resolve() / FOLDER / f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}" / FILE


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, indent=1).encode())


def explain_run(
    outcome: Outcome, within_s: float, observer: Observer, notify: Callable[[str], None]
) -> list[Answer]:
    """Explain the failing gates and checks of a run that are about answers, and store it in its folder.

    The verdicts stay as they are.
    """
    if not of_run.questions(outcome):
        return []
    answers = list(of_run.answers(outcome, hypotheses(), within_s, observer, notify))
    explanations.write(outcome.folder.path, [answer_as_json(answer) for answer in answers])
    return answers


def explain_failures(outcome: Outcome, within_s: float, observer: Observer) -> None:
    """The same after a run; whatever happens here, its verdict stands."""
    try:
        explain_run(outcome, within_s, observer, observer.stage)
    except KeyboardInterrupt:
        observer.note(f"interrupted; the run is complete: harness judge {outcome.folder.run_id}")
        raise
    except Exception as error:  # noqa: BLE001 - a fault of a plug-in must not take the verdict away
        observer.note(f"the failure could not be explained: {unexpected.one_line(error)}")
    finally:
        observer.end()


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
