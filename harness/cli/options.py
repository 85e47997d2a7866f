"""Options that several commands have, and where an option takes its default from."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from harness.core.errors import UsageError

#: Options that select a run; without an option its environment variable counts, then the default.
SELECTION = {
    "target": "HARNESS_TARGET",
    "host": "HARNESS_HOST",
    "model": "HARNESS_MODEL",
    "variant": "",
    "suite": "",
    "budget": "HARNESS_BUDGET",
    "profile": "HARNESS_PROFILE",
    "duration": "HARNESS_DURATION",
}


def command(commands: Any, name: str, does: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Add a command; `does` is its line in the list of commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}."
    )
    return parser


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that select a run."""
    parser.add_argument("--target", metavar="T,…", help="targets, by name (default: cpu)")
    parser.add_argument("--host", metavar="USER@BOARD,…",
                        help="boards of the targets that are reached over ssh")  # fmt: skip
    parser.add_argument("--model", metavar="PATH",
                        help="a folder or a validation.toml (default: the bundled digits)")  # fmt: skip
    parser.add_argument("--variant", metavar="V,…|all",
                        help="variants, or all of them (default: those without default = false)")  # fmt: skip
    parser.add_argument("--suite", metavar="S,…", help="suites (default: all)")
    parser.add_argument("--budget", metavar="3m",
                        help="end within this time: 90s, 3m, 1h; fewer shifts and samples")  # fmt: skip
    parser.add_argument("--profile", metavar="P", help="quick (default), standard or soak")
    parser.add_argument("--duration", metavar="30m",
                        help="how long each target is called with --profile soak")  # fmt: skip
    add_results(parser)


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add ``--results``."""
    default = os.environ.get("HARNESS_RESULTS", "results")
    parser.add_argument("--results", metavar="DIR", type=Path, default=default,
                        help="where runs are kept (default: results)")  # fmt: skip


def refuse_another_selection(arguments: argparse.Namespace) -> None:
    """A resumed run keeps its selection."""
    given = [f"--{name}" for name in SELECTION if getattr(arguments, name) is not None]
    if arguments.release:
        given.append("--release")
    if arguments.decide_within is not None:
        given.append("--decide-within")
    if given:
        raise UsageError(
            f"--resume keeps the selection of the run; {', '.join(given)} would change it",
            where=f"--resume {arguments.resume}",
            next_step=f"leave out {' and '.join(given)}, or start a new run without --resume",
        )
