"""Accepted runs for people: which there are, and what one of them holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import HarnessError, UsageError
from harness.core.metric import Role
from harness.gates import baselines
from harness.gates.baselines import Baseline
from harness.gates.judge import number_text
from harness.run import declared

#: Roles of the metrics that ``show`` gives of each variant.
SHOWN = (Role.RESULT, Role.LOSS, Role.LATENCY, Role.TAIL, Role.MEMORY, Role.SIZE)
NONE = "no baseline yet: harness baseline save RUN --name accepted --reason WHY"


def find(results: Path, name: str, model: str = "", target: str = "") -> list[Path]:
    """Folders of the baselines of a name, one a model and target.

    Raises
    ------
    UsageError
        There is none.
    """
    every = baselines.names(results)
    found = [
        folder
        for folder in every
        if folder.name == name and model in ("", folder.parts[-3]) and target in ("", folder.parts[-2])
    ]
    if not found:
        known = ", ".join("/".join(folder.parts[-3:]) for folder in every)
        raise UsageError(
            f"there is no baseline {'/'.join(filter(None, (model, target, name)))}",
            where=str(results / baselines.FOLDER),
            cause=f"there are {known}" if known else "",
            next_step="" if known else NONE.partition(": ")[2],
        )
    return found


def listed(results: Path) -> str:
    """One line a baseline; one that was edited says so."""
    lines = []
    for folder in baselines.names(results):
        place = "/".join(folder.parts[-3:])
        try:
            told = baselines.read(folder).told
        except HarnessError as error:
            lines.append(f"{place:<40}  {error.what}")
            continue
        who = f"{told.accepted_by}, {told.accepted_utc[:10]}"
        lines.append(f"{place:<40}  {told.verdict:<12}  {told.run_id}  {who}: {told.reason}")
    return "\n".join(lines) or NONE


def shown(folders: Sequence[Path]) -> str:
    """Who accepted what and why, and its main figures."""
    return "\n\n".join(_one(baselines.read(folder)) for folder in folders)


def _one(baseline: Baseline) -> str:
    told, frame = baseline.told, baseline.side.frame
    lines = [
        f"{told.model}/{told.target}/{told.name}",
        f"  accepted  {told.accepted_utc} by {told.accepted_by}: {told.reason}",
        f"  run       {told.run_id}, {told.verdict}",
        f"  machine   {told.machine}",
        f"  rows      {len(frame)}, {len(baseline.side.per_sample)} of them sample by sample",
    ]
    own = frame[(frame["setting"] == "deploy") & (frame["status"] == "OK")]
    for (backend, variant), rows in own.groupby(["backend", "variant"], sort=False):
        figures = [
            f"{name} {number_text(row['value'], row['unit'])}"
            for suite, name, metric in declared.installed().with_role(*SHOWN)
            for row in rows[
                (rows["suite"] == suite) & (rows["metric"] == name) & (rows["case"] == metric.case)
            ][:1].to_dict("records")
        ]
        lines += [f"  {backend}/{variant}: {', '.join(figures)}"] * bool(figures)
    return "\n".join(lines)
