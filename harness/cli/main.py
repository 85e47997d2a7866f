"""``harness``: parse, call, print, exit code. No logic; what is heavy is imported when it is called."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.cli import failures
from harness.cli.arguments import SELECTION, SIDE_BY_SIDE, make_parser, refuse_another_selection
from harness.core.errors import UsageError

if TYPE_CHECKING:  # neither is imported at start
    from rich.console import Console

    from harness.run.request import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Nothing but a blocking gate gives 1: Python's own code for an exception never leaves this function.
    """
    command = "harness"
    try:
        arguments = make_parser().parse_args(argv)
        command = arguments.command
        if command == "init":  # a runtime that crashes ends with a message
            from harness.cli import child

            if not child.is_child():
                return child.run(sys.argv[1:] if argv is None else argv, str(arguments.model))
        return COMMANDS[command](arguments)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is no failed gate
        return failures.end(error, command)


def _request(arguments: argparse.Namespace) -> Request:
    from harness.run.request import Request

    selection = {
        name: given if given is not None else os.environ.get(variable, "")
        for name, variable in SELECTION.items()
        for given in [getattr(arguments, name)]
    }
    within = getattr(arguments, "decide_within", None)
    within = os.environ.get("HARNESS_DECIDE_WITHIN", "") if within is None else within
    return Request.parse(
        **selection, results=arguments.results, wait=getattr(arguments, "wait", ""),
        release=getattr(arguments, "release", False), decide_within=within,
    )  # fmt: skip


def _validate(arguments: argparse.Namespace) -> int:
    from contextlib import nullcontext

    from rich.console import Console

    from harness.report import json_lines, progress, screen
    from harness.run import stages
    from harness.store import run_folder

    started = time.monotonic()
    console = Console(stderr=True)
    lines = json_lines.JsonLines(sys.stdout)
    live = console.is_terminal and not arguments.json
    observer = (
        lines if arguments.json_lines else progress.Live(console) if live else progress.Plain(sys.stderr)
    )
    with observer if isinstance(observer, progress.Live) else nullcontext():
        if arguments.resume:
            refuse_another_selection(arguments)
            folder = run_folder.find_run(arguments.resume, arguments.results)
            outcome = stages.resume(folder, observer, _request(arguments).wait_s)
        else:
            outcome = stages.validate(_request(arguments), observer)
    seconds = time.monotonic() - started
    if arguments.json_lines:
        lines.say("outcome", **screen.as_values(outcome, seconds=seconds))
    elif arguments.json:
        print(screen.as_json(outcome, seconds=seconds))
    else:
        screen.show(outcome, _stdout(), seconds=seconds)
    return outcome.exit_code


def _plan(arguments: argparse.Namespace) -> int:
    from harness.report import progress, screen
    from harness.run import declared, forecast
    from harness.run.prepare import prepare

    prepared = prepare(_request(arguments), progress.Quiet())
    prepared.close()
    answers = forecast.sentences(
        prepared.gates, prepared.plan, prepared.targets, declared.of_run(prepared.run)
    )
    model = prepared.run["model"]["name"]
    answers += forecast.warnings(prepared.gates, prepared.plan, model, arguments.results)
    print(screen.plan_text(prepared.plan, dict(prepared.size), prepared.estimate_s, answers))
    return 0


def _judge(arguments: argparse.Namespace) -> int:
    from harness.report import screen
    from harness.run import stages
    from harness.store import run_folder

    started = time.monotonic()
    outcome = stages.finish(run_folder.find_run(arguments.run, arguments.results))
    seconds = time.monotonic() - started
    if arguments.json:
        print(screen.as_json(outcome, seconds=seconds))
    else:
        screen.show(outcome, _stdout(), seconds=seconds)
    return outcome.exit_code


def _compare(arguments: argparse.Namespace) -> int:
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
    timing = side_by_side.compare(request, progress.Plain(sys.stderr), _tell)
    print(side_by_side_text.text(timing))
    print(f"facts        {records.write_new(timing, arguments.results)}")
    return timing.state.exit_code


def _report(arguments: argparse.Namespace) -> int:
    from harness.report.html import publish

    messages = publish.report(arguments.run, arguments.results, arguments.out, arguments.images)
    print("\n".join(messages))
    return 0


def _baseline(arguments: argparse.Namespace) -> int:
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


def _upgrade(arguments: argparse.Namespace) -> int:
    from harness.report import progress
    from harness.upgrade import command, files, text

    request = command.read(**{key: value for key, value in vars(arguments).items() if key != "command"})
    stored = files.store(request, command.upgrade(request, progress.Plain(sys.stderr), _tell))
    return text.show(stored, request, _stdout())


def _history(arguments: argparse.Namespace) -> int:
    from harness.compare import history, history_text
    from harness.store import tables

    patterns = [getattr(arguments, name) for name in ("metric", "target", "variant", "case")]
    selection = history.HistoryFilter(*(tuple(filter(None, pattern.split(","))) for pattern in patterns))
    runs = history.history(arguments.results, selection)
    for run in runs.left_out:
        _tell(f"note: {run}")
    print(history_text.as_json(runs) if arguments.json else history_text.text(runs))
    if arguments.csv:
        tables.write_frame(arguments.csv, history_text.points(runs))
    if arguments.html:
        from harness.report.html import publish

        _tell(publish.history(runs, arguments.html))
    return 0


def _query(arguments: argparse.Namespace) -> int:
    from harness.compare import query
    from harness.store import tables

    answer = query.query(arguments.sql, arguments.results)
    for run in answer.left_out:
        _tell(f"note: {run}")
    if arguments.csv:
        tables.write_frame(arguments.csv, answer.frame)
    print(query.text(answer))
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _init(arguments: argparse.Namespace) -> int:
    from harness import init

    asked = init.Asked(arguments.task, arguments.output, arguments.layout, arguments.batch_axis)
    named = {key: getattr(arguments, key) for key in ("group", "time", "sequence")}
    columns = {key: column for key, column in named.items() if column is not None}
    report = init.init(
        arguments.model, arguments.data, arguments.labels, out=arguments.out, force=arguments.force,
        split=arguments.split, skip_damaged=arguments.skip_damaged, missing=arguments.missing,
        max_bytes=arguments.max_bytes, label_columns=arguments.label_column, values=arguments.value,
        asked=asked, accept_chance=arguments.accept_chance, columns=columns, states=arguments.state,
    )  # fmt: skip
    print(report.text())
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from harness.compare.stored_answers import score

    scores = score(arguments.files, arguments.labels, arguments.task, arguments.output, arguments.threshold)
    print(scores.as_json() if arguments.json else scores.text())
    return 0


def _compress(arguments: argparse.Namespace) -> int:
    from harness.variants import compress
    from harness.variants.card_text import card_text

    if arguments.card:
        made = compress.rebuild(arguments.card, arguments.out, model=arguments.model, progress=_tell)
        print(f"the same bytes as in {arguments.card}")
    else:
        formats = tuple(filter(None, arguments.format.split(",")))
        made = compress.compress(
            arguments.model, arguments.recipe, arguments.out,
            formats=formats, runtime=arguments.for_runtime, progress=_tell,
        )  # fmt: skip
    print(card_text(made.card, made.reference))
    print(f"  card     {made.folder / 'card.json'}")
    return 0


def _search(arguments: argparse.Namespace) -> int:
    from harness.variants import search_files
    from harness.variants.search import search
    from harness.variants.workspace import bundled_model

    search_files.check_folder(arguments.out)
    model = arguments.model or bundled_model(_tell)
    result = search(model, _tell)
    drawn = search_files.write(arguments.out, result)
    print(search_files.text(result))
    print(search_files.written(arguments.out, result, model, drawn=drawn))
    return result.state.exit_code


def _targets(arguments: argparse.Namespace) -> int:
    from harness.report.targets import targets_text

    print(targets_text())
    return 0


def _fleet(arguments: argparse.Namespace) -> int:
    import json

    from harness.report import fleet

    fleets = [executor.fleet() for executor in fleet.schedulers(arguments.target, arguments.scheduler)]
    print(json.dumps(fleets, indent=2) if arguments.json else "\n\n".join(map(fleet.text, fleets)))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.target:
        from harness.report import doctor
        from harness.run.request import Request

        host = os.environ.get("HARNESS_HOST", "") if arguments.host is None else arguments.host
        text, healthy = doctor.target_text(arguments.target, Request.parse(host=host).hosts)
    elif arguments.host:
        raise UsageError(
            f"--host {arguments.host} belongs to a target", next_step="harness doctor --target T --host …"
        )
    else:
        from harness.report.installation import installation_text

        text, healthy = installation_text(arguments.results)
    print(text)
    return 0 if healthy else 3


def _stdout() -> Console:
    from rich.console import Console

    # Off a terminal, lines are not cut to a width that nobody chose.
    return Console() if sys.stdout.isatty() else Console(width=200, no_color=True)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "validate": _validate,
    "plan": _plan,
    "judge": _judge,
    "compare": _compare,
    "report": _report,
    "baseline": _baseline,
    "upgrade": _upgrade,
    "history": _history,
    "query": _query,
    "init": _init,
    "score": _score,
    "compress": _compress,
    "search": _search,
    "targets": _targets,
    "fleet": _fleet,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
