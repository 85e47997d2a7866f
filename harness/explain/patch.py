"""A remedy as lines of the user's own TOML file, and how they are written into it."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from harness.config.folders import INSTALLED, shipped_folder
from harness.config.load import check, load_validation, read_toml
from harness.config.targets import TargetTable, target_files
from harness.config.validation import Validation
from harness.core.errors import HarnessError, UsageError
from harness.core.plan import HOST
from harness.explain.recipes.toml import as_toml
from harness.explain.scene import Remedy
from harness.explain.search.explanation import Explanation
from harness.store.cache import write_atomically, writing

_LINE = re.compile(r"\[(?P<table>[^\]]+)\]\s+(?P<keys>.+)", re.DOTALL)
#: Tables of a target's file; the others are those of a ``validation.toml``.
OF_TARGETS = frozenset({"deploy", "executor"})
#: How git ends where it does not track a file; where there is no repository, it ends otherwise.
NOT_TRACKED = 1
#: What of a target has to be as it was in the run.
COMPARED = ("backends", "deploy", "for_runtime")


@dataclass(frozen=True, slots=True)
class Patch:
    """Keys to set in a file.

    Parameters
    ----------
    file : Path
    keys : mapping
        As TOML gives them: tables of tables.
    schema : type
        What the changed file has to be.
    """

    file: Path
    keys: Mapping[str, Any]
    schema: type[TargetTable] | type[Validation]

    def apply(self) -> str:
        """Set the keys, and leave comments and all else as they are; the difference, as ``diff -u`` shows it.

        Raises
        ------
        HarnessError
            The file is not the user's own, would be invalid, or was changed meanwhile.
        """
        _check_own(self.file)
        with writing(self.file):
            before = self.file.read_bytes()
        document = tomlkit.parse(before.decode())
        _merge(document, self.keys)
        after = tomlkit.dumps(document)
        check(tomllib.loads(after), self.schema, where=str(self.file))
        diff = difflib.unified_diff(
            before.decode().splitlines(keepends=True), after.splitlines(keepends=True),
            str(self.file), f"{self.file} (changed)",
        )  # fmt: skip
        with writing(self.file):
            mode = self.file.stat().st_mode
            if self.file.read_bytes() != before:
                raise HarnessError("the file was changed meanwhile", where=str(self.file))
            write_atomically(self.file.resolve(), after.encode())
            self.file.chmod(mode)
        return "".join(diff)


def keys_of(line: str) -> dict[str, Any] | None:
    """What the line of a remedy sets, ``[deploy] precision = "f32"``; None where it is words."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    try:
        return tomllib.loads(f"[{match['table']}]\n{match['keys']}")
    except tomllib.TOMLDecodeError:
        return None


def of_remedies(
    explanations: Sequence[Explanation], run: Mapping[str, Any] | None, validation: Path | None
) -> Iterator[Patch]:
    """Patches of the remedies that were run, each once.

    Parameters
    ----------
    explanations : sequence of Explanation
    run : mapping, optional
        ``run.json``: what is changed has to be as it was in the run.
    validation : Path, optional
        The ``validation.toml``, where a remedy can change it.

    Raises
    ------
    HarnessError
        A file was changed since the run, or a target has no file.
    """
    done: list[Patch] = []
    for explanation in explanations:
        sides = {side.label: side for side in (explanation.scene.reference, explanation.scene.other)}
        for finding in explanation.confirmed:
            remedy = finding.remedy
            if remedy is None or not remedy.was_run or remedy.side not in sides:
                continue
            patch = _patch(remedy, sides[remedy.side].target, run, validation)
            if patch is not None and patch not in done:
                done.append(patch)
                yield patch


def _patch(
    remedy: Remedy, target: str, run: Mapping[str, Any] | None, validation: Path | None
) -> Patch | None:
    keys = keys_of(remedy.line)
    if keys is None or target == HOST:
        return None
    if keys.keys() <= OF_TARGETS:
        if target not in target_files():
            return None  # pins another version than the file
        _check_target(target, run)
        return Patch(target_files()[target], keys, TargetTable)
    if validation is None:
        return None
    if run is not None:
        now, _ = load_validation(validation)
        if now != check(run["validation"], Validation, where="run.json"):
            raise _changed(validation)
    return Patch(validation, keys, Validation)


def _check_target(target: str, run: Mapping[str, Any] | None) -> None:
    file = target_files()[target]
    if run is not None:
        now = read_toml(file, TargetTable).to_target(target).to_json()
        then = check(run["targets"][target], TargetTable, where=target).to_target(target).to_json()
        if any(now[key] != then[key] for key in COMPARED):
            raise _changed(file)


def _changed(file: Path) -> HarnessError:
    return HarnessError(
        "the file was changed since the run, and the remedy was measured with what it held then",
        where=str(file), next_step="harness validate, then harness explain latest --apply",
    )  # fmt: skip


def is_shipped(file: Path) -> bool:
    """Whether a file belongs to the harness; in a checkout, what git does not track is the user's."""
    folders = [shipped_folder(name).resolve() for name in ("targets", "models")]
    within = [folder for folder in folders if file.resolve().is_relative_to(folder)]
    if not within or within[0].parent.name == INSTALLED:
        return bool(within)
    command = ["git", "-C", str(file.resolve().parent), "ls-files", "--error-unmatch", "--", file.name]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode != NOT_TRACKED
    except OSError:  # there is no git
        return True


def _check_own(file: Path) -> None:
    if is_shipped(file):
        into = "targets/" if file.parent.name == "targets" else "a folder of your own"
        raise UsageError(
            "the file belongs to the harness, and only files of your own are changed", where=str(file),
            next_step=f"copy it to {into}, and run again",
        )  # fmt: skip
    if file.stat().st_uid != os.getuid() or not os.access(file, os.W_OK):
        raise UsageError("the file belongs to another user, or cannot be written", where=str(file))


def _merge(table: Any, keys: Mapping[str, Any]) -> None:  # noqa: ANN401 - tomlkit's containers
    for key, value in keys.items():
        if isinstance(value, Mapping) and key in table:
            _merge(table[key], value)
        elif isinstance(value, Mapping):
            table[key] = tomlkit.table()
            _merge(table[key], value)
        elif _are_steps(table.get(key), value):
            for step, new in zip(table[key], value, strict=True):
                for gone in set(step) - set(new):
                    del step[gone]
                _merge(step, new)
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            table[key] = tomlkit.parse(f"value = {as_toml(value)}")["value"]
        else:
            table[key] = value


def _are_steps(before: object, after: object) -> bool:
    """Whether both are recipes of the same passes: each step is changed where it stands."""
    passes = [
        [step.get("pass") if isinstance(step, Mapping) else None for step in steps]
        for steps in (before, after)
        if isinstance(steps, list)
    ]
    return len(passes) == 2 and passes[0] == passes[1] and None not in passes[0]
