"""The equal boards of one target on a Dask cluster: prepared, compared, and taken one at a time."""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable, WorkerError
from harness.core.target import Target
from harness.device.probe import availability
from harness.executors import board_facts
from harness.executors.archive import Archive
from harness.executors.bundle import bundle_archive
from harness.executors.dask import worker_side
from harness.executors.dask.cluster import Board, cluster_of
from harness.executors.shared import refuse_unlike

#: How long a board may take to look at its disk, or to unpack the bundle.
PREPARE_S = 120.0
#: How often a lane looks whether a board is free.
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class PreparedBoard:
    """A board that has the bundle, and what runs on it.

    Parameters
    ----------
    kind : str
    runs : mapping of backend to Availability
    facts : mapping
        For the environment of its batches.
    home : str
        Its folder.
    room_byte : int
        For data and artifacts.
    """

    kind: str
    runs: Mapping[str, Availability]
    facts: Mapping[str, Any]
    home: str
    room_byte: int


class BoardPool:
    """All boards of one target; several lanes use it at the same time.

    Parameters
    ----------
    target : Target
    store : Path
    """

    def __init__(self, target: Target, store: Path) -> None:
        self.cluster = cluster_of(target)
        self.resource = str(target.executor.get("resource", target.name))
        self._target, self._store = target, store
        self._names: list[str] = []
        self._bundle = Archive("", Path(), "", 0)
        self._prepared: dict[str, PreparedBoard] = {}
        self._refused: set[str] = set()
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    @property
    def bundle_name(self) -> str:
        """Name of the bundle that every board has."""
        return self._bundle.name

    def connect(self) -> list[Board]:
        """Reach the scheduler and return the boards that have the resource.

        Raises
        ------
        TargetUnavailable
            There is no scheduler, or no such board is connected to it.
        """
        self.cluster.connect()
        connected = self.cluster.boards()
        boards = [board for board in connected if board.resources.get(self.resource, 0) >= 1]
        if not boards:
            listed = ", ".join(f"{board.name} ({_resources(board) or 'no resource'})" for board in connected)
            raise TargetUnavailable(
                f"no worker of {self.cluster.address} has the resource {self.resource}",
                cause=f"connected are {listed}" if listed else "no worker is connected",
                next_step=f"dask worker … --resources {self.resource}=1: docs/fleet.md",
            )
        return boards

    def probe(self, names: Iterable[str]) -> list[PreparedBoard]:
        """Prepare every board and ask which backends run on it; all must be alike.

        Raises
        ------
        TargetUnavailable
            One cannot be prepared, or differs from the others.
        """
        self._names, self._bundle = list(names), bundle_archive(self._store)
        boards = self.connect()
        busy = [board.name for board in boards if board.tasks]
        if busy:
            print(f"waiting for {', '.join(busy)}; to see what runs there: harness fleet", file=sys.stderr)
        with ThreadPoolExecutor(len(boards)) as pool:
            try:
                prepared = list(pool.map(self._prepare, boards))
            except BaseException:  # also Ctrl-C while waiting for a busy board
                self.cluster.close()
                raise
        refuse_unlike("boards", [(board.kind, board.runs) for board in prepared])
        self._prepared = dict(zip((board.address for board in boards), prepared, strict=True))
        return prepared

    @contextmanager
    def taken(self, stopped: threading.Event) -> Iterator[tuple[Board, PreparedBoard]]:
        """Take a board as soon as one is free, and return it to the pool in the end."""
        board, prepared = self._take(stopped)
        try:
            yield board, prepared
        finally:
            with self._lock:
                self._taken.discard(board.address)

    def _take(self, stopped: threading.Event) -> tuple[Board, PreparedBoard]:
        while True:
            with self._lock:
                for board in self.connect():
                    if board.address in self._taken or board.tasks or not self._admitted(board):
                        continue
                    self._taken.add(board.address)
                    return board, self._prepared[board.address]
            if stopped.wait(POLL_S):
                raise TargetUnavailable("the run was stopped")

    def _admitted(self, board: Board) -> bool:
        """Whether a board is like those that the run began with; a new one is prepared and compared now."""
        if board.address not in self._prepared and board.address not in self._refused:
            first = next(iter(self._prepared.values()))
            try:
                prepared = self._prepare(board)
                refuse_unlike("boards", [(first.kind, first.runs), (prepared.kind, prepared.runs)])
            except TargetUnavailable as error:
                self._refused.add(board.address)
                print(f"{board.name} was connected during the run and is not used: {error}", file=sys.stderr)
            else:
                self._prepared[board.address] = prepared
        return board.address in self._prepared

    def _prepare(self, board: Board) -> PreparedBoard:
        """Send the bundle, unless the board has it, and ask which backends run."""
        bundle = self._bundle
        granted_byte = self._target.disk_mb * 10**6
        before_s = time.time()
        facts = self.cluster.call(
            board, worker_side.ready, bundle.name, granted_byte - bundle.unpacked_byte, within_s=PREPARE_S
        )
        facts = board_facts.checked(facts, board.name, board_facts.PREPARED)
        clock_error_s = facts["time_s"] - (before_s + time.time()) / 2
        sent_byte = 0
        if bundle.name not in facts["has"]:
            content = bundle.path.read_bytes()
            answer = self.cluster.call(
                board, worker_side.receive, bundle.name, bundle.sha256, content, within_s=PREPARE_S
            )
            answer = board_facts.checked(answer, board.name, board_facts.RECEIVED)
            if answer["type"] != "received":
                raise TargetUnavailable(
                    f"the upload of the harness to {board.name} failed", where=facts["home"],
                    cause=answer.get("error", ""), next_step="free some space there",
                )  # fmt: skip
            sent_byte = len(content)
        key = f"probe {secrets.token_hex(8)}"
        task = self.cluster.submit(
            board, self.resource, key, worker_side.probe_backends, self._names, bundle.name
        )
        try:
            answers = self.cluster.result(board, task)
        finally:
            self.cluster.drop(task, ends=False)
        try:
            runs = {name: availability(answers[name]) for name in self._names}
        except (WorkerError, KeyError, TypeError) as error:
            raise TargetUnavailable(
                f"{board.name} sent no answer of its backends", cause=str(error)
            ) from error
        kind = f"{facts['machine']} {facts['cpu']} with Python {facts['python']} and {facts['libc']}"
        environment = {
            "host": board.name, "kind": kind, "clock_error_s": round(clock_error_s, 3),
            "shipped_byte": sent_byte, "free_byte": facts["free_byte"],
        }  # fmt: skip
        used_byte = facts["kept_byte"] + (bundle.unpacked_byte if sent_byte else 0)
        return PreparedBoard(kind, runs, environment, facts["home"], max(0, granted_byte - used_byte))


def _resources(board: Board) -> str:
    return " ".join(f"{name}={count:g}" for name, count in board.resources.items())
