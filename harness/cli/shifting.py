"""``harness shift``: the families of shifts, and sets of them as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import command
from harness.cli.output import tell


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command."""
    shift = command(commands, "shift", "list the families of shifts, or build shifted sets as files")
    actions = shift.add_subparsers(title="actions", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="the families, and what each stands for")
    listed.add_argument("--kind", metavar="KIND", default="", help="image, series, table or audio alone")
    listed.set_defaults(command="shift", action="list")
    build = actions.add_parser("build", help="make the shifted sets of a model's data, pinned by hash")
    build.add_argument("--model", metavar="M", type=Path, required=True, help="a folder or a validation.toml")
    build.add_argument("--out", metavar="DIR", type=Path, required=True,
                       help="where to write; [shifts] sets reads it")  # fmt: skip
    build.add_argument(
        "--families", metavar="F,…", default="", help="families by name (default: all that apply)"
    )
    build.add_argument("--workers", metavar="N", type=int, default=0,
                       help="processes (default: one on each core, where the work is worth it)")  # fmt: skip
    build.set_defaults(command="shift", action="build")


def shift(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return _list(arguments.kind) if arguments.action == "list" else _build(arguments)


def _list(kind: str) -> int:
    from harness.core.columns import aligned
    from harness.core.errors import UsageError
    from harness.data.shifts import catalogue
    from harness.data.shifts.family import Kind

    names = [str(one) for one in Kind]
    if kind and kind not in names:
        next_step = f"use {', '.join(names)}"
        raise UsageError(f"there is no kind of data {kind!r}", where="--kind", next_step=next_step)
    lines = [("family", "data", "stands for")]
    for family in catalogue.families():
        if not kind or kind in family.kinds:
            name = f"{family.name} (mistake)" if family.mistake else family.name
            lines.append((name, ", ".join(family.kinds), family.stands_for))
    print("\n".join(aligned(lines)))
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from harness.config.folders import cache_folder
    from harness.config.load import load_validation, validation_file
    from harness.data.shift_export import export
    from harness.store.cache import Cache

    validation, _ = load_validation(arguments.model)
    folder = validation_file(arguments.model).resolve().parent
    families = tuple(filter(None, arguments.families.split(",")))
    made = export(
        validation, folder, arguments.out, Cache(cache_folder()), families, tell, arguments.workers
    )  # fmt: skip
    for path, sha256 in made.sha256.items():
        print(f"{sha256}  {path}")
    for reason in dict.fromkeys(made.skipped.values()):
        print(f"not made: {reason}")
    return 0
