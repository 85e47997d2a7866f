"""``harness explain``: its options, call and print."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from harness.cli.options import add_results, command
from harness.cli.output import tell


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command."""
    explain = command(
        commands, "explain", "find the layer and the cause of a difference, and what removes it"
    )
    explain.add_argument("--between", metavar="A,B", default="",
                         help="reference and other: TARGET[:VARIANT|FILE][@parity][+KEY=VALUE]")  # fmt: skip
    explain.add_argument("--model", metavar="PATH", default=os.environ.get("HARNESS_MODEL", ""),
                         help="a folder or a validation.toml (default: the bundled digits)")  # fmt: skip
    explain.add_argument(
        "--budget", metavar="60s", default="", help="how long hypotheses are tested (default: 60s)"
    )
    add_results(explain)
    explain.set_defaults(command="explain")


def explain(arguments: argparse.Namespace) -> int:
    """Explain, and print the cause."""
    from harness.explain import command as explanations
    from harness.explain import text
    from harness.report import progress

    explanation, path, words = explanations.explain(
        model=arguments.model, between=arguments.between, budget=arguments.budget, results=arguments.results,
        observer=progress.Plain(sys.stderr), notify=tell,
    )  # fmt: skip
    print(words)
    print(f"facts        {path}")
    return text.exit_code(explanation)
