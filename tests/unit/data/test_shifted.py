"""Which families and severities a run makes, and that sets are the same however they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config.schema import ShiftsTable
from harness.core.errors import UsageError
from harness.core.preprocess import Preprocess
from harness.core.profile import Profile
from harness.data import shifted
from harness.data.shifted import Shifted
from harness.data.shifts import catalogue, imagenet_c, parallel
from harness.data.shifts.family import Kind
from harness.store.cache import Cache

PIXELS = (np.arange(200 * 8 * 8 * 1) * 7 % 251).astype(np.uint8).reshape(200, 8, 8, 1)


def copies(folder: Path, table: ShiftsTable, raw: Any = PIXELS) -> dict[str, Shifted]:
    return {"x": Shifted(Cache(folder), raw, np.arange(len(raw)), table, raw[:9], Preprocess())}


def chosen(table: ShiftsTable, profile: Profile = Profile.QUICK, raw: Any = PIXELS) -> shifted.Cells:
    inputs = {name: copy.about for name, copy in copies(Path("unused"), table, raw).items()}
    return shifted.cells(table, inputs, profile)


def names(cells: shifted.Cells) -> list[tuple[str, int]]:
    return [(family.name, severity) for family, severity in cells.made]


def test_a_quick_run_makes_what_the_table_names_and_eight_families_without() -> None:
    assert names(chosen(ShiftsTable(kind="image", families=("fog",), severities=(1, 3)))) == [
        ("fog", 1), ("fog", 3),
    ]  # fmt: skip
    default = names(chosen(ShiftsTable(kind="image", severities=(2,))))
    assert default == [(name, 2) for name in catalogue.DEFAULTS[Kind.IMAGE]]


def test_standard_makes_every_family_that_applies_in_five_severities() -> None:
    table = ShiftsTable(kind="image", families=("fog",), severities=(1,))
    cells = chosen(table, Profile.STANDARD)
    shifts = [cell for cell in names(cells) if not catalogue.named(cell[0], Kind.IMAGE).mistake]
    made = {name for name, _ in shifts}
    assert made == {*catalogue.DEFAULTS[Kind.IMAGE], *(f.name for f in imagenet_c.LIBRARY_FAMILIES)} - {
        "saturate"
    }
    assert len(shifts) == 5 * len(made)
    assert "it changes colours" in cells.skipped["saturate"]


def test_a_family_for_other_data_is_skipped_with_the_reason() -> None:
    cells = chosen(ShiftsTable(kind="image", families=("gain", "fog"), severities=(1,)))
    assert names(cells) == [("fog", 1)]
    assert cells.skipped == {"gain": "gain changes series or table data, and these are image data"}


def test_a_missing_library_is_an_error_where_the_family_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    family = catalogue.named("snow", Kind.IMAGE)
    monkeypatch.setattr(imagenet_c, "_library", lambda: __import__("no_such_library"))
    reason = family.missing()
    with pytest.raises(UsageError, match="the shifts snow cannot be made: the library"):
        chosen(ShiftsTable(kind="image", families=("snow",)))
    assert chosen(ShiftsTable(kind="image"), Profile.STANDARD).skipped["snow"] == reason


def test_features_with_a_time_axis_are_a_series() -> None:
    table = ShiftsTable(kind="features")
    for raw, kind in ((PIXELS[:, 0, :, 0], Kind.TABLE), (PIXELS[..., 0], Kind.SERIES)):
        assert shifted.kind_of(table, raw) is kind
    assert shifted.kind_of(ShiftsTable(kind="series"), PIXELS[:, 0, :, 0]) is Kind.SERIES


def test_sets_are_the_same_in_processes_and_come_from_the_cache(tmp_path: Path) -> None:
    table = ShiftsTable(kind="image")
    cells = [(catalogue.named(name, Kind.IMAGE), 2) for name in ("shot_noise", "fog")]
    here = shifted.make(copies(tmp_path / "one", table), cells, workers=1)
    lines: list[str] = []
    there = shifted.make(copies(tmp_path / "two", table), cells, lines.append, workers=2)
    assert here == there
    assert here[0] != here[1]
    nothing = copies(tmp_path / "two", table)
    nothing["x"].work = None  # type: ignore[method-assign, assignment]
    assert shifted.make(nothing, cells) == here


def test_processes_start_for_slow_families_and_much_work_alone(tmp_path: Path) -> None:
    copy = copies(tmp_path, ShiftsTable(kind="image"))["x"]
    assert not parallel.starts_processes([copy.work(catalogue.named("fog", Kind.IMAGE), 1)])
    assert parallel.starts_processes([copy.work(catalogue.named("snow", Kind.IMAGE), 1)])
