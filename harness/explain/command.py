"""``harness explain``: two sides in, a cause with its evidence out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.core import unexpected
from harness.device import plugins
from harness.explain.reproducers import reproducer
from harness.explain.requests import of_run, prepared, two_runs
from harness.explain.requests.between import parse
from harness.explain.requests.of_run import Answer
from harness.explain.requests.two_runs import Compared
from harness.explain.scene import Hypothesis
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.words import text
from harness.explain.words.as_json import answer_as_json, as_json
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
    sides = parse(between)
    with prepared.opened(model, sides, observer, hosts) as scene:
        versions = prepared.versions(sides, scene)
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
