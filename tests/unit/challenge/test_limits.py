"""What is judged on a target, and by which jobs."""

from __future__ import annotations

from harness.challenge.limits import key_of, limits
from harness.core.check import Check, CheckPlace
from harness.core.verdict import CHECK, GATE, Gate, State
from harness.device import planted, plugins
from harness.run import checks
from tests.unit.challenge.made import error, key, limit, row, verdict

GATES = (
    Gate("right", "answers", "right"),
    Gate("only int8", "answers", "lost", variants=("int8",)),
    Gate("elsewhere", "answers", "right", targets=("pi",)),
    Gate("beside", "speed", "typical", design="side-by-side"),
    Gate("not chosen", "tries", "same"),
)
CHECKS = {"same": Check(Gate("same", "answers", "right"), "why", "failure", ("offset",))}
PLACES = (
    CheckPlace("same", "cpu", "linear", "int8"),
    CheckPlace("same", "pi", "linear", "int8"),
    CheckPlace("gone", "cpu", "linear", "int8"),
)


def test_gates_and_checks_of_the_target_each_at_its_place() -> None:
    listed = limits(
        GATES, CHECKS, PLACES, ("float32", "int8"), ("answers", "speed"), "cpu", "linear", ["same"]
    )
    assert [(one.kind, one.gate.name, one.variant) for one in listed] == [
        (GATE, "right", "float32"),
        (GATE, "right", "int8"),
        (GATE, "only int8", "int8"),
        (CHECK, "same", "int8"),
    ]
    assert listed[-1].faults == ("offset",)
    assert listed[-1].relaxed
    assert not listed[0].relaxed


def test_every_fault_that_a_check_declares_is_in_the_catalogue() -> None:
    faults = planted.catalogue()
    installed = checks.installed(plugins.catalogue(plugins.SUITES))
    declared = {(check.name, name) for check in installed.values() for name in check.faults}
    assert declared
    assert not {(check, name) for check, name in declared if name not in faults}


def test_a_verdict_and_its_limit_have_one_key() -> None:
    one = limit("right", "answers", "right")
    assert key_of(verdict(one, State.PASS)) == one.key


def test_jobs_are_those_whose_rows_it_is_judged_by() -> None:
    rows = [
        row("right"),
        row("lost"),
        row("right", key(variant="float32")),
        row("right", key("tries", "same")),
        error("died", key(case="fog", severity=3)),
    ]
    assert limit("right", "answers", "right").jobs(rows) == {key()}
