"""A process that has imported the harness and forks one child a command, so that no test pays the imports.

Reads JSON lines ``{"argv", "cwd", "env", "out", "err", "limit_byte"}`` on standard input; answers each with
``{"pid"}`` and, when the child has ended, ``{"code"}`` (negative: the signal that ended it).
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import threading
import traceback
from typing import Any

import duckdb  # noqa: F401 - this and what follows is imported for the children: none of it starts threads

import harness.compare.history
import harness.compare.query
import harness.compression.quantize
import harness.report.html.page
import harness.report.html.read
import harness.report.progress
import harness.report.screen
import harness.run.forecast
import harness.run.side_by_side
import harness.run.stages  # noqa: F401
from harness.cli import main as cli


def _child(request: dict[str, Any]) -> int:
    os.setsid()
    # A shell that started the tests with & has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:0] = filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep))  # plug-ins
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), number)
    if request["limit_byte"]:
        # A file that would grow beyond it meets EFBIG, as one on a full disk meets ENOSPC.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit_byte"],) * 2)
    try:
        return cli.main(request["argv"])
    except SystemExit as end:  # argparse
        return end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - a traceback is what the tests look for
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def wait() -> None:
    """A loader of data that never ends."""
    print("waiting", file=sys.stderr, flush=True)
    threading.Event().wait()


def main() -> None:
    gc.collect()
    gc.freeze()  # or each collection in a child would walk through all of it, and copy its pages
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(_child(json.loads(line)))
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
