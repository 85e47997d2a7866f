"""The first screen of the report: a tile for each variant on each device, what blocks, what is not tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.core.job import Status
from harness.core.measurement import Row
from harness.core.verdict import GATE, Verdict, summary
from harness.report.columns import NOTHING, columns, variant_name
from harness.report.html.data import ReportData

#: So many lines of what blocks are shown; the table of gates has all.
MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """One variant on one device.

    ``state`` is empty where no gate judges it; ``figures`` are pairs of title and value.
    """

    device: str
    variant: str
    state: str
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Front:
    """What one needs to know before anything else.

    Parameters
    ----------
    tiles : tuple of Tile
    blocks : tuple of (state, name, sentence)
        The worst first: FAIL before what was not measured.
    more : int
        Further ones that block.
    untested : tuple of str
    seen : tuple of str
        What gates and checks caught of the planted faults, and the smallest effects that they see.
    """

    tiles: tuple[Tile, ...]
    blocks: tuple[tuple[str, str, str], ...]
    more: int
    untested: tuple[str, ...]
    seen: tuple[str, ...]


def front(data: ReportData) -> Front:
    """Collect the first screen."""
    blocking = sorted((v for v in data.verdicts if v.blocks), key=lambda v: v.state.rank)
    return Front(
        tuple(_tiles(data)),
        tuple((v.state.value, v.gate, v.sentence + _cause(v, data)) for v in blocking[:MOST_LINES]),
        max(0, len(blocking) - MOST_LINES),
        data.untested,
        tuple(map(_seen, data.challenges)),
    )


def _cause(verdict: Verdict, data: ReportData) -> str:
    """What was found to cause it, in a sentence; empty where nothing was."""
    place = (verdict.target, verdict.backend, verdict.variant)
    texts = [
        cause["text"]
        for one in data.explanations
        if verdict.gate in one["gates"] and (one["target"], one["backend"], one["variant"]) == place
        for cause in one["causes"]
    ]
    return f". Cause: {'; '.join(dict.fromkeys(texts))}" if texts else ""


def _tiles(data: ReportData) -> list[Tile]:
    rows: dict[tuple[str, str, str], list[Row]] = {}
    for row in data.device_rows:
        rows.setdefault((row.key.target, row.key.backend, row.key.variant), []).append(row)
    verdicts: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in data.verdicts:
        verdicts.setdefault((verdict.target, verdict.backend, verdict.variant), []).append(verdict)
    chosen = columns(data.metrics, rows.values())
    tiles = []
    for place in dict.fromkeys((*rows, *verdicts)):
        target, backend, variant = place
        measured = rows.get(place, [])
        figures = tuple(
            (column.title, text) for column in chosen if (text := column.cell(measured)) != NOTHING
        )
        judged = [verdict for verdict in verdicts.get(place, []) if verdict.counts]
        # Checks alone are no verdict on a variant.
        state = summary(v.state for v in judged) if any(v.kind == GATE for v in judged) else None
        if figures or state is not None or any(row.measurement.status is Status.ERROR for row in measured):
            name = variant_name(variant, measured)
            tiles.append(Tile(f"{target}/{backend}", name, "" if state is None else state.value, figures))
    return tiles


def _seen(challenge: Mapping[str, Any]) -> str:
    score = challenge["score"]
    decided = score["caught"] + score["missed"]
    text = f"{challenge['target']}: {score['caught']} of {decided} planted faults are caught"
    effects = " · ".join(effect["text"] for effect in challenge["effects"])
    return f"{text}; the smallest effects that are seen with 95 % power: {effects}" if effects else text
