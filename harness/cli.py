"""``harness``: parse, call, print, exit code. No logic; what is heavy is imported when it is called."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import HarnessError, UsageError

if TYPE_CHECKING:  # neither is imported at start
    from rich.console import Console

    from harness.prepare import Request

DESCRIPTION = "Run one float model and its compressed variants on every target, and judge what came out."
HOST_PACKAGES = (
    "flatbuffers", "onnx", "onnxruntime", "pandas", "PIL", "pydantic", "rich", "scipy", "sklearn",
)  # fmt: skip
EPILOG = """exit codes: 0 every blocking gate passed · 1 one failed · 2 usage or configuration
            3 could not measure, or interrupted · 4 inconclusive"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        run = stop.args[0] if stop.args else None
        kept = (
            f"what was measured is kept\n  next   harness validate --resume {run}"
            if run
            else "nothing is kept"
        )
        print(f"harness: interrupted; {kept}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        # The reader (head, less) is gone; silence Python's own complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 3
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in HOST_PACKAGES:
            raise
        print(
            f"harness: this needs {error.name}, which a host has and a board does not\n"
            "  next   pip install 'deployment-validation-harness[host]'",
            file=sys.stderr,
        )
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("deployment-validation-harness"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    validate = _command(commands, "validate", "measure and judge")
    _add_selection(validate)
    validate.add_argument("--resume", metavar="RUN", help="go on with a run that was cut")
    validate.add_argument("--wait", metavar="30m", default=os.environ.get("HARNESS_WAIT", ""),
                          help="queue so long for a board that somebody else holds: 90s, 3m, 1h")  # fmt: skip
    validate.add_argument("--release", action="store_true",
                          help="demand real hardware: what emulation cannot answer was not run")  # fmt: skip
    validate.add_argument("--json", action="store_true", help="print the outcome as JSON")
    validate.set_defaults(command=_validate)

    plan = _command(commands, "plan", "say what would run, how long it takes, what it can decide")
    _add_selection(plan)
    plan.set_defaults(command=_plan)

    judge = commands.add_parser(
        "judge",
        help="repeat summary and verdict",
        description="Repeat summary and verdict from what is stored.",
    )
    judge.add_argument("run", metavar="RUN", help="id, unique prefix, folder, or latest")
    _add_results(judge)
    judge.add_argument("--json", action="store_true", help="print the outcome as JSON")
    judge.set_defaults(command=_judge)

    init = _command(commands, "init", "write a validation.toml for a model")
    init.add_argument("model", metavar="MODEL", type=Path, help="an ONNX or TFLite file")
    init.add_argument(
        "--data", metavar="PATH", required=True, help="a file, a folder, or package.module:function"
    )
    init.add_argument("--labels", metavar="PATH", type=Path, help="labels, where they are elsewhere")
    init.add_argument("--out", metavar="FILE", type=Path, help="where to write (default: beside the model)")
    init.add_argument("--split", choices=("hash", "first", "none"), default="hash",
                      help="how calibration samples are set apart (default: hash)")  # fmt: skip
    init.add_argument("--force", action="store_true", help="overwrite a validation.toml")
    init.set_defaults(command=_init)

    compress = _command(commands, "compress", "make one variant: its files and its card")
    compress.add_argument("model", metavar="MODEL", type=Path, nargs="?",
                          help="a folder, a validation.toml, or an ONNX file beside one (default: digits)",
    )  # fmt: skip
    source = compress.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--recipe", metavar="NAME|FILE", help="a variant's name, a shipped recipe, or a TOML file"
    )
    source.add_argument("--from", metavar="CARD", dest="card", type=Path,
                        help="rebuild what a card.json tells of, bit for bit")  # fmt: skip
    compress.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="a folder to write")
    compress.add_argument(
        "--format", metavar="F,…", default="", help="onnx, tflite (default: what can be had)"
    )
    compress.add_argument("--for-runtime", metavar="R", default="litert",
                          help="the oldest runtime that must open the TFLite file: litert, tflite-2.14",
    )  # fmt: skip
    compress.set_defaults(command=_compress)

    search = _command(commands, "search", "find the smallest model within the accuracy budget")
    search.add_argument("model", metavar="MODEL", type=Path, nargs="?",
                        help="a folder, a validation.toml, or an ONNX file beside one (default: digits)",
    )  # fmt: skip
    search.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="a folder to write")
    search.set_defaults(command=_search)

    _add_looks(commands)
    return parser


def _add_looks(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Commands that look and measure nothing."""
    targets = _command(commands, "targets", "say what can run here, and if not, why")
    targets.set_defaults(command=_targets)

    fleet = _command(commands, "fleet", "say who is connected to a scheduler, and what each runs")
    asked = fleet.add_mutually_exclusive_group()
    asked.add_argument("--target", metavar="T", default="", help="the fleet of a target, by name")
    asked.add_argument("--scheduler", metavar="ADDRESS", default="",
                       help="a fleet by its address; certificates are those of Dask's configuration",
    )  # fmt: skip
    fleet.add_argument("--json", action="store_true", help="print it as JSON")
    fleet.set_defaults(command=_fleet)

    doctor = commands.add_parser(
        "doctor",
        help="find what is wrong with this machine, or with a target",
        description="Find what is wrong with this machine, or with a target.",
    )
    doctor.add_argument("--target", metavar="T", default="", help="a target, by name")
    doctor.add_argument("--host", metavar="USER@BOARD,…",
                        help="its boards, where it is reached over ssh")  # fmt: skip
    _add_results(doctor)
    doctor.set_defaults(command=_doctor)


def _command(commands: Any, name: str, does: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}."
    )
    return parser


#: What a run is asked for; where an option is absent its environment variable counts, then the default.
SELECTION = {
    "target": "HARNESS_TARGET",
    "host": "HARNESS_HOST",
    "model": "HARNESS_MODEL",
    "variant": "",
    "suite": "",
    "budget": "HARNESS_BUDGET",
}


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", metavar="T,…", help="targets, by name (default: cpu)")
    parser.add_argument("--host", metavar="USER@BOARD,…",
                        help="boards of the targets that are reached over ssh")  # fmt: skip
    parser.add_argument("--model", metavar="PATH",
                        help="a folder or a validation.toml (default: the bundled digits)")  # fmt: skip
    parser.add_argument("--variant", metavar="V,…|all",
                        help="variants, or all of them (default: those not set aside)")  # fmt: skip
    parser.add_argument("--suite", metavar="S,…", help="suites (default: all)")
    parser.add_argument("--budget", metavar="3m",
                        help="leave out shifts and samples until it fits: 90s, 3m, 1h")  # fmt: skip
    _add_results(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("HARNESS_RESULTS", "results")
    parser.add_argument("--results", metavar="DIR", type=Path, default=default,
                        help="where runs are kept (default: results)")  # fmt: skip


def _request(arguments: argparse.Namespace) -> Request:
    from harness.prepare import Request

    asked = {
        name: given if given is not None else os.environ.get(variable, "")
        for name, variable in SELECTION.items()
        for given in [getattr(arguments, name)]
    }
    return Request.of(
        **asked, results=arguments.results, wait=getattr(arguments, "wait", ""),
        release=getattr(arguments, "release", False),
    )  # fmt: skip


def _refuse_another_selection(arguments: argparse.Namespace) -> None:
    """A run that goes on keeps what it was asked for."""
    given = [f"--{name}" for name in SELECTION if getattr(arguments, name) is not None]
    given += ["--release"] * arguments.release
    if given:
        raise UsageError(
            f"--resume goes on with what the run was asked for; {', '.join(given)} would change it",
            where=f"--resume {arguments.resume}",
            next_step=f"leave {' and '.join(given)} out, or begin a new run without --resume",
        )


def _validate(arguments: argparse.Namespace) -> int:
    from contextlib import nullcontext

    from rich.console import Console

    from harness import run
    from harness.report import progress, screen, store

    started = time.monotonic()
    console = Console(stderr=True)
    live = console.is_terminal and not arguments.json
    observer = progress.Live(console) if live else progress.Plain(sys.stderr)
    with observer if isinstance(observer, progress.Live) else nullcontext():
        if arguments.resume:
            _refuse_another_selection(arguments)
            found = store.find_run(arguments.resume, arguments.results)
            outcome = run.resume(found, observer, _request(arguments).wait_s)
        else:
            outcome = run.validate(_request(arguments), observer)
    seconds = time.monotonic() - started
    if arguments.json:
        print(screen.as_json(outcome, seconds=seconds))
    else:
        screen.show(outcome, _stdout(), seconds=seconds)
    return outcome.exit_code


def _plan(arguments: argparse.Namespace) -> int:
    from harness.prepare import prepare
    from harness.report import decidable, progress, screen

    prepared = prepare(_request(arguments), progress.Quiet())
    prepared.close()
    answers = decidable.sentences(prepared.gates, prepared.plan, prepared.targets)
    print(screen.plan_text(prepared.plan, dict(prepared.size), prepared.estimate_s, answers))
    return 0


def _judge(arguments: argparse.Namespace) -> int:
    from harness import run
    from harness.report import screen, store

    started = time.monotonic()
    outcome = run.finish(store.find_run(arguments.run, arguments.results))
    seconds = time.monotonic() - started
    if arguments.json:
        print(screen.as_json(outcome, seconds=seconds))
    else:
        screen.show(outcome, _stdout(), seconds=seconds)
    return outcome.exit_code


def _init(arguments: argparse.Namespace) -> int:
    from harness import init

    report = init.init(
        arguments.model, arguments.data, arguments.labels,
        out=arguments.out, force=arguments.force, split=arguments.split,
    )  # fmt: skip
    print(report.text())
    return 0


def _compress(arguments: argparse.Namespace) -> int:
    from harness import compress, config
    from harness.report.card_text import card_text

    def told(text: str) -> None:
        print(text, file=sys.stderr)

    if arguments.card:
        made = compress.rebuild(arguments.card, arguments.out, model=arguments.model, told=told)
        print(f"the same bytes as in {arguments.card}")
    else:
        formats = tuple(filter(None, arguments.format.split(",")))
        made = compress.compress(
            arguments.model or config.shipped_folder("models") / "digits", arguments.recipe, arguments.out,
            formats=formats, runtime=arguments.for_runtime, told=told,
        )  # fmt: skip
    print(card_text(made.card, made.reference))
    print(f"  card     {made.folder / 'card.json'}")
    return 0


def _search(arguments: argparse.Namespace) -> int:
    from harness import config
    from harness.report import search_files
    from harness.search import search

    search_files.refuse_filled(arguments.out)
    found = search(
        arguments.model or config.shipped_folder("models") / "digits",
        lambda text: print(text, file=sys.stderr),
    )
    drawn = search_files.write(arguments.out, found)
    print(search_files.text(found))
    print(
        f"  files  {arguments.out}/pareto.csv, sensitivity.csv" + ", recipe.toml" * (found.best is not None)
    )
    if not drawn:
        print("  note   no picture: pip install 'deployment-validation-harness[plot]' draws pareto.png")
    if found.best is not None:
        print(f"  next   harness compress --recipe {arguments.out / 'recipe.toml'} -o DIR")
    return search_files.EXIT_CODES[found.state]


def _targets(arguments: argparse.Namespace) -> int:
    from harness.report import machine

    print(machine.targets_text())
    return 0


def _fleet(arguments: argparse.Namespace) -> int:
    import json

    from harness.report import fleet

    found = [fleet.look(cluster) for cluster in fleet.clusters(arguments.target, arguments.scheduler)]
    print(json.dumps(found, indent=2) if arguments.json else "\n\n".join(map(fleet.text, found)))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.target:
        from harness.prepare import Request
        from harness.report import doctor

        host = os.environ.get("HARNESS_HOST", "") if arguments.host is None else arguments.host
        text, healthy = doctor.target_text(arguments.target, Request.of(host=host).hosts)
    elif arguments.host:
        raise UsageError(
            f"--host {arguments.host} belongs to a target", next_step="harness doctor --target T --host …"
        )
    else:
        from harness.report import machine

        text, healthy = machine.doctor_text(arguments.results)
    print(text)
    return 0 if healthy else 3


def _stdout() -> Console:
    from rich.console import Console

    # Off a terminal, lines are not cut to a width that nobody chose.
    return Console() if sys.stdout.isatty() else Console(width=200, no_color=True)


if __name__ == "__main__":
    sys.exit(main())
