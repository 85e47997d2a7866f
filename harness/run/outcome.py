"""What a run came to: rows, verdicts, state; short in print, a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from harness.core.exit_code import ExitCode
from harness.core.measurement import COLUMNS, Row
from harness.core.plan import Plan
from harness.core.verdict import CHECK, GATE, State, Verdict
from harness.store.run_folder import RunFolder

if TYPE_CHECKING:  # slow to import
    import pandas as pd


def passed_text(verdicts: Iterable[Verdict]) -> str:
    """Say how many of the verdicts that apply are PASS: ``3 of 4 gates, 20 of 20 checks``."""
    states: dict[str, list[State]] = {GATE: [], CHECK: []}
    for verdict in verdicts:
        if verdict.state is not State.NOT_APPLICABLE and verdict.counts:
            states[verdict.kind].append(verdict.state)
    return ", ".join(
        f"{sum(state is State.PASS for state in of_kind)} of {len(of_kind)} {kind}s"
        for kind, of_kind in states.items()
        if of_kind or kind == GATE
    )


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """What a run came to.

    Parameters
    ----------
    folder : RunFolder
    run : mapping
        ``run.json``.
    rows : tuple of Row
    verdicts : tuple of Verdict
    state : State
    exit_code : ExitCode
        What ``harness validate`` ends with.
    plan : Plan
    missing : int
        Jobs of the plan without a result.
    notes : tuple of str
    """

    folder: RunFolder
    run: Mapping[str, Any]
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    state: State
    exit_code: ExitCode
    plan: Plan
    missing: int
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a DataFrame with the columns of ``measurements.csv``."""
        import pandas as pd

        return pd.DataFrame([row.to_record() for row in self.rows], columns=list(COLUMNS))

    @property
    def gates(self) -> str:
        """How many of the gates and checks that apply passed: ``3 of 4 gates, 20 of 20 checks``."""
        return passed_text(self.verdicts)

    def __repr__(self) -> str:
        return (
            f"<Outcome {self.state.value}: {self.gates}, {len(self.rows)} rows, "
            f"exit code {int(self.exit_code)}, {self.folder.path}>"
        )

    def _repr_html_(self) -> str:
        """The verdicts as a table, for a notebook."""
        head = "".join(f"<th>{name}</th>" for name in ("gate", "target", "variant", "state", "sentence"))
        lines = [
            "".join(
                f"<td>{escape(text)}</td>"
                for text in (v.gate, v.target, v.variant, v.state.value, v.sentence)
            )
            for v in sorted(self.verdicts, key=lambda verdict: verdict.state.rank)
        ]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        title = f"<p><b>{self.state.value}</b> {self.gates}, {escape(str(self.folder.path))}</p>"
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
