"""What the suites propose for a new model: gates that the schema takes, on metrics that the suite makes."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from harness import tasks
from harness.config.gates import GateTable
from harness.core.suite import ProposalContext
from suites.accuracy.summarise import AccuracySuite
from suites.performance.summarise import PerformanceSuite
from suites.reliability.summarise import ReliabilitySuite

SUITES = {"accuracy": AccuracySuite, "performance": PerformanceSuite, "reliability": ReliabilitySuite}
CONTEXTS = [
    ProposalContext(task, labelled, quantizes, True, samples, 60, 64, 0.1)
    for task in tasks.names()
    for labelled in (True, False)
    for quantizes in (True, False)
    for samples in (20, 400)
]


@pytest.mark.parametrize("name", SUITES)
def test_a_proposed_gate_is_valid_and_its_metric_is_made(name: str) -> None:
    suite = SUITES[name]()
    for context in CONTEXTS:
        for gate in suite.propose(context):
            # The file is TOML, whose arrays the loader makes tuples.
            values = {
                key: tuple(value) if isinstance(value, list) else value for key, value in gate.table.items()
            }
            table = GateTable.model_validate({"name": gate.name, "suite": name, **values})
            assert any(fnmatchcase(metric, table.metric) for metric in suite.metrics), gate


def test_reliability_asks_for_what_holds_everywhere() -> None:
    gates = {gate.name: dict(gate.table) for gate in ReliabilitySuite().propose(CONTEXTS[0])}
    assert gates == {
        "deterministic": {"metric": "deterministic_*", "min": 1},
        "provider as asked": {"metric": "provider_as_asked", "min": 1},
        "precision as asked": {"metric": "precision_as_asked", "min": 1},
    }


def test_a_limit_on_the_latency_is_left_to_the_user() -> None:
    (gate,) = PerformanceSuite().propose(CONTEXTS[0])
    assert (gate.name, gate.commented) == ("latency p99", True)
    assert gate.table == {"metric": "latency_p99", "max": "10 ms"}
    assert "set a limit" in gate.why
