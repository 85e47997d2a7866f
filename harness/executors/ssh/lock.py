"""The lock of a board: a process there that holds it, and kills leftover processes when the host is gone.

It is the first program that runs on the board, and its ssh connection carries all others.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from harness.core.errors import TargetUnavailable
from harness.device import process_end, worker
from harness.executors import board_facts, board_side
from harness.executors.ssh.client import SSH_FAILED, SshClient
from harness.executors.worker_session import KEEPALIVES_PER_SILENCE

#: Pythons that are tried on the board, in order.
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
NO_PYTHON = 72
#: POSIX sh: find a Python that is new enough and run the text in the first argument with it.
PRELUDE = """\
script=$1; shift
n=$1; shift
while [ "$n" -gt 0 ]; do
  python=$1; shift; n=$((n - 1))
  [ -n "$chosen" ] && continue
  version=$("$python" -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  case $version in
    [0-2].*|3.[0-9]|3.10) seen="$seen $python is $version," ;;
    *) chosen=$python ;;
  esac
done
if [ -z "$chosen" ]; then echo "${seen:-none}" >&2; exit 72; fi
exec "$chosen" -ISc "$script" "$@"
"""
#: How long to wait for an answer; a start under emulation takes seconds.
ANSWER_S = 120.0
#: No answer is longer; what is longer is read as several lines, of which none is an answer.
MAX_LINE_BYTE = 2**20
#: So many wait to be read.
MAX_LINES = 100

ReportBusy = Callable[[str, str], None]
"""Gets who has locked the board, and since when."""


class BoardLock:
    """Locks a board from ``acquire`` to ``close``.

    Parameters
    ----------
    client : SshClient
    pythons : sequence of str
        Tried in order.
    token : str
        Identifies the processes that this host started there.
    folder : str
        The harness's folder on the board.
    silence_s : float
    """

    def __init__(
        self, client: SshClient, pythons: Sequence[str], token: str, folder: str, silence_s: float
    ) -> None:
        self._client, self._pythons, self._token = client, pythons, token
        self._folder, self._silence_s = folder, silence_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._lines: queue.Queue[bytes] = queue.Queue(MAX_LINES)
        self._writing = threading.Lock()
        self._ended = threading.Event()

    def acquire(self, by: str, since: str, wait_s: float, report_busy: ReportBusy) -> Mapping[str, Any]:
        """Reach the board and lock it; returns its facts (see ``board_side.facts``).

        Raises
        ------
        TargetUnavailable
            It cannot be reached, has no Python, or is locked by another process.
        """
        self._client.settings()
        remote = on_board(
            self._token, self._pythons, "lock", self._folder, by, since, str(wait_s), str(self._silence_s)
        )
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended
        self._process = subprocess.Popen(
            self._client.command(remote, first=True), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._stderr, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        threading.Thread(target=self._keep_alive, daemon=True).start()
        before_s = time.time()
        host = self._client.host
        facts = board_facts.checked(self._answer("board", ANSWER_S), host, board_facts.FACTS)
        # A lower bound of the clock's error: the answer took a while to arrive.
        board_s = facts["time_s"]
        facts["clock_error_s"] = min(0.0, board_s - before_s) + max(0.0, board_s - time.time())
        while (answer := self._answer("", ANSWER_S + wait_s))["type"] == "busy":
            answer = board_facts.checked(answer, host, board_facts.BUSY)
            if answer["last"]:
                raise TargetUnavailable(
                    f"{host} is in use",
                    cause=f"{answer['by']} has locked it since {answer['since']}",
                    next_step="wait for it: --wait 30m",
                )  # fmt: skip
            report_busy(answer["by"], answer["since"])
        return facts

    def ready(self, keep: Sequence[str], room_byte: int) -> Mapping[str, Any]:
        """End all processes of the harness there, and delete uploads until those in `keep` fit.

        Raises
        ------
        TargetUnavailable
            The board does not answer.
        """
        self._write(json.dumps({"keep": list(keep), "room_byte": room_byte}))
        answer = self._answer("ready", ANSWER_S)
        return board_facts.checked(answer, self._client.host, board_facts.ROOM)

    def close(self) -> None:
        """Release the board; it ends the leftover processes of this host."""
        self._ended.set()
        if self._process is None:
            return
        with contextlib.suppress(OSError, ValueError), self._writing:
            cast(IO[bytes], self._process.stdin).close()
        try:
            self._process.wait(worker.EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            cast(IO[bytes], self._process.stdout).close()
        cast(IO[bytes], self._stderr).close()
        self._process = None

    def _listen(self, stdout: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := stdout.readline(MAX_LINE_BYTE):
                self._lines.put(line)
        self._lines.put(b"")

    def _keep_alive(self) -> None:
        while not self._ended.wait(self._silence_s / KEEPALIVES_PER_SILENCE):
            self._write("")

    def _write(self, line: str) -> None:
        if self._process is None:
            return
        stdin = cast(IO[bytes], self._process.stdin)
        with contextlib.suppress(OSError, ValueError), self._writing:  # the reader sees the end
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def _answer(self, kind: str, within_s: float) -> dict[str, Any]:
        """Wait for an answer of a kind; if it is empty, for whether the board is locked."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            raise TargetUnavailable(
                f"{self._client.host} sent nothing for {within_s:g} s",
                next_step=f"ssh -v {self._client.host}",
            ) from None
        if not line:
            raise self._failure()
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or answer.get("type") not in (
            (kind,) if kind else ("busy", "locked")
        ):
            text = line[:200].decode(errors="replace").strip()
            raise TargetUnavailable(
                f"{self._client.host} sent {text!r} instead of an answer",
                cause="a start-up file of the shell there prints in shells that are not interactive",
                next_step="print only in interactive shells",
            )
        return answer

    def _failure(self) -> TargetUnavailable:
        assert self._process is not None
        assert self._stderr is not None
        status = self._process.wait()
        self._stderr.seek(0)
        stderr = self._stderr.read().decode(errors="replace")
        host = self._client.host
        if status == SSH_FAILED or status < 0:
            return self._client.failure(stderr)
        if status == NO_PYTHON:
            pythons = stderr.strip().splitlines()[-1]
            return TargetUnavailable(
                f"there is no Python 3.11 or newer on {host}",
                cause="there is no python3" if pythons == "none" else pythons.rstrip(","),
                next_step="on the board: sudo apt install python3; or name one: python = PATH in [executor]",
            )
        lines = [line for line in stderr.splitlines() if line.strip()]
        return TargetUnavailable(
            f"{host} cannot be prepared", cause="; ".join(lines[-2:]) or process_end.exit_text(status),
            next_step=f"ssh {host} python3 --version",
        )  # fmt: skip


def on_board(token: str, pythons: Sequence[str], verb: str, *arguments: str) -> list[str]:
    """Return the command that runs `verb` of ``board_side`` on a board."""
    script = Path(board_side.__file__).read_text()
    count = str(len(pythons))
    return ["env", f"{board_side.TOKEN}={token}", "sh", "-c", PRELUDE, "harness", script, count, *pythons,
            verb, *arguments]  # fmt: skip


def lock_owner() -> str:
    """Name this process for others that find the board locked."""
    import getpass
    import platform

    return f"{getpass.getuser()}@{platform.node()} (process {os.getpid()})"
