"""What was explained of a run, in lines: cause, remedy, and on which targets it matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.core.verdict import State, Verdict

#: So many gates are named for one cause.
SHOWN = 3


def still_failing(
    explanations: Iterable[Mapping[str, Any]], verdicts: Iterable[Verdict]
) -> list[Mapping[str, Any]]:
    """Leave out what was explained of gates that pass by now: limits can change after a run."""
    failing = {(v.gate, v.target, v.backend, v.variant) for v in verdicts if v.state is State.FAIL}
    return [
        one
        for one in explanations
        if any((gate, one["target"], one["backend"], one["variant"]) in failing for gate in one["gates"])
    ]


def as_lines(explanations: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Label and text of each line."""
    made: list[tuple[str, str]] = []
    for one in explanations:
        where = f"{one['variant']} on {one['target']}"
        gates = ", ".join(one["gates"][:SHOWN]) + ", …" * (len(one["gates"]) > SHOWN)
        if not one["causes"]:
            made.append(("not explained", f"{where} ({gates}): {one['found']}"))
            continue
        for cause in one["causes"]:
            made.append(("CAUSE", f"{where}: {cause['text']} ({gates})"))
            if cause["remedy"]:
                made.append(("REMEDY", _remedy(cause["remedy"], one.get("effect"))))
        if one["passing"]:
            made.append(
                ("affected", f"{', '.join(one['failing'])}; not affected: {', '.join(one['passing'])}")
            )
    return made


def _remedy(remedy: Mapping[str, Any], effect: Mapping[str, Any] | None) -> str:
    text = str(remedy["text"])
    if not remedy["was_run"]:
        text += ": not run"
    elif effect:
        text += (
            f": run, {effect['left']:.1%} [{effect['low']:.1%}, {effect['high']:.1%}] of the difference is "
            f"left on {effect['samples']} other samples"
        )
    return f"{text}; {remedy['line']}" if remedy["line"] else text
