"""``harness challenge``: its options, call and print."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from harness.cli.options import add_results, command
from harness.cli.output import stdout, tell


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command."""
    challenge = command(
        commands, "challenge", "plant known faults around the model, and show which gates and checks see them"
    )
    challenge.add_argument("--target", metavar="T", default=os.environ.get("HARNESS_TARGET", ""),
                           help="one target, by name (default: cpu)")  # fmt: skip
    challenge.add_argument("--host", metavar="USER@BOARD", default=os.environ.get("HARNESS_HOST", ""),
                           help="the board of a target that is reached over ssh")  # fmt: skip
    challenge.add_argument("--model", metavar="PATH", default=os.environ.get("HARNESS_MODEL", ""),
                           help="a folder or a validation.toml (default: the bundled digits)")  # fmt: skip
    challenge.add_argument("--quick", action="store_true",
                           help="fewer faults, one variant, no shifted data")  # fmt: skip
    challenge.add_argument("--fault", metavar="NAME", nargs="+", default=[],
                           help="only these, by name or shell pattern (default: all)")  # fmt: skip
    challenge.add_argument("--profile", metavar="P", default="",
                           help="quick (default), standard or soak, and the faults of each")  # fmt: skip
    challenge.add_argument("--duration", metavar="30m", default="",
                           help="how long the target is called with --profile soak")  # fmt: skip
    challenge.add_argument("--json", metavar="FILE", type=Path, help="write it as JSON, too")
    add_results(challenge)
    challenge.set_defaults(command="challenge")


def challenge(arguments: argparse.Namespace) -> int:
    """Plant the faults and print what came of them."""
    from harness.challenge import command as challenges
    from harness.challenge import text
    from harness.report import progress
    from harness.store.challenges import write

    request = challenges.read(
        model=arguments.model, target=arguments.target, host=arguments.host, results=arguments.results,
        quick=arguments.quick, fault=arguments.fault, profile=arguments.profile,
        duration=arguments.duration,
    )  # fmt: skip
    done = challenges.challenge(request, progress.Plain(sys.stderr), tell)
    if arguments.json:
        write(arguments.json, challenges.as_json(done))
    return text.show(done, stdout())
