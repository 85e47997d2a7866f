"""What the gates and checks are worth: the newest challenge of the model on each target of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.report.html.data import ReportData, Section, Table

COLUMNS = (
    "result",
    "fault",
    "kind",
    "what is wrong",
    "by",
    "sentence or what would see it",
    "named",
    "target",
)


def challenge(data: ReportData) -> Section | None:
    """One line per planted fault, those that were missed first."""
    if not data.challenges:
        return None
    intro = " ".join(map(_sentence, data.challenges))
    rows = [row for one in data.challenges for row in _rows(one)]
    tables = [Table("challenge", "Planted faults", COLUMNS, rows)]
    effects = [
        (e["name"], e["text"], e["how"], one["target"]) for one in data.challenges for e in one["effects"]
    ]
    if effects:
        columns = ("effect", "smallest that is seen (95 % power)", "from", "target")
        tables.append(Table("challenge_effects", "Smallest effects", columns, effects))
    return Section("What the gates can see", 12, intro, (), tuple(tables))


def _sentence(one: Mapping[str, Any]) -> str:
    score = one["score"]
    decided = score["caught"] + score["missed"]
    caught = f"{score['caught']} of {decided} planted faults were caught, {score['named']} of them by name"
    quick = ", quick" if one.get("quick") else ""
    return f"{one['target']}: {caught} ({one['created_utc'][:10]}{quick})."


def _rows(one: Mapping[str, Any]) -> Iterable[tuple[object, ...]]:
    for fault in sorted(one["faults"], key=lambda fault: fault["result"] == "caught"):
        is_caught = fault["result"] == "caught"
        by = f"{fault['by_kind']} {fault['by']}".strip()
        text = fault["said"] if is_caught else fault["would"]
        named = ("yes" if fault["named"] else "no") if is_caught else ""
        yield (
            fault["result"], fault["fault"], fault["kind"], fault["sentence"], by, text, named, one["target"]
        )  # fmt: skip
