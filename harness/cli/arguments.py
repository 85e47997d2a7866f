"""The command line: commands, options, and where an option takes its default from."""

from __future__ import annotations

import argparse
import math
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.core.errors import UsageError

DESCRIPTION = "Run one float model and its compressed variants on every target, and judge the results."
EPILOG = """exit codes: 0 every blocking gate passed · 1 one failed · 2 usage or configuration
            3 could not measure, or interrupted · 4 inconclusive"""
#: Options of a side-by-side comparison alone, and their defaults.
SIDE_BY_SIDE = {
    "target": "cpu", "model": "", "variant": "int8", "metric": "", "max_ratio": 1.05,
    "decide_within": "2m",
}  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; the arguments have the name of the command as ``command``."""
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
    validate.add_argument("--resume", metavar="RUN", help="continue an interrupted run")
    validate.add_argument("--wait", metavar="30m", default=os.environ.get("HARNESS_WAIT", ""),
                          help="longest time to wait for a locked board: 90s, 3m, 1h")  # fmt: skip
    validate.add_argument("--release", action="store_true",
                          help="require real hardware: what emulation cannot measure is NOT_RUN")  # fmt: skip
    validate.add_argument("--decide-within", metavar="10m",
                          help="longest time to measure on while gates on times are undecided")  # fmt: skip
    as_json = validate.add_mutually_exclusive_group()
    as_json.add_argument("--json", action="store_true", help="print the outcome as JSON")
    as_json.add_argument("--json-lines", action="store_true",
                         help="print progress and outcome as JSON, one object a line")  # fmt: skip
    validate.set_defaults(command="validate")

    plan = _command(commands, "plan", "show what would run, how long it takes and what it can decide")
    _add_selection(plan)
    plan.set_defaults(command="plan")

    judge = commands.add_parser(
        "judge",
        help="repeat summary and verdicts of a stored run",
        description="Repeat summary and verdicts of a stored run; nothing is measured.",
    )
    judge.add_argument("run", metavar="RUN", help="id, unique prefix, folder, or latest")
    _add_results(judge)
    judge.add_argument("--json", action="store_true", help="print the outcome as JSON")
    judge.set_defaults(command="judge")

    _add_compare(commands)

    report = _command(commands, "report", "write a run, or a comparison of several, as one HTML file")
    report.add_argument("run", metavar="RUN", nargs="+",
                        help="id, unique prefix, folder, or latest; of several runs of a "
                             "target the last is shown, and all are compared with the first")  # fmt: skip
    report.add_argument("-o", "--out", metavar="FILE", type=Path, default=Path("report.html"),
                        help="what to write (default: report.html)")  # fmt: skip
    report.add_argument("--images", metavar="DIR", type=Path,
                        help="write every plot there too, as PNG and SVG (needs a Chromium)")  # fmt: skip
    _add_results(report)
    report.set_defaults(command="report")

    _add_baseline(commands)
    _add_upgrade(commands)

    _add_init(commands)
    _add_score(commands)
    _add_compression(commands)
    _add_archive(commands)
    _add_looks(commands)
    return parser


def _add_init(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    init = _command(commands, "init", "write a validation.toml for a model")
    init.add_argument(
        "model", metavar="MODEL", type=Path, help="an .onnx or .tflite file, or the .xml of an OpenVINO model"
    )
    init.add_argument(
        "--data", metavar="PATH", required=True, help="a file, a folder, or package.module:function"
    )
    init.add_argument("--labels", metavar="PATH", type=Path, help="labels, if they are in another file")
    init.add_argument("--out", metavar="FILE", type=Path, help="where to write (default: beside the model)")
    init.add_argument("--split", choices=("hash", "first", "none"), default="hash",
                      help="how calibration samples are set apart (default: hash)")  # fmt: skip
    init.add_argument("--skip-damaged", action="store_true",
                      help="leave out image files that cannot be decoded, by name")  # fmt: skip
    init.add_argument("--missing", metavar="drop|NUMBER", type=_missing,
                      help="leave out samples with missing values, or replace the values")  # fmt: skip
    init.add_argument("--max-bytes", metavar="N", type=int,
                      help="largest data file and arrays (default: 4,000,000,000 bytes)")  # fmt: skip
    init.add_argument("--label-column", metavar="NAME", type=_column, action="append", default=[],
                      help="column of a table with the labels, by name or position from 0; once for each "
                           "of several (default: tried)")  # fmt: skip
    init.add_argument("--group", metavar="COLUMN", type=_column,
                      help="column or array that is not fed to the model: metrics by its values")  # fmt: skip
    init.add_argument("--time", metavar="COLUMN", type=_column,
                      help="column or array of times: metrics by time window")  # fmt: skip
    init.add_argument("--task", metavar="TASK", default="",
                      help="classification, multi-label, anomaly, embedding or regression "
                           "(default: tried)")  # fmt: skip
    init.add_argument(
        "--output", metavar="NAME", default="", help="the output with the answers (default: tried)"
    )
    init.add_argument("--layout", choices=("same", "NCHW", "NHWC"), default="",
                      help="how samples become the model's input: as they are, last axis to the front, first "
                           "axis to the end (default: tried)")  # fmt: skip
    init.add_argument("--batch-axis", metavar="AXIS", default="",
                      help="axis of the model's inputs that the samples lie on, or none (default: tried)",
                      choices=("0", "1", "2", "3", "none"))  # fmt: skip
    init.add_argument("--value", metavar="NAME=NUMBER", action="append", default=[],
                      help="an input without samples, and the number that fills it; repeatable")  # fmt: skip
    init.add_argument("--sequence", metavar="COLUMN", type=_column,
                      help="column or array: rows with one value are fed in order, with state")  # fmt: skip
    init.add_argument("--state", metavar="NAME=OUTPUT", action="append", default=[],
                      help="an input that takes that output of the row before; repeatable")  # fmt: skip
    init.add_argument("--accept-chance", action="store_true",
                      help="write the file for a model that is no better than chance, too")  # fmt: skip
    init.add_argument("--force", action="store_true", help="overwrite a validation.toml")
    init.set_defaults(command="init")


def _add_score(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    score = _command(commands, "score", "metrics of stored predictions, without a model")
    score.add_argument("files", metavar="PREDICTIONS", type=Path, nargs="+",
                       help="CSV, Parquet, npz, npy or json, a row for each sample; of several files the "
                            "others are compared with the first, sample by sample")  # fmt: skip
    score.add_argument(
        "labels", metavar="LABELS", type=Path, help="labels of the same samples, in that order"
    )
    score.add_argument(
        "--task", metavar="TASK", default="", help="as of init (default: by shapes and labels)"
    )
    score.add_argument(
        "--output", metavar="NAME", default="", help="the array to score, of several in a file"
    )
    score.add_argument("--threshold", metavar="X", type=float,
                       help="a score above X means class 1, or that the sample has the label")  # fmt: skip
    score.add_argument("--json", action="store_true", help="print JSON")
    score.set_defaults(command="score")


def _column(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdecimal() else text


def _missing(text: str) -> str | float:
    if text == "drop":
        return text
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _add_compression(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Commands that make variants."""
    compress = _command(commands, "compress", "make one variant: its files and its card")
    compress.add_argument("model", metavar="MODEL", type=Path, nargs="?",
                          help="a folder, a validation.toml, or an ONNX file beside one (default: digits)",
    )  # fmt: skip
    source = compress.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--recipe", metavar="NAME|FILE", help="a variant's name, a shipped recipe, or a TOML file"
    )
    source.add_argument("--from", metavar="CARD", dest="card", type=Path,
                        help="rebuild the variant of a card.json, bit for bit")  # fmt: skip
    compress.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="a folder to write")
    compress.add_argument(
        "--format", metavar="F,…", default="", help="onnx, tflite (default: every possible one)"
    )
    compress.add_argument("--for-runtime", metavar="R", default="litert",
                          help="the oldest runtime that must open the TFLite file: litert, tflite-2.14",
    )  # fmt: skip
    compress.set_defaults(command="compress")

    search = _command(commands, "search", "find the smallest model within the accuracy budget")
    search.add_argument("model", metavar="MODEL", type=Path, nargs="?",
                        help="a folder, a validation.toml, or an ONNX file beside one (default: digits)",
    )  # fmt: skip
    search.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="a folder to write")
    search.set_defaults(command="search")


def _add_compare(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """``compare``: stored runs, or two versions side by side."""
    compare = _command(commands, "compare", "show what differs between runs, releases or devices")
    compare.add_argument("base", metavar="BASE", help=SIDE)
    compare.add_argument("new", metavar="NEW", nargs="*", help="as BASE; compared with it")
    compare.add_argument("--devices", action="store_true",
                         help="compare across targets and backends (default if no target is common)",
    )  # fmt: skip
    compare.add_argument("--matrix", metavar="METRIC,…", nargs="?", const="", default=None,
                         help="model × device × variant of all sides, with best and worst "
                              "(default: the main result, the latency and the size)")  # fmt: skip
    timed = compare.add_argument_group("side by side")
    timed.add_argument("--side-by-side", action="store_true",
                       help="time one BASE and one NEW now, interleaved in fresh processes; each is a "
                            "target, TARGET/BACKEND, a model file, or a run whose artifact is in the cache",
    )  # fmt: skip
    timed.add_argument("--live", action="store_true", help=argparse.SUPPRESS)  # refused: its old name
    timed.add_argument("--target", metavar="T", help="where files and runs are timed (default: cpu)")
    timed.add_argument("--model", metavar="PATH", help="a folder or a validation.toml (default: digits)")
    timed.add_argument("--variant", metavar="V", help="which variant (default: int8)")
    timed.add_argument("--metric", metavar="M",
                       help="a percentile of the times of single calls (default: the median)")  # fmt: skip
    timed.add_argument("--max-ratio", metavar="R", type=float,
                       help="largest allowed ratio NEW / BASE, above 1 (default: 1.05)")  # fmt: skip
    timed.add_argument("--decide-within", metavar="3m",
                       help="longest time to measure while undecided (default: 2m)")  # fmt: skip
    compare.add_argument("--csv", metavar="FILE", type=Path, help="write every compared row")
    compare.add_argument("--markdown", metavar="FILE", type=Path, help="write a summary for a pull request")
    _add_results(compare)
    compare.set_defaults(command="compare")


def _add_upgrade(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """``upgrade``: one runtime in two versions."""
    upgrade = _command(commands, "upgrade", "show what another version of a runtime changes on each target")
    upgrade.add_argument("runtime", metavar="RUNTIME", help="its name for pip: onnxruntime, openvino, …")
    upgrade.add_argument("old", metavar="OLD", help="the released version")
    upgrade.add_argument("new", metavar="NEW", help="the version that may replace it")
    upgrade.add_argument("--target", metavar="T,…", default="",
                         help="targets (default: every local one of that runtime)")  # fmt: skip
    upgrade.add_argument("--host", metavar="USER@BOARD", default="",
                         help="the board of targets that are reached over ssh")  # fmt: skip
    upgrade.add_argument(
        "--model", metavar="PATH", default="", help="a folder or a validation.toml (default: digits)"
    )
    upgrade.add_argument("--variant", metavar="V,…|all", default="",
                         help="variants, or all of them (default: all but default = false)")  # fmt: skip
    upgrade.add_argument("--baseline", metavar="NAME", default="accepted",
                         help="the accepted runs whose artifacts are taken (default: accepted)",
    )  # fmt: skip
    upgrade.add_argument("--margin", metavar="PT", type=float, default=0.5,
                         help="largest loss of accuracy, in points (default: 0.5)")  # fmt: skip
    upgrade.add_argument("--max-ratio", metavar="R", type=float, default=1.05,
                         help="largest ratio of latencies NEW / OLD, above 1 (default: 1.05)",
    )  # fmt: skip
    upgrade.add_argument("--decide-within", metavar="3m", default="2m",
                         help="longest time to measure a target while undecided (default: 2m)")  # fmt: skip
    _add_results(upgrade)
    upgrade.set_defaults(command="upgrade")


def _add_baseline(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """``baseline`` and its subcommands."""
    parser = _command(commands, "baseline", "save accepted runs, and compare with them")
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="way")

    save = _command(ways, "save", "save a run under a name that gates can compare with")
    save.add_argument("run", metavar="RUN", help="id, unique prefix, folder, or latest")
    save.add_argument("--reason", metavar="TEXT", required=True, help="why it is accepted")
    save.add_argument("--by", metavar="WHO", default="", help="who accepts it (default: the user's name)")
    save.add_argument("--target", metavar="T,…", default="", help="targets of the run (default: all)")
    save.add_argument("--artifacts", action="store_true",
                      help="save the artifacts too, for gates that time them side by side",
    )  # fmt: skip
    save.add_argument("--replace", action="store_true", help="replace the baseline of that name")

    listed = _command(ways, "list", "list the baselines, who accepted them and why")
    show = _command(ways, "show", "show one baseline")
    diff = _command(ways, "diff", "compare a run with a baseline, target by target")
    diff.add_argument("run", metavar="RUN", nargs="?", default="latest",
                      help="id, unique prefix, folder, or latest (default)")  # fmt: skip
    for way in (show, diff):
        way.add_argument("--model", metavar="NAME", default="", help="only of that model")
        way.add_argument("--target", metavar="T", default="", help="only of that target")
    for way in (save, show, diff):
        way.add_argument("--name", metavar="NAME", default="accepted", help="its name (default: accepted)")
    for way in (save, listed, show, diff):
        _add_results(way)
        way.set_defaults(command="baseline")


def _add_archive(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Commands that read all runs of a results folder."""
    history = _command(commands, "history", "show metrics from run to run, and where they changed")
    history.add_argument("--metric", metavar="GLOB,…", default="",
                         help="metrics (default: what the gates of the newest run look at)")  # fmt: skip
    history.add_argument("--target", metavar="T,…", default="", help="only these targets")
    history.add_argument("--variant", metavar="V,…", default="", help="only these variants")
    history.add_argument("--case", metavar="C,…", default="", help="only these cases")
    history.add_argument("--csv", metavar="FILE", type=Path, help="write every point")
    history.add_argument("--html", metavar="FILE", type=Path, help="write it as an HTML page")
    history.add_argument("--json", action="store_true", help="print it as JSON")
    _add_results(history)
    history.set_defaults(command="history")

    query = _command(commands, "query", "query all runs in SQL: views measurements, verdicts, cards")
    query.add_argument("sql", metavar="SQL", help="one SELECT, in DuckDB's dialect")
    query.add_argument("--csv", metavar="FILE", type=Path, help="write the answer")
    _add_results(query)
    query.set_defaults(command="query")


def _add_looks(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Commands that measure nothing."""
    targets = _command(commands, "targets", "list what can run here, or why it cannot")
    targets.set_defaults(command="targets")

    fleet = _command(commands, "fleet", "list the workers of a scheduler, and what each runs")
    source = fleet.add_mutually_exclusive_group()
    source.add_argument("--target", metavar="T", default="", help="the fleet of a target, by name")
    source.add_argument("--scheduler", metavar="ADDRESS", default="",
                       help="a fleet by its address; certificates are those of Dask's configuration",
    )  # fmt: skip
    fleet.add_argument("--json", action="store_true", help="print it as JSON")
    fleet.set_defaults(command="fleet")

    doctor = commands.add_parser(
        "doctor",
        help="check this machine, or a target",
        description="Check this machine, or a target, and say how to fix what is wrong.",
    )
    doctor.add_argument("--target", metavar="T", default="", help="a target, by name")
    doctor.add_argument("--host", metavar="USER@BOARD,…",
                        help="its boards, if it is reached over ssh")  # fmt: skip
    _add_results(doctor)
    doctor.set_defaults(command="doctor")


def _command(commands: Any, name: str, does: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}."
    )
    return parser


#: Options that select a run; without an option its environment variable counts, then the default.
SELECTION = {
    "target": "HARNESS_TARGET",
    "host": "HARNESS_HOST",
    "model": "HARNESS_MODEL",
    "variant": "",
    "suite": "",
    "budget": "HARNESS_BUDGET",
}


SIDE = (
    "a run (id, prefix, folder, latest), the folder of a baseline, a CSV or a Parquet; "
    ":TARGET or :TARGET/BACKEND selects a part"
)


def _add_selection(parser: argparse.ArgumentParser) -> None:
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
    _add_results(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
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
