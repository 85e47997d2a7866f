"""Commands that look at stored runs, and those that compare: their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import add_results, command

#: Options of a side-by-side comparison alone, and their defaults.
SIDE_BY_SIDE = {
    "target": "cpu", "model": "", "variant": "int8", "metric": "", "max_ratio": 1.05,
    "decide_within": "2m",
}  # fmt: skip
SIDE = (
    "a run (id, prefix, folder, latest), the folder of a baseline, a CSV or a Parquet; "
    ":TARGET or :TARGET/BACKEND selects a part"
)


def add(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Add the commands."""
    _add_compare(commands)
    _add_report(commands)
    _add_baseline(commands)
    _add_upgrade(commands)
    _add_archive(commands)


def _add_report(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    report = command(commands, "report", "write a run, or a comparison of several, as one HTML file")
    report.add_argument("run", metavar="RUN", nargs="+",
                        help="id, unique prefix, folder, or latest; of several runs of a "
                             "target the last is shown, and all are compared with the first")  # fmt: skip
    report.add_argument("-o", "--out", metavar="FILE", type=Path, default=Path("report.html"),
                        help="what to write (default: report.html)")  # fmt: skip
    report.add_argument("--images", metavar="DIR", type=Path,
                        help="write every plot there too, as PNG and SVG (needs a Chromium)")  # fmt: skip
    add_results(report)
    report.set_defaults(command="report")


def _add_compare(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """``compare``: stored runs, or two versions side by side."""
    compare = command(commands, "compare", "show what differs between runs, releases or devices")
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
    add_results(compare)
    compare.set_defaults(command="compare")


def _add_upgrade(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """``upgrade``: one runtime in two versions."""
    upgrade = command(commands, "upgrade", "show what another version of a runtime changes on each target")
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
    upgrade.add_argument("--explain", metavar="60s", default="",
                         help="where bits differ, look so long for layer and cause; 0: not (default: 60s)",
    )  # fmt: skip
    add_results(upgrade)
    upgrade.set_defaults(command="upgrade")


def _add_baseline(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """``baseline`` and its subcommands."""
    parser = command(commands, "baseline", "save accepted runs, and compare with them")
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="way")

    save = command(ways, "save", "save a run under a name that gates can compare with")
    save.add_argument("run", metavar="RUN", help="id, unique prefix, folder, or latest")
    save.add_argument("--reason", metavar="TEXT", required=True, help="why it is accepted")
    save.add_argument("--by", metavar="WHO", default="", help="who accepts it (default: the user's name)")
    save.add_argument("--target", metavar="T,…", default="", help="targets of the run (default: all)")
    save.add_argument("--artifacts", action="store_true",
                      help="save the artifacts too, for gates that time them side by side",
    )  # fmt: skip
    save.add_argument("--replace", action="store_true", help="replace the baseline of that name")

    listed = command(ways, "list", "list the baselines, who accepted them and why")
    show = command(ways, "show", "show one baseline")
    diff = command(ways, "diff", "compare a run with a baseline, target by target")
    diff.add_argument("run", metavar="RUN", nargs="?", default="latest",
                      help="id, unique prefix, folder, or latest (default)")  # fmt: skip
    for way in (show, diff):
        way.add_argument("--model", metavar="NAME", default="", help="only of that model")
        way.add_argument("--target", metavar="T", default="", help="only of that target")
    for way in (save, show, diff):
        way.add_argument("--name", metavar="NAME", default="accepted", help="its name (default: accepted)")
    for way in (save, listed, show, diff):
        add_results(way)
        way.set_defaults(command="baseline")


def _add_archive(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Commands that read all runs of a results folder."""
    history = command(commands, "history", "show metrics from run to run, and where they changed")
    history.add_argument("--metric", metavar="GLOB,…", default="",
                         help="metrics (default: what the gates of the newest run look at)")  # fmt: skip
    history.add_argument("--target", metavar="T,…", default="", help="only these targets")
    history.add_argument("--variant", metavar="V,…", default="", help="only these variants")
    history.add_argument("--case", metavar="C,…", default="", help="only these cases")
    history.add_argument("--csv", metavar="FILE", type=Path, help="write every point")
    history.add_argument("--html", metavar="FILE", type=Path, help="write it as an HTML page")
    history.add_argument("--json", action="store_true", help="print it as JSON")
    add_results(history)
    history.set_defaults(command="history")

    query = command(commands, "query", "query all runs in SQL: views measurements, verdicts, cards")
    query.add_argument("sql", metavar="SQL", help="one SELECT, in DuckDB's dialect")
    query.add_argument("--csv", metavar="FILE", type=Path, help="write the answer")
    add_results(query)
    query.set_defaults(command="query")
