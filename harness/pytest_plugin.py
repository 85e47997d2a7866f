"""The pytest plug-in: one item for each gate and variant; the verdict's sentence is the failure's text.

This module is loaded into every pytest run of the environment, so it imports the standard library (and
pytest, which is there already) only; the harness comes in when an item of ours is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from harness.core.contracts import Session
    from harness.core.target import Target
    from harness.deployed import Deployed
    from harness.pytest_items import StoredRun
    from harness.run.outcome import Outcome
    from harness.run.request import Request

MARK = "harness_suite"
#: Of a verdict; NaN where there is nothing to say.
FIGURES = ("value", "ci_low", "ci_high", "limit", "unit", "n", "waived")


@dataclass(frozen=True)
class GateItem:
    """What one item asks."""

    gate: str
    target: str
    backend: str
    variant: str
    kind: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the long options; ``suites/conftest.py`` adds the short ones."""
    group = parser.getgroup("harness", "deployment validation harness")
    for name, help_text in OPTIONS.items():
        group.addoption(f"--harness-{name}", dest=f"harness_{name}", default=None, help=help_text)


OPTIONS = {
    "target": "targets to validate, by name (default: cpu)",
    "host": "boards of the targets that are reached over ssh",
    "model": "a folder or a validation.toml (default: the bundled digits)",
    "variant": "variants, or all of them (default: those not set aside)",
    "results": "where the run is kept (default: results)",
    "budget": "end within this time: 90s, 3m, 1h; fewer shifts and samples",
    "profile": "quick (default), standard or soak",
    "duration": "how long each target is called with the profile soak",
    "run": "judge a stored run instead of measuring: id, prefix, folder or latest",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", f"{MARK}(name): a gate of that suite of the harness")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item a gate, target and variant of every test that asks for ``harness_gate``."""
    if "harness_gate" not in metafunc.fixturenames:
        return
    from harness import pytest_items
    from harness.core.errors import HarnessError

    suite = metafunc.module.SUITE
    try:
        items = pytest_items.items(_request(metafunc.config), suite, _stored(metafunc.config))
    except HarnessError as error:
        raise pytest.UsageError(f"harness: {error}") from error
    metafunc.parametrize(
        "harness_gate",
        [
            pytest.param(GateItem(*item[1:]), id=item[0], marks=getattr(pytest.mark, MARK)(suite))
            for item in items
        ],
        indirect=True,
    )


@pytest.fixture(scope="session")
def harness_outcome(request: pytest.FixtureRequest) -> Outcome:
    """The run: measured once a session, for the suites that have an item in it."""
    from harness import pytest_items
    from harness.core.errors import HarnessError

    marks = (mark for item in request.session.items for mark in item.iter_markers(MARK))
    suites = tuple(dict.fromkeys(str(mark.args[0]) for mark in marks))
    if any("measurements" in getattr(item, "fixturenames", ()) for item in request.session.items):
        suites = ()  # a test of the user's own looks at whatever it likes
    try:
        worker = getattr(request.config, "workerinput", {})  # of pytest-xdist
        session = worker.get("testrunuid", "")
        return pytest_items.outcome(_request(request.config), suites, _stored(request.config), session)
    except HarnessError as error:
        pytest.fail(f"harness: {error}", pytrace=False)


@pytest.fixture
def harness_gate(
    request: pytest.FixtureRequest,
    harness_outcome: Outcome,
) -> Callable[[], None]:
    """A call that passes, fails, skips or xfails as the gate's verdict says.

    What was measured goes into the JUnit file as properties of the item. They are added to the item itself:
    the fixture ``record_property`` warns under pytest's default JUnit format, and a project that turns
    warnings into errors would lose every item.
    """
    item: GateItem = request.param
    properties = request.node.user_properties

    from harness import pytest_items

    def judge() -> None:
        key = (item.gate, item.target, item.backend, item.variant)
        verdict = next(
            (v for v in harness_outcome.verdicts if (v.gate, v.target, v.backend, v.variant) == key), None
        )
        if verdict is None and item.kind == "check":
            pytest.skip(f"the check {item.gate} does not apply to {item.variant} on {item.target}")
        if verdict is None:
            pytest.fail(
                f"{item.gate}: the run has no verdict for {item.variant} on {item.target}", pytrace=False
            )
        for name in ("target", "backend", "variant", "metric", *FIGURES):
            properties.append((name, getattr(verdict, name)))
        properties.append(("state", verdict.state.value))
        text = f"{verdict.state.value} {verdict.gate}: {verdict.sentence}"
        if verdict.blocks:
            lines = pytest_items.explained(harness_outcome, verdict)
            properties.extend((label.lower(), line) for label, line in lines)
            pytest.fail("\n".join([text, *(f"{label}: {line}" for label, line in lines)]), pytrace=False)
        elif verdict.waived:
            pytest.xfail(f"{text} (waived {verdict.waived})")
        elif verdict.state.value == "NOT_APPLICABLE":
            pytest.skip(text)
        elif verdict.state.value != "PASS":
            pytest.xfail(text)  # it only warns

    return judge


@pytest.fixture(scope="session")
def measurements(harness_outcome: Outcome) -> pd.DataFrame:
    """The table of the run, as in ``measurements.csv``: measured once a session, or the stored run's."""
    from harness.store import tables

    return tables.read(harness_outcome.folder.path / "measurements.csv")


@pytest.fixture(scope="session")
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """What the first target would run: its artifacts by variant, and ``open(variant)``."""
    from harness.core.errors import HarnessError
    from harness.deployed import deploy

    try:
        return deploy(_request(request.config))
    except HarnessError as error:
        pytest.fail(f"harness: {error}", pytrace=False)


@pytest.fixture(scope="session")
def target(deployed: Deployed) -> Target:
    """The first target that was chosen."""
    return deployed.target


@pytest.fixture
def session(deployed: Deployed) -> Iterator[Session]:
    """The first chosen variant, open as it ships; closed after the test."""
    with deployed.open(next(iter(deployed.artifacts))) as opened:
        yield opened


def _request(config: pytest.Config) -> Request:
    from harness.run.request import Request

    chosen = {name: config.getoption(f"harness_{name}") or "" for name in OPTIONS if name != "run"}
    return Request.parse(**chosen)  # type: ignore[arg-type]  # the flag is none of them


def _stored(config: pytest.Config) -> StoredRun | None:
    from harness.pytest_items import StoredRun

    name = config.getoption("harness_run")
    if not name:
        return None
    targets, variants = (
        tuple(filter(None, (config.getoption(f"harness_{option}") or "").split(",")))
        for option in ("target", "variant")
    )
    return StoredRun(name, targets, variants)
