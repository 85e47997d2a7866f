"""Baselines as text: which there are, and what one holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import HarnessError, UsageError
from harness.core.metric import Role
from harness.gates import baselines
from harness.gates.baselines import Baseline
from harness.gates.number_text import number_text
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
    folders = [
        folder
        for folder in every
        if folder.name == name and model in ("", folder.parts[-3]) and target in ("", folder.parts[-2])
    ]
    if not folders:
        names = ", ".join("/".join(folder.parts[-3:]) for folder in every)
        raise UsageError(
            f"there is no baseline {'/'.join(filter(None, (model, target, name)))}",
            where=str(results / baselines.FOLDER),
            cause=f"there are {names}" if names else "",
            next_step="" if names else NONE.partition(": ")[2],
        )
    return folders


def listed(results: Path) -> str:
    """One line for each baseline; for one that was edited, its error."""
    lines = []
    for folder in baselines.names(results):
        place = "/".join(folder.parts[-3:])
        try:
            description = baselines.read(folder).description
        except HarnessError as error:
            lines.append(f"{place:<40}  {error.what}")
            continue
        who = f"{description.accepted_by}, {description.accepted_utc[:10]}"
        lines.append(
            f"{place:<40}  {description.verdict:<12}  {description.run_id}  {who}: {description.reason}"
        )
    return "\n".join(lines) or NONE


def shown(folders: Sequence[Path]) -> str:
    """Who accepted what and why, and its main figures."""
    return "\n\n".join(_one(baselines.read(folder)) for folder in folders)


def _one(baseline: Baseline) -> str:
    description, frame = baseline.description, baseline.side.frame
    lines = [
        f"{description.model}/{description.target}/{description.name}",
        f"  accepted  {description.accepted_utc} by {description.accepted_by}: {description.reason}",
        f"  run       {description.run_id}, {description.verdict}",
        f"  machine   {description.machine}",
        f"  rows      {len(frame)}, {len(baseline.side.per_sample)} of them sample by sample",
    ]
    measured = frame[(frame["setting"] == "deploy") & (frame["status"] == "OK")]
    for (backend, variant), rows in measured.groupby(["backend", "variant"], sort=False):
        figures = [
            f"{name} {number_text(row['value'], row['unit'])}"
            for suite, name, metric in declared.installed().with_role(*SHOWN)
            for row in rows[
                (rows["suite"] == suite) & (rows["metric"] == name) & (rows["case"] == metric.case)
            ][:1].to_dict("records")
        ]
        if figures:
            lines.append(f"  {backend}/{variant}: {', '.join(figures)}")
    return "\n".join(lines)
