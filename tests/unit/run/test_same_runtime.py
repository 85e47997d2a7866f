"""A target computes as the host does only where all that bits depend on is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, EnvironmentRecord, JobResult, Options, Status
from harness.core.plan import HOST, Plan
from harness.device.planted import asking
from harness.run import summarise
from harness.run.same_runtime import same_runtime
from harness.store.run_folder import Facts

FACTS = {
    "backend_version": "1.32.0", "arch": "x86_64", "isa": ["avx", "avx2"], "cpu_model": "Zen",
    "libc": "glibc 2", "device": "a", "load_1min": 1.0,
}  # fmt: skip
EFFECTIVE = {"provider": "P", "precision": "f32", "threads": "1"}


def batch(target: str, **more: Any) -> Batch:
    artifact = Artifact("float32", "onnx", (File("m", "1" * 64, 1),), Path())
    cases = tuple(Case("clean", setting=setting) for setting in ("parity", "deploy"))
    options = {"parity": Options(1, "f32"), "deploy": Options()}
    return replace(Batch(target, "ort", "float32", "s", artifact, options, {}, {}, cases), **more)


HERE, THERE = batch("cpu"), batch(HOST)


def result(of: Batch, index: int = 0, effective: dict[str, str] = EFFECTIVE) -> JobResult:
    return JobResult(of.jobs[index].key, Status.OK, effective=effective)


def same(here: Batch = HERE, facts: dict[str, Any] = FACTS, effective: dict[str, str] = EFFECTIVE) -> str:
    results = result(here, effective=effective), result(THERE)
    return same_runtime(here, THERE, results, (facts, {**FACTS, "device": "b", "load_1min": 9.0}))


def test_what_is_the_same_is_named() -> None:
    assert same() == "ort 1.32.0, CPU and settings are those of the host"


def test_the_option_that_plants_a_fault_is_no_setting() -> None:
    assert same(asking(HERE, "offset", 0.5))


OTHER_FILE = Artifact("float32", "onnx", (File("m", "2" * 64, 1),), Path())


@pytest.mark.parametrize(
    ("here", "facts", "effective"),
    [
        (batch("cpu", backend="ov"), FACTS, EFFECTIVE),
        (batch("cpu", artifact=OTHER_FILE), FACTS, EFFECTIVE),
        (batch("cpu", options={"parity": Options(1, "f32", extra={"arena": "0"})}), FACTS, EFFECTIVE),
        (HERE, {**FACTS, "backend_version": "1.31.0"}, EFFECTIVE),
        (HERE, {**FACTS, "cpu_model": "Haswell"}, EFFECTIVE),
        (HERE, {**FACTS, "isa": ["avx"]}, EFFECTIVE),
        (HERE, {**FACTS, "libc": "glibc 3"}, EFFECTIVE),
        (HERE, FACTS, {**EFFECTIVE, "threads": "2"}),
        (HERE, FACTS, {**EFFECTIVE, "provider": "Q"}),
    ],
    ids=["backend", "file", "settings", "version", "cpu", "isa", "libc", "threads", "provider"],
)
def test_anything_else_is_another_way_to_compute(
    here: Batch, facts: dict[str, Any], effective: dict[str, str]
) -> None:
    assert same(here, facts, effective) == ""


def test_two_machines_that_do_not_say_their_cpu_are_not_the_same() -> None:
    silent = {**FACTS, "cpu_model": {"na": "/proc/cpuinfo has none"}}
    assert same_runtime(HERE, THERE, (result(HERE), result(THERE)), (silent, silent)) == ""


@pytest.mark.parametrize(
    ("emulated", "setting", "is_same"), [([], 0, True), (["cpu"], 0, False), ([], 1, False)]
)
def test_only_parity_on_no_emulator_is_compared(emulated: list[str], setting: int, is_same: bool) -> None:
    results = {one.key: one for one in (result(HERE, setting), result(THERE, setting))}
    records = [EnvironmentRecord(t, "ort", "float32", "s", "before", FACTS) for t in ("cpu", HOST)]
    facts = Facts({"emulated": emulated}, Plan((THERE, HERE), ()), None, results, records)

    def in_common(facts: Facts) -> str:
        starts = summarise._starts(facts)
        return summarise._same_runtime(facts, HERE, THERE, result(HERE, setting), starts)

    assert bool(in_common(facts)) is is_same
    assert in_common(replace(facts, environments=records[:1])) == ""
