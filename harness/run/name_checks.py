"""Checks that the schema of a configuration cannot make: names of plug-ins, variants and families."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from harness.compression.export.kinds import RUNTIMES
from harness.config.schema import DataTable
from harness.config.targets import target_files
from harness.config.validation import Validation
from harness.core.errors import ConfigurationError, Problem
from harness.core.metric import Declared, Metric
from harness.core.plan import CARD
from harness.core.target import Target
from harness.core.verdict import Gate
from harness.data import shifted
from harness.data.shifts import catalogue
from harness.device import plugins
from harness.gates import waivers
from harness.run import card_rows, checks, declared


def check_validation(validation: Validation, where: Path) -> None:
    """Check every name, the suites' own tables, and that no waiver has expired today.

    Raises
    ------
    ConfigurationError
        With every problem.
    """
    problems = [
        *validation.inconsistencies(),
        *_suite_tables(validation),
        *_gates(validation),
        *_recipes(validation),
        *_families(validation),
        *_waivers(validation),
        *_checks(validation),
    ]
    if problems:
        raise ConfigurationError(str(where), tuple(problems))


def check_targets(targets: Iterable[Target]) -> None:
    """Check that every backend, executor and runtime that a target names is known.

    Raises
    ------
    UsageError
        A name is unknown; the message has the nearest one.
    """
    for target in targets:
        for backend in target.backends:
            plugins.find(plugins.BACKENDS, backend, where=f"target {target.name}")
        if target.for_runtime not in RUNTIMES:
            raise plugins.unknown(
                "runtime", target.for_runtime, RUNTIMES, where=f"target {target.name}, for_runtime"
            )
        plugins.find(plugins.EXECUTORS, target.executor["kind"], where=f"target {target.name}")


def _suite_tables(validation: Validation) -> Iterable[Problem]:
    suites = plugins.catalogue(plugins.SUITES)
    for name, settings in validation.suites.items():
        if name not in suites:
            yield _unknown(f"suites.{name}", "suite", name, suites)
        else:
            suite = suites[name].load()()
            yield from (Problem(f"suites.{name}.{key}", text) for key, text in suite.check(settings))


def _gates(validation: Validation) -> Iterable[Problem]:
    suites = plugins.catalogue(plugins.SUITES)
    variants = validation.variant_names
    metrics: dict[str, Mapping[str, Metric]] = {CARD: card_rows.METRICS}
    for index, gate in enumerate(validation.gates):
        path = f"gate[{index}]" if index < len(validation.gate) else "gates"
        if gate.suite not in (*suites, CARD):
            yield _unknown(f"{path}.suite", "suite", gate.suite, (*suites, CARD), gate.name)
        else:
            if gate.suite not in metrics:
                metrics[gate.suite] = declared.of_suite(gate.suite, suites[gate.suite].load()())
            yield from _metric(gate, path, metrics[gate.suite])
            yield from _by_group(gate, path, metrics[gate.suite], validation.data)
        for pattern in gate.variants:
            if not any(fnmatchcase(variant, pattern) for variant in variants):
                yield _unknown(f"{path}.variant", "variant", pattern, variants, gate.name)


def _metric(gate: Gate, path: str, metrics: Mapping[str, Metric]) -> Iterable[Problem]:
    """Check that the suite makes such a metric, and that the limit is one of that quantity."""
    # Either may be a pattern: the gate's of several metrics, the suite's of a family.
    units = {
        metric.unit
        for name, metric in metrics.items()
        if fnmatchcase(name, gate.metric) or fnmatchcase(gate.metric, name)
    }
    if not units:
        yield _unknown(f"{path}.metric", f"metric of {gate.suite}", gate.metric, metrics, gate.name)
        return
    if gate.design:
        yield from _timed(gate, path, metrics)
    for named in {gate.maximum_unit, gate.minimum_unit} - {"", *units}:
        text = f"{gate.metric} is measured in {' or '.join(sorted(units))}, and its limit is given in {named}"
        yield Problem(path, text, gate.name)


def _by_group(gate: Gate, path: str, metrics: Mapping[str, Metric], data: DataTable) -> Iterable[Problem]:
    """Check that not all metrics of a gate need a column of the data that is not named."""
    needs = [metric.needs for name, metric in metrics.items() if fnmatchcase(name, gate.metric)]
    if needs and all(key is not None and getattr(data, key) is None for key in needs):
        text = f"{gate.metric} is by {needs[0]}: name the column with [data] {needs[0]}"
        yield Problem(f"{path}.metric", text, gate.name)


def _timed(gate: Gate, path: str, metrics: Mapping[str, Metric]) -> Iterable[Problem]:
    """Check that the metric of a gate can be timed side by side, and that the gate leaves the case to it."""
    able = {timed.name: timed for timed in Declared({gate.suite: metrics}).timed()}
    if gate.metric not in able:
        text = f"{gate.metric} of the suite {gate.suite} cannot be timed side by side"
        yield Problem(f"{path}.metric", f"{text}; it has {', '.join(able) or 'no such metric'}", gate.name)
    elif gate.cases not in (("*",), (able[gate.metric].case,)):
        text = f"side by side, {able[gate.metric].case} is timed alone: leave case out"
        yield Problem(f"{path}.case", text, gate.name)


def _recipes(validation: Validation) -> Iterable[Problem]:
    passes = plugins.catalogue(plugins.PASSES)
    for name, variant in validation.variants.items():
        for index, step in enumerate(variant.recipe):
            if step["pass"] not in passes:
                yield _unknown(f"variants.{name}.recipe[{index}].pass", "pass", step["pass"], passes)


def _families(validation: Validation) -> Iterable[Problem]:
    named = validation.shifts.families
    if validation.shifts.kind == "none" or not set(named) - set(catalogue.names()):
        return  # a family for other data than these is a SKIPPED row
    families = tuple(
        dict.fromkeys(name for kind in shifted.kinds(validation.shifts) for name in catalogue.of_kind(kind))
    )
    for index, family in enumerate(named):
        if family not in catalogue.names():
            yield _unknown(f"shifts.families[{index}]", "family", family, families)


def _waivers(validation: Validation) -> Iterable[Problem]:
    files = target_files()
    targets = [*files, *(f"{name}-emulated" for name in files)]
    today = datetime.now(UTC).date()
    problems = waivers.problems(
        validation.waivers, validation.gates, targets, validation.variant_names, today
    )
    return [Problem(f"waiver[{index}]", message) for index, message in problems]


def _checks(validation: Validation) -> Iterable[Problem]:
    installed = checks.installed(plugins.catalogue(plugins.SUITES))
    for name in validation.checks.relax:
        if name not in installed:
            yield _unknown(f"checks.relax.{name}", "check", name, installed)
    for index, gate in enumerate(validation.gates):
        if gate.name in installed:
            yield Problem(f"gate[{index}].name", "is the name of a built-in check; choose another", gate.name)


def _unknown(
    path: str, what: str, name: str, names: Mapping[str, object] | tuple[str, ...], gate: str = ""
) -> Problem:
    error = plugins.unknown(what, name, names)
    return Problem(path, f"{error.what} ({error.cause})", gate)


def check_executors(targets: Iterable[Target]) -> None:
    """Check that there is an executor of every kind that the targets name.

    Raises
    ------
    UsageError
        A kind is unknown; the message has the nearest one.
    """
    executors = plugins.catalogue(plugins.EXECUTORS)
    for target in targets:
        kind = str(target.executor.get("kind", ""))
        if kind not in executors:
            raise plugins.unknown("executor", kind, executors, where=f"target {target.name}, executor.kind")
