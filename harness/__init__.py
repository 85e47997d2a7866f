"""Deployment validation harness: one model, every target, a verdict that can be trusted.

From Python: ``harness.validate(...)`` runs what the command line runs, ``harness.load(RUN)`` reads a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a board imports this package and has neither
    import pandas as pd

    from harness.run.outcome import Outcome

__all__ = ["load", "validate"]


def validate(
    target: str | Sequence[str] = "cpu",
    model: str | Path | None = None,
    *,
    variant: str | Sequence[str] = (),
    suite: str | Sequence[str] = (),
    results: str | Path = "results",
    budget: str = "",
    host: str | Sequence[str] = (),
    release: bool = False,
) -> Outcome:
    """Measure and judge, as ``harness validate`` does, without progress on the screen.

    Parameters
    ----------
    target, variant, suite : str or sequence of str
        Names; empty variants and suites mean all.
    model : path, optional
        A folder or a ``validation.toml``; None takes the bundled digits.
    results : path
        Where the run's folder is made.
    budget : str
        ``90s``, ``3m``, ``1h``; empty for none.
    host : str or sequence of str
        Boards of the targets that are reached over ssh.
    release : bool
        Demand real hardware: what an emulated target cannot answer was not run.

    Returns
    -------
    Outcome
        Rows, verdicts, state and exit code; ``outcome.folder.path`` holds the files.

    Raises
    ------
    HarnessError
        See ``harness.core.errors``.
    """
    from harness.report.progress import Quiet
    from harness.run import stages
    from harness.run.request import Request

    request = Request.parse(
        target=_listed(target),
        model=model or "",
        variant=_listed(variant),
        suite=_listed(suite),
        results=results,
        budget=budget,
        host=_listed(host),
        release=release,
    )
    return stages.validate(request, Quiet())


def load(run: str | Path, results: str | Path = "results") -> pd.DataFrame:
    """Read the table of a run (id, unique prefix, folder, ``latest``) or a CSV of one.

    Raises
    ------
    ResultsError
        There is no such run, or the file is not such a table.
    """
    from harness.store import run_folder, tables

    path = Path(run)
    if path.suffix == ".csv":
        return tables.read(path)
    return tables.read(run_folder.find_run(str(run), Path(results)).path / "measurements.csv")


def _listed(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)
