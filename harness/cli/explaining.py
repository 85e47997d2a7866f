"""``harness explain``: its options, call and print."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import add_results, command
from harness.cli.output import tell
from harness.core.errors import UsageError
from harness.core.exit_code import ExitCode

if TYPE_CHECKING:
    from harness.explain.search.explanation import Explanation
    from harness.run.observer import Observer
    from harness.run.outcome import Outcome


def budget_s(text: str) -> float:
    """Read a budget: ``60s``; an empty one is a minute, 0 is none."""
    from harness.run.request import explain_s

    return explain_s(text)


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the command."""
    explain = command(
        commands, "explain", "find the layer and the cause of a difference, and what removes it"
    )
    explain.add_argument(
        "run",
        nargs="*",
        metavar="RUN",
        help="a run whose failing gates and checks are explained; or two runs of one target, BASE and NEW",
    )
    explain.add_argument("--between", metavar="A,B", default="",
                         help="reference and other: TARGET[:VARIANT|FILE][@parity][+KEY=VALUE]")  # fmt: skip
    explain.add_argument("--host", metavar="USER@BOARD", default=os.environ.get("HARNESS_HOST", ""),
                         help="board of a side of --between that is reached over ssh")  # fmt: skip
    explain.add_argument("--model", metavar="PATH", default=os.environ.get("HARNESS_MODEL", ""),
                         help="a folder or a validation.toml (default: the bundled digits)")  # fmt: skip
    explain.add_argument(
        "--budget", metavar="60s", default="", help="how long hypotheses are tested (default: 60s)"
    )
    explain.add_argument(
        "--apply",
        action="store_true",
        help="write what was run and removes the difference into your TOML files",
    )
    add_results(explain)
    explain.set_defaults(command="explain")


def explain(arguments: argparse.Namespace) -> int:
    """Explain, and print the cause."""
    if bool(arguments.run) == bool(arguments.between) or len(arguments.run) > 2:
        raise UsageError(
            "name a run, two runs, or two sides", where="harness explain",
            next_step="harness explain RUN, harness explain BASE NEW, or harness explain --between A,B",
        )  # fmt: skip
    if arguments.between:
        return _between(arguments)
    return _of_run(arguments) if len(arguments.run) == 1 else _of_two_runs(arguments)


def _between(arguments: argparse.Namespace) -> int:
    from harness.explain import command
    from harness.explain.words import text
    from harness.report import progress

    explanation, path, words = command.explain(
        model=arguments.model, between=arguments.between, within_s=budget_s(arguments.budget),
        results=arguments.results, observer=progress.Plain(sys.stderr), notify=tell,
        hosts=tuple(filter(None, arguments.host.split(","))),
    )  # fmt: skip
    print(words)
    print(f"facts        {path}")
    _patches(arguments, [explanation], None, _validation(arguments))
    return text.exit_code(explanation)


def _of_run(arguments: argparse.Namespace) -> int:
    from harness.explain import command
    from harness.explain.words import text
    from harness.report import progress
    from harness.report.explanations import as_lines
    from harness.run import stages
    from harness.store import explanations, run_folder

    folder = run_folder.find_run(arguments.run[0], arguments.results)
    outcome = stages.look(folder, folder.facts())
    answers = command.explain_run(outcome, budget_s(arguments.budget), progress.Plain(sys.stderr), tell)
    if not answers:
        print(f"{folder.run_id}: no gate or check that blocks fails because of the answers")
        return 0
    for answer in answers:
        if answer.explanation is not None:
            print(text.text(answer.explanation))
            print()
    for label, line in as_lines(explanations.read(folder.path)):
        print(f"{label:13}{' ' * (len(label) >= 13)}{line}")
    print(f"{'facts':13}{folder.path / command.FILE}")
    made = [one.explanation for one in answers if one.explanation is not None]
    _patches(arguments, made, outcome.run, Path(outcome.run["validation_path"]))
    decided = all(one.explanation is not None and one.explanation.is_decided for one in answers)
    return ExitCode.PASSED if decided else ExitCode.INCONCLUSIVE


def _of_two_runs(arguments: argparse.Namespace) -> int:
    from harness.explain import command
    from harness.explain.words import text
    from harness.report import progress
    from harness.store import run_folder

    base, new = (run_folder.find_run(name, arguments.results) for name in arguments.run)
    compared, path = command.explain_two(
        (base, new), budget_s(arguments.budget), arguments.results, progress.Plain(sys.stderr), tell
    )
    for one in compared:
        if one.explanation is None:
            print(f"{'not explained':17} {one.place[2]} on {one.place[0]}: {one.reason}\n")
        else:
            print(f"{text.text(one.explanation)}\n")
    print(f"{'facts':17} {path}")
    made = [one.explanation for one in compared if one.explanation is not None]
    run = new.read_run()
    _patches(arguments, made, run, Path(run["validation_path"]))
    decided = all(one.explanation is not None and one.explanation.is_decided for one in compared)
    return ExitCode.PASSED if decided else ExitCode.INCONCLUSIVE


def _validation(arguments: argparse.Namespace) -> Path:
    from harness.config.load import validation_file
    from harness.run.request import Request

    return validation_file(Request.parse(model=arguments.model).model)


def _patches(
    arguments: argparse.Namespace, explanations: Sequence[Explanation], run: Mapping[str, Any] | None,
    validation: Path,
) -> None:  # fmt: skip
    """Write remedies into the files that they belong to, or say which these are."""
    from harness.explain import patch

    for one in patch.of_remedies(explanations, run if arguments.apply else None, validation):
        if arguments.apply:
            print(f"\n{one.apply()}", end="")
        elif not patch.is_shipped(one.file):
            print(f"{'apply':17} the same command with --apply writes it into {one.file}")


def of_failures(outcome: Outcome, within_s: float, observer: Observer) -> None:
    """After `validate`: explain what fails because of the answers, and store it with the run.

    Whatever happens here, the verdict stands.
    """
    if outcome.exit_code is ExitCode.FAILED and within_s:
        from harness.explain import command

        command.explain_failures(outcome, within_s, observer)
