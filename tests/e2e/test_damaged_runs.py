"""A value of another type in a file of a run: an error of the harness names the file, whoever reads it."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness.compare import history, pairs, query, sides
from harness.core.errors import HarnessError
from harness.report.html import page
from harness.report.html import read as report
from harness.report.progress import Quiet
from harness.run import selection, stages
from harness.store.run_folder import RunFolder
from tests.e2e.shell import Forge, Shell

FILES = ("run.json", "plan.json", "cards.json")
#: In place of any value; `DELETED` takes its key or position away.
DELETED = object()
#: A reader takes a part of a second: a failing example is shown as it is, not shrunk.
QUICK = {
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
OTHERS = (None, True, 7, -1, 1.5, "text", [], {}, [None], {"a": {}}, DELETED)


class Prepared(Exception):
    """The stored configuration was read: what is behind it reads no file of the run."""


@pytest.fixture(scope="module")
def measured(tiny: Path, forge: Forge, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one run."""
    shell = Shell(forge, tmp_path_factory.mktemp("measured"), cache)
    ended = shell("validate", "--model", tiny, "--suite", "accuracy")
    assert ended.code == 0, ended.err
    return shell.results


@pytest.fixture(autouse=True)
def index_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The index of a query lies in the cache."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def readers(run: Path) -> dict[str, Callable[[], object]]:
    folder, results = RunFolder(run), run.parent

    def compare() -> None:
        side = sides.read(str(run), results)
        pairs.between([side, side], results)

    return {
        "judge": lambda: stages.finish(folder),
        "compare": compare,
        "report": lambda: page.report(report.read([str(run)], results)),
        "history": lambda: history.history(results, history.HistoryFilter()),
        "query": lambda: query.query("SELECT count(*) FROM cards", results),
        "resume": lambda: stages.resume(folder, Quiet()),
    }


@pytest.fixture
def run(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run; resuming it ends when its configuration was read."""

    def prepare(request: Any, observer: object, stored: Any) -> None:
        selection.select(request, stored)
        raise Prepared

    monkeypatch.setattr(stages, "prepare", prepare)
    results = tmp_path / "results"
    shutil.copytree(measured, results, symlinks=True)
    return (results / "latest").resolve()


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value; of an array, its first two elements stand for all."""
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from places(inner, (*place, index))


def with_other(value: Any, place: tuple[Any, ...], other: object) -> Any:
    """The same JSON with another value at that place."""
    if not place:
        return None if other is DELETED else other
    changed = json.loads(json.dumps(value))
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    if other is DELETED:
        del parent[place[-1]]
    else:
        parent[place[-1]] = other
    return changed


def check(run: Path, name: str, place: tuple[Any, ...], other: object) -> None:
    """Every reader reads the run, or raises an error of the harness."""
    path = run / name
    original = path.read_text()
    path.write_text(json.dumps(with_other(json.loads(original), place, other)))
    try:
        for reader, read in readers(run).items():
            try:
                read()
            except (HarnessError, Prepared):
                continue
            except Exception as error:
                raise AssertionError(f"{reader}: {name} with {other!r} at {place}") from error
    finally:
        path.write_text(original)


@settings(max_examples=10, **QUICK)  # the next test has every value
@given(data=st.data())
def test_any_value_of_another_type(run: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    where = list(places(json.loads((run / name).read_text())))
    check(run, name, data.draw(st.sampled_from(where)), data.draw(st.sampled_from(OTHERS)))


@pytest.mark.full
@pytest.mark.parametrize("name", FILES)
def test_every_value_of_every_other_type(run: Path, name: str) -> None:
    for place in list(places(json.loads((run / name).read_text()))):
        for other in OTHERS:
            check(run, name, place, other)


@settings(max_examples=8, **QUICK)
@given(data=st.data())
def test_a_cell_of_another_type(run: Path, data: st.DataObject) -> None:
    check_cell(run, data)


@pytest.mark.full
@settings(max_examples=60, **QUICK)
@given(data=st.data())
def test_many_cells_of_another_type(run: Path, data: st.DataObject) -> None:
    check_cell(run, data)


def check_cell(run: Path, data: st.DataObject) -> None:
    """Of the tables, which ``judge`` writes anew and the others read."""
    path = run / data.draw(st.sampled_from(["verdicts.csv", "measurements.csv"]))
    original = path.read_text()
    rows = list(csv.reader(original.splitlines()))
    row = rows[data.draw(st.integers(0, len(rows) - 1))]
    row[data.draw(st.integers(0, len(row) - 1))] = data.draw(
        st.sampled_from(["", "text", "-1", "1.5", "1e999", "nan", "True", "2031-01-01", "[]", "9" * 30])
    )
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    others = readers(run)
    table = str(run / "measurements.csv")
    compare = lambda: pairs.compare(str(run), [table], run.parent)  # noqa: E731
    try:
        for read in (others["history"], others["query"], compare):
            with contextlib.suppress(HarnessError):
                read()
    finally:
        path.write_text(original)
