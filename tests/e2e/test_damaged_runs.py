"""A value of another type in a file of a run: an error of the harness names the file, whoever reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
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


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
