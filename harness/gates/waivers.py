"""Waivers: which answers of gates are accepted, by whom, and until when. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from harness.core.verdict import CHECK, Gate, State, Verdict, Waiver


def problems(
    waivers: Iterable[Waiver],
    gates: Sequence[Gate],
    targets: Iterable[str],
    variants: Sequence[str],
    on: date,
) -> list[tuple[int, str]]:
    """Say which waivers are wrong: pairs of place and message.

    Parameters
    ----------
    targets : iterable of str
        Every target that has a file, selected or not.
    on : date
        The day of the run: a waiver counts until the end of its last day.
    """
    targets = tuple(targets)
    problems = []
    for index, waiver in enumerate(waivers):
        named = [gate for gate in gates if gate.name == waiver.gate]
        applies = any(
            gate.judges(target, variant) and waiver.covers(gate.name, target, variant)
            for gate in named
            for target in targets
            for variant in variants
        )
        if not named:
            names = ", ".join(repr(gate.name) for gate in gates)
            problems.append((index, f"there is no gate {waiver.gate!r}; there are {names or 'none'}"))
        elif not applies:
            problems.append((index, f"the gate {waiver.gate!r} is not judged for such a target and variant"))
        elif waiver.expires < on:
            text = f"expired on {waiver.expires}; {waiver.owner} waived it: {waiver.reason}"
            problems.append((index, f"{text}. Remove it, or renew it"))
    return problems


def apply(
    verdicts: Iterable[Verdict], waivers: Sequence[Waiver]
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Mark the answers that are waived, and list the waivers that are not needed any more.

    A waived answer does not block; its state stays as it is.
    """
    marked = []
    needed: dict[int, bool] = {}
    for verdict in verdicts:
        place = _first(waivers, verdict)
        stands = verdict.state in (State.PASS, State.NOT_APPLICABLE)
        if place is None or stands:
            marked.append(verdict)
        else:
            waiver = waivers[place]
            text = f"by {waiver.owner} until {waiver.expires}: {waiver.reason}"
            marked.append(replace(verdict, waived=text))
        if place is not None:
            needed[place] = needed.get(place, False) or not stands
    notes = tuple(
        f"the waiver of {waivers[place].gate!r} ({waivers[place].owner}) is not needed: what it covers passes"
        for place, is_needed in needed.items()
        if not is_needed
    )
    return tuple(marked), notes


def relax(verdicts: Iterable[Verdict], reasons: Mapping[str, str]) -> tuple[Verdict, ...]:
    """Mark the built-in checks that need not hold, by name; they are judged and shown all the same."""
    return tuple(
        replace(verdict, waived=f"[checks.relax] {reasons[verdict.gate]}")
        if verdict.kind == CHECK
        and verdict.gate in reasons
        and verdict.state not in (State.PASS, State.NOT_APPLICABLE)
        else verdict
        for verdict in verdicts
    )


def _first(waivers: Sequence[Waiver], verdict: Verdict) -> int | None:
    key = (verdict.gate, verdict.target, verdict.variant)
    return next((index for index, waiver in enumerate(waivers) if waiver.covers(*key)), None)
