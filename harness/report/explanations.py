"""What was explained of a run, in lines: cause, remedy, and on which targets it matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.core.errors import ResultsError
from harness.core.verdict import State, Verdict
from harness.run.outcome import Outcome
from harness.store import explanations

#: So many gates are named for one cause.
SHOWN = 3


def of_outcome(outcome: Outcome) -> list[Mapping[str, Any]]:
    """What was explained of gates that still fail; nothing where the file is damaged."""
    try:
        return still_failing(explanations.read(outcome.folder.path), outcome.verdicts)
    except ResultsError:
        return []


def explained(outcome: Outcome) -> list[tuple[str, str]]:
    """The lines of an outcome; where the file is damaged, a note."""
    try:
        return as_lines(still_failing(explanations.read(outcome.folder.path), outcome.verdicts))
    except ResultsError as error:
        return [("note", f"{error.what}: {error.where}; harness explain {outcome.folder.run_id}")]


def still_failing(
    stored: Iterable[Mapping[str, Any]], verdicts: Iterable[Verdict]
) -> list[Mapping[str, Any]]:
    """Leave out what was explained of gates that pass by now: limits can change after a run."""
    failing = {(v.gate, v.target, v.backend, v.variant) for v in verdicts if v.state is State.FAIL}
    return [
        one
        for one in stored
        if any((gate, one["target"], one["backend"], one["variant"]) in failing for gate in one["gates"])
    ]


def as_lines(stored: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Label and text of each line; one cause in both settings is told once."""
    made: list[tuple[str, str]] = []
    gates_of: dict[tuple[str, str, str], list[str]] = {}
    for one in stored:
        for cause in one["causes"]:
            gates_of.setdefault((one["target"], one["variant"], cause["text"]), []).extend(one["gates"])
    for one in stored:
        where = f"{one['variant']} on {one['target']}"
        if not one["causes"]:
            made.append(("not explained", f"{where} ({_named(one['gates'])}): {one['reason']}"))
            continue
        new = False
        for cause in one["causes"]:
            gates = gates_of.pop((one["target"], one["variant"], cause["text"]), None)
            if gates is None:
                continue
            new = True
            made.append(("CAUSE", f"{where}: {cause['text']} ({_named(gates)})"))
            if cause["remedy"]:
                made.append(("REMEDY", _remedy(cause["remedy"], one)))
        if new and one["passing"]:
            made.append(
                ("affected", f"{', '.join(one['failing'])}; not affected: {', '.join(one['passing'])}")
            )
    return made


def _named(gates: Sequence[str]) -> str:
    names = list(dict.fromkeys(gates))
    return ", ".join(names[:SHOWN]) + ", …" * (len(names) > SHOWN)


def _remedy(remedy: Mapping[str, Any], explanation: Mapping[str, Any]) -> str:
    text, effect, left = str(remedy["text"]), explanation.get("effect"), explanation.get("left_share")
    if not remedy["was_run"]:
        text += ": not run"
    elif effect:
        text += (
            f": run, {effect['left']:.1%} [{effect['low']:.1%}, {effect['high']:.1%}] of the difference is "
            f"left on {effect['samples']} other samples"
        )
        if score := effect.get("score"):
            change = f"{score['after'] - score['before']:+.4f} [{score['low']:+.4f}, {score['high']:+.4f}]"
            text += f", {score['name']} {score['after']:.4f} ({change})"
    elif left is not None:  # no time for other samples
        text += f": run, {left:.1%} of the difference is left on the samples that were compared"
    return "; ".join([text, *remedy["line"].splitlines()])
