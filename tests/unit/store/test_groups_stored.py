"""The groups of samples are kept with a run, so that it can be judged again and resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import ResultsError
from harness.core.groups import Groups
from harness.core.plan import Plan
from harness.store.run_folder import RunFolder
from tests.stored_run import RUN

SITES = Groups("site", ("Süd", "Nord"), np.array([1, 0, 0]))
DAYS = Groups("day", ("1..2", "3"), np.array([0, 1, 0]), is_time=True)


def test_groups_are_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(RUN, Plan(()), None, groups=(SITES, DAYS))
    sites, days = folder.facts().groups
    assert (sites.column, sites.names, days.is_time, days.case("clean", 0)) == (
        "site", ("Süd", "Nord"), True, "clean/day=1..2",
    )  # fmt: skip
    np.testing.assert_array_equal(sites.index, SITES.index)
    (folder.path / "groups.json").write_text("[{}]")
    with pytest.raises(ResultsError, match=r"groups\.json is damaged"):
        folder.facts()


def test_runs_without_groups_have_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(RUN, Plan(()), None)
    assert not (folder.path / "groups.json").exists()
    assert folder.facts().groups == ()
