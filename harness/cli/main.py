"""``harness``: parse, call, print, exit code. No logic; what is heavy is imported when it is called."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.cli import cached, challenging, comparing, explaining, failures, shifting, signals
from harness.cli.arguments import make_parser
from harness.cli.options import SELECTION, refuse_another_selection
from harness.cli.output import stdout, tell
from harness.core.errors import UsageError

if TYPE_CHECKING:  # neither is imported at start
    from harness.run.request import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Nothing but a blocking gate gives 1: Python's own code for an exception never leaves this function.
    """
    command = "harness"
    try:
        signals.end_like_ctrl_c()
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

    within_s = explaining.budget_s(arguments.explain)
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
        explaining.of_failures(outcome, within_s, observer)
    seconds = time.monotonic() - started
    if arguments.json_lines:
        lines.say("outcome", **screen.as_values(outcome, seconds=seconds))
    elif arguments.json:
        print(screen.as_json(outcome, seconds=seconds))
    else:
        screen.show(outcome, stdout(), seconds=seconds)
    return outcome.exit_code


def _plan(arguments: argparse.Namespace) -> int:
    from harness.report import progress, screen
    from harness.run import declared, forecast, trust
    from harness.run.prepare import prepare

    request = _request(arguments)
    if not arguments.trust:
        trust.refuse_code_of_others(request)
    prepared = prepare(request, progress.Quiet(), builds=False)
    prepared.close()
    answers = forecast.sentences(
        prepared.gates, prepared.plan, prepared.targets, declared.of_run(prepared.run)
    )
    model = prepared.run["model"]["name"]
    answers += forecast.warnings(prepared.gates, prepared.plan, model, arguments.results)
    if prepared.not_made:
        answers.append(
            f"not made yet, so that files, refusals and times are guessed: {', '.join(prepared.not_made)}"
        )
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
        screen.show(outcome, stdout(), seconds=seconds)
    return outcome.exit_code


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
        made = compress.rebuild(arguments.card, arguments.out, model=arguments.model, progress=tell)
        print(f"the same bytes as in {arguments.card}")
    else:
        formats = tuple(filter(None, arguments.format.split(",")))
        made = compress.compress(
            arguments.model, arguments.recipe, arguments.out,
            formats=formats, runtime=arguments.for_runtime, progress=tell,
        )  # fmt: skip
    print(card_text(made.card, made.reference))
    print(f"  card     {made.folder / 'card.json'}")
    return 0


def _search(arguments: argparse.Namespace) -> int:
    from harness.variants import search_files
    from harness.variants.search import search
    from harness.variants.workspace import bundled_model

    search_files.check_folder(arguments.out)
    model = arguments.model or bundled_model(tell)
    result = search(model, tell)
    drawn = search_files.write(arguments.out, result)
    print(search_files.text(result))
    print(search_files.written(arguments.out, result, model, drawn=drawn))
    return result.state.exit_code


def _targets(arguments: argparse.Namespace) -> int:
    from harness.report.targets import targets_text

    print(targets_text())
    return 0


def _checks(arguments: argparse.Namespace) -> int:
    from harness.device import plugins
    from harness.report import checks as checks_text
    from harness.run import checks

    print(checks_text.text(checks.installed(plugins.catalogue(plugins.SUITES)), arguments.name))
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


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "validate": _validate,
    "plan": _plan,
    "judge": _judge,
    "compare": comparing.compare,
    "report": comparing.report,
    "baseline": comparing.baseline,
    "upgrade": comparing.upgrade,
    "challenge": challenging.challenge,
    "explain": explaining.explain,
    "history": comparing.history,
    "query": comparing.query,
    "init": _init,
    "score": _score,
    "compress": _compress,
    "search": _search,
    "targets": _targets,
    "checks": _checks,
    "fleet": _fleet,
    "doctor": _doctor,
    "shift": shifting.shift,
    "cache": cached.cache,
}


if __name__ == "__main__":
    sys.exit(main())
