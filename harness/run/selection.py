"""The second step of a run: a request → its configuration, with every name in it checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.load import check, load_validation, validation_file
from harness.config.targets import TargetTable, load_targets
from harness.config.validation import FLOAT32, Validation
from harness.core.errors import UsageError
from harness.core.suite import Suite
from harness.core.target import Target
from harness.device import plugins
from harness.executors.abilities import abilities_of
from harness.run import name_checks
from harness.run.request import Request


@dataclass(frozen=True, slots=True)
class Selection:
    """The configuration of a run.

    Parameters
    ----------
    validation : Validation
    file : Path
        Its ``validation.toml``; relative paths start in the folder of this file.
    targets : tuple of Target
    suites : mapping of name to Suite
    variants : tuple of str
        What the targets run.
    """

    validation: Validation
    file: Path
    targets: tuple[Target, ...]
    suites: Mapping[str, Suite]
    variants: tuple[str, ...]

    @property
    def built_variants(self) -> tuple[str, ...]:
        """Every variant to build: float32 first, which the others are compared with, selected or not."""
        return tuple(dict.fromkeys((FLOAT32, *self.variants)))

    @property
    def emulated(self) -> tuple[str, ...]:
        """Names of the targets that are emulated."""
        return tuple(target.name for target in self.targets if abilities_of(target).emulated)


def select(request: Request, stored: Mapping[str, Any] | None = None) -> Selection:
    """Load the configuration of a request and check every name in it.

    Parameters
    ----------
    request : Request
    stored : mapping, optional
        ``run.json`` of an interrupted run: its configuration is used instead of the files.

    Raises
    ------
    HarnessError
        A file is invalid, a name does not exist, or a baseline was edited.
    """
    if stored is None:
        file = validation_file(request.model).resolve()
        validation, _ = load_validation(request.model)
        name_checks.check_validation(validation, validation_file(request.model))
        targets = load_targets(request.targets, request.hosts)
    else:
        file = Path(stored["validation_path"])
        validation = check(stored["validation"], Validation, where=str(file))
        targets = tuple(
            check(table, TargetTable, where=name).to_target(name) for name, table in stored["targets"].items()
        )
    suites = load_suites(
        request.suites or tuple(validation.suites) or tuple(plugins.catalogue(plugins.SUITES))
    )
    name_checks.check_executors(targets)
    variants = variant_names(validation, request.variants)
    if request.release:
        _check_whole(validation, targets, suites, variants)
    name_checks.check_targets(targets)
    if any(gate.baseline for gate in validation.gates):
        from harness.gates import baselines  # imports pandas, which takes a second

        # An edited baseline is refused now rather than after hours of measuring.
        target_names = [target.name for target in targets]
        baselines.for_gates(validation.gates, target_names, validation.model.name, request.results)
    return Selection(validation, file, targets, suites, variants)


def _check_whole(
    validation: Validation, targets: Sequence[Target], suites: Collection[str], variants: Collection[str]
) -> None:
    """Refuse to sign what is not measured whole: a suite, a default variant, or a target that a gate names.

    Raises
    ------
    UsageError
    """
    default = variant_names(validation, ())
    names = {name for target in targets for name in (target.name, target.name.removesuffix("-emulated"))}
    named = {
        pattern for gate in validation.gates for pattern in gate.targets if not set(pattern) & set("*?[")
    }
    left_out = [f"the suite {name}" for name in validation.suites if name not in suites]
    left_out += [f"the variant {name}" for name in default if name not in variants]
    left_out += [f"the target {name}" for name in sorted(named) if name not in names]
    if left_out:
        raise UsageError(
            f"a release is signed for a whole run, and this one leaves out {', '.join(left_out)}",
            where="--release",
            next_step="select them, too; or measure a part without --release",
        )


def load_suites(names: Sequence[str]) -> dict[str, Suite]:
    """Load suites by name.

    Raises
    ------
    UsageError
        A name is unknown; the message has the nearest one.
    """
    return {name: plugins.choose(plugins.SUITES, name)() for name in names}


def variant_names(validation: Validation, selected: Sequence[str]) -> tuple[str, ...]:
    """Names of the selected variants, float32 first.

    Parameters
    ----------
    validation : Validation
    selected : sequence of str
        Names, or ``all``; empty for those without ``default = false``.

    Raises
    ------
    UsageError
        A name is unknown; the message has the nearest one.
    """
    variants = validation.variant_names
    for name in selected:
        if name not in (*variants, "all"):
            raise plugins.unknown("variant", name, variants)
    if "all" in selected:
        return variants
    if not selected:
        optional = {name for name, table in validation.variants.items() if not table.default}
        return tuple(name for name in variants if name not in optional)
    return tuple(name for name in variants if name in selected)
