"""Commands that look at stored runs, and those that compare: call and print."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from harness.cli import explaining
from harness.cli.output import stdout, tell
from harness.cli.stored_runs import SIDE_BY_SIDE
from harness.core.errors import UsageError


def compare(arguments: argparse.Namespace) -> int:
    """Show what differs between stored runs, or time two sides."""
    if arguments.live:
        raise UsageError(
            "compare --live is now compare --side-by-side",
            next_step=f"harness compare --side-by-side {arguments.base} {' '.join(arguments.new)}".rstrip(),
        )
    if arguments.side_by_side:
        return _compare_side_by_side(arguments)
    given = [f"--{name.replace('_', '-')}" for name in SIDE_BY_SIDE if getattr(arguments, name) is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)} can only be used with --side-by-side",
            next_step="harness compare --side-by-side BASE NEW",
        )
    if arguments.matrix is not None:
        return _matrix(arguments)
    if not arguments.new and not arguments.devices:
        raise UsageError(
            "there is nothing to compare with", next_step="harness compare BASE NEW, or RUN --devices"
        )
    from harness.compare import compare_text, pairs

    comparisons = pairs.compare(arguments.base, arguments.new, arguments.results, devices=arguments.devices)
    print(compare_text.text(comparisons))
    compare_text.write(comparisons, arguments.csv, arguments.markdown)
    return compare_text.exit_code(comparisons)


def _matrix(arguments: argparse.Namespace) -> int:
    from harness.compare import matrix
    from harness.store import tables

    if given := [f"--{name}" for name in ("devices", "markdown") if getattr(arguments, name)]:
        raise UsageError(
            f"{', '.join(given)} cannot be used with --matrix", next_step="--csv FILE writes the matrix"
        )
    metrics = tuple(filter(None, arguments.matrix.split(",")))
    frame = matrix.matrix([arguments.base, *arguments.new], arguments.results, metrics)
    if arguments.csv:
        tables.write_frame(arguments.csv, frame)
    print(matrix.text(frame))
    return 0


def _compare_side_by_side(arguments: argparse.Namespace) -> int:
    from harness.compare import side_by_side
    from harness.report import progress, side_by_side_text
    from harness.timing import records

    next_step = "harness compare --side-by-side BASE NEW"
    stored = [
        f"--{name}"
        for name in ("csv", "markdown", "devices", "matrix")
        if getattr(arguments, name) not in (None, False)
    ]
    if stored:
        raise UsageError(f"{', '.join(stored)} cannot be used with --side-by-side", next_step=next_step)
    if len(arguments.new) != 1:
        raise UsageError("--side-by-side takes exactly one BASE and one NEW", next_step=next_step)
    options: dict[str, Any] = {
        name: default if getattr(arguments, name) is None else getattr(arguments, name)
        for name, default in SIDE_BY_SIDE.items()
    }
    request = side_by_side.parse(arguments.base, arguments.new[0], arguments.results, **options)
    timing = side_by_side.compare(request, progress.Plain(sys.stderr), tell)
    print(side_by_side_text.text(timing))
    print(f"facts        {records.write_new(timing, arguments.results)}")
    return timing.state.exit_code


def report(arguments: argparse.Namespace) -> int:
    """Write the page of runs."""
    from harness.report.html import publish

    messages = publish.report(arguments.run, arguments.results, arguments.out, arguments.images)
    print("\n".join(messages))
    return 0


def baseline(arguments: argparse.Namespace) -> int:
    """Save, list, show or compare accepted runs."""
    from harness.compare import compare_text, pairs
    from harness.report import baseline_text

    results, code = arguments.results, 0
    if arguments.way == "save":
        from harness.compare.accept import accept

        targets = tuple(filter(None, arguments.target.split(",")))
        folders = accept(
            arguments.run, results, arguments.name, reason=arguments.reason, by=arguments.by,
            targets=targets, replace=arguments.replace, artifacts=arguments.artifacts,
        )  # fmt: skip
        print("\n".join(f"saved  {folder}" for folder in folders))
    elif arguments.way == "list":
        print(baseline_text.listed(results))
    else:
        folders = baseline_text.find(results, arguments.name, arguments.model, arguments.target)
        if arguments.way == "show":
            print(baseline_text.shown(folders))
        else:
            comparisons = pairs.against_baselines(folders, arguments.run, results)
            print(compare_text.text(comparisons))
            code = compare_text.exit_code(comparisons)
    return code


def upgrade(arguments: argparse.Namespace) -> int:
    """Show what another version of a runtime changes."""
    from harness.report import progress
    from harness.upgrade import command, files, text

    options = {key: value for key, value in vars(arguments).items() if key not in ("command", "explain")}
    request = command.read(**options, explain_s=explaining.budget_s(arguments.explain))
    stored = files.store(request, command.upgrade(request, progress.Plain(sys.stderr), tell))
    return text.show(stored, request, stdout())


def history(arguments: argparse.Namespace) -> int:
    """Show metrics from run to run."""
    from harness.compare import history, history_text
    from harness.store import tables

    patterns = [getattr(arguments, name) for name in ("metric", "target", "variant", "case")]
    selection = history.HistoryFilter(*(tuple(filter(None, pattern.split(","))) for pattern in patterns))
    runs = history.history(arguments.results, selection)
    for run in runs.left_out:
        tell(f"note: {run}")
    print(history_text.as_json(runs) if arguments.json else history_text.text(runs))
    if arguments.csv:
        tables.write_frame(arguments.csv, history_text.points(runs))
    if arguments.html:
        from harness.report.html import publish

        tell(publish.history(runs, arguments.html))
    return 0


def query(arguments: argparse.Namespace) -> int:
    """Answer a question in SQL."""
    from harness.compare import query
    from harness.store import tables

    answer = query.query(arguments.sql, arguments.results, tell)
    for run in answer.left_out:
        tell(f"note: {run}")
    if arguments.csv:
        tables.write_frame(arguments.csv, answer.frame)
    print(query.text(answer))
    return 0
