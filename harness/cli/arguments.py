"""The command line: commands, options, and where an option takes its default from."""

from __future__ import annotations

import argparse
import math
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.cli import cached, challenging, explaining, shifting, stored_runs
from harness.cli.options import add_results, add_selection, command

DESCRIPTION = "Run one float model and its compressed variants on every target, and judge the results."
EPILOG = """exit codes: 0 every blocking gate passed · 1 one failed · 2 usage or configuration
            3 could not measure, or interrupted · 4 inconclusive"""


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

    validate = command(commands, "validate", "measure and judge")
    add_selection(validate)
    validate.add_argument("--resume", metavar="RUN", help="continue an interrupted run")
    validate.add_argument("--wait", metavar="30m", default=os.environ.get("HARNESS_WAIT", ""),
                          help="longest time to wait for a locked board: 90s, 3m, 1h")  # fmt: skip
    validate.add_argument("--release", action="store_true",
                          help="require real hardware: what emulation cannot measure is NOT_RUN")  # fmt: skip
    validate.add_argument("--explain", metavar="60s", default=os.environ.get("HARNESS_EXPLAIN", ""),
                          help="how long to look for the causes of wrong answers; 0: not at all")  # fmt: skip
    validate.add_argument("--decide-within", metavar="10m",
                          help="longest time to measure on while gates on times are undecided")  # fmt: skip
    as_json = validate.add_mutually_exclusive_group()
    as_json.add_argument("--json", action="store_true", help="print the outcome as JSON")
    as_json.add_argument("--json-lines", action="store_true",
                         help="print progress and outcome as JSON, one object a line")  # fmt: skip
    validate.set_defaults(command="validate")

    plan = command(commands, "plan", "show what would run, how long it takes and what it can decide")
    add_selection(plan)
    plan.add_argument(
        "--trust", action="store_true", help="also where files of another user run code: SECURITY.md"
    )
    plan.set_defaults(command="plan")

    judge = commands.add_parser(
        "judge",
        help="repeat summary and verdicts of a stored run",
        description="Repeat summary and verdicts of a stored run; nothing is measured.",
    )
    judge.add_argument("run", metavar="RUN", help="id, unique prefix, folder, or latest")
    add_results(judge)
    judge.add_argument("--json", action="store_true", help="print the outcome as JSON")
    judge.set_defaults(command="judge")

    stored_runs.add(commands)
    challenging.add(commands)
    explaining.add(commands)
    shifting.add(commands)
    cached.add(commands)
    _add_init(commands)
    _add_score(commands)
    _add_compression(commands)
    _add_looks(commands)
    return parser


def _add_init(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    init = command(commands, "init", "write a validation.toml for a model")
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
                      help="a task by its name in docs/tasks.md (default: tried)")  # fmt: skip
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
    score = command(commands, "score", "metrics of stored predictions, without a model")
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
    compress = command(commands, "compress", "make one variant: its files and its card")
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

    search = command(commands, "search", "find the smallest model within the accuracy budget")
    search.add_argument("model", metavar="MODEL", type=Path, nargs="?",
                        help="a folder, a validation.toml, or an ONNX file beside one (default: digits)",
    )  # fmt: skip
    search.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="a folder to write")
    search.set_defaults(command="search")


def _add_looks(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Commands that measure nothing."""
    targets = command(commands, "targets", "list what can run here, or why it cannot")
    targets.set_defaults(command="targets")

    checks = command(commands, "checks", "list the built-in checks: what every honest deployment holds")
    checks.add_argument("name", metavar="NAME", nargs="?", default="", help="describe that one")
    checks.set_defaults(command="checks")

    fleet = command(commands, "fleet", "list the workers of a scheduler, and what each runs")
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
    add_results(doctor)
    doctor.set_defaults(command="doctor")
