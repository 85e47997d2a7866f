"""The equal boards of one target on a Dask cluster: made ready, compared, and taken one at a time."""

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
from harness.core.errors import TargetUnavailable
from harness.core.target import Target
from harness.executors.archive import Archive
from harness.executors.bundle import bundle_archive
from harness.executors.dask import worker_side
from harness.executors.dask.cluster import Board, cluster_of
from harness.executors.shared import refuse_unlike

#: A board that has not looked around on its disk, or unpacked the harness, by then will not.
READY_S = 120.0
#: How often a lane looks whether a board is free again.
LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Ready:
    """A board that has the host's code and was asked what it runs.

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
    """All boards of one target; many lanes ask it at once.

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
        self._parcel = Archive("", Path(), "", 0)
        self._ready: dict[str, Ready] = {}
        self._refused: set[str] = set()
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    @property
    def ours(self) -> str:
        """Name of the bundle that every board has."""
        return self._parcel.name

    def connect(self) -> list[Board]:
        """Reach the scheduler; returns the boards that have the resource.

        Raises
        ------
        TargetUnavailable
            There is no scheduler, or it knows no such board.
        """
        self.cluster.connect()
        connected = self.cluster.boards()
        boards = [board for board in connected if board.resources.get(self.resource, 0) >= 1]
        if not boards:
            has = ", ".join(f"{board.name} ({_resources(board) or 'no resource'})" for board in connected)
            raise TargetUnavailable(
                f"no worker of {self.cluster.address} has the resource {self.resource}",
                cause=f"connected are {has}" if has else "nobody is connected",
                next_step=f"dask worker … --resources {self.resource}=1: docs/fleet.md",
            )
        return boards

    def probe(self, names: Iterable[str]) -> list[Ready]:
        """Make every board ready and ask what it runs; they must be alike.

        Raises
        ------
        TargetUnavailable
            One cannot be made ready, or is not like the others.
        """
        self._names, self._parcel = list(names), bundle_archive(self._store)
        boards = self.connect()
        busy = [board.name for board in boards if board.tasks]
        if busy:
            print(f"waiting for {', '.join(busy)}: harness fleet says what runs there", file=sys.stderr)
        with ThreadPoolExecutor(len(boards)) as pool:
            try:
                answers = list(pool.map(self._made_ready, boards))
            except BaseException:  # Ctrl-C, too, while a busy board is waited for
                self.cluster.close()
                raise
        refuse_unlike("boards", [(ready.kind, ready.runs) for ready in answers])
        self._ready = dict(zip((board.address for board in boards), answers, strict=True))
        return answers

    @contextmanager
    def taken(self, stopped: threading.Event) -> Iterator[tuple[Board, Ready]]:
        """Take a board that is free, as soon as there is one, and give it back."""
        board, ready = self._take(stopped)
        try:
            yield board, ready
        finally:
            with self._lock:
                self._taken.discard(board.address)

    def _take(self, stopped: threading.Event) -> tuple[Board, Ready]:
        while True:
            with self._lock:
                for board in self.connect():
                    if board.address in self._taken or board.tasks or not self._admitted(board):
                        continue
                    self._taken.add(board.address)
                    return board, self._ready[board.address]
            if stopped.wait(LOOK_AGAIN_S):
                raise TargetUnavailable("nothing is measured any more")

    def _admitted(self, board: Board) -> bool:
        """Whether a board is like those that the run began with; one that came later is asked now."""
        if board.address not in self._ready and board.address not in self._refused:
            first = next(iter(self._ready.values()))
            try:
                found = self._made_ready(board)
                refuse_unlike("boards", [(first.kind, first.runs), (found.kind, found.runs)])
            except TargetUnavailable as error:
                self._refused.add(board.address)
                print(f"{board.name} came and is not used: {error}", file=sys.stderr)
            else:
                self._ready[board.address] = found
        return board.address in self._ready

    def _made_ready(self, board: Board) -> Ready:
        """Ship what the board lacks, and ask which backends run on it."""
        ours = self._parcel
        granted = self._target.disk_mb * 10**6
        before = time.time()
        found = self.cluster.call(
            board, worker_side.ready, ours.name, granted - ours.unpacked_byte, within_s=READY_S
        )
        clock = found["time_s"] - (before + time.time()) / 2
        shipped = 0
        if ours.name not in found["has"]:
            content = ours.path.read_bytes()
            answer = self.cluster.call(
                board, worker_side.receive, ours.name, ours.sha256, content, within_s=READY_S
            )
            if answer["type"] != "received":
                raise TargetUnavailable(
                    f"{board.name} could not take the harness", where=found["home"], cause=answer["error"],
                    next_step="free some room there",
                )  # fmt: skip
            shipped = len(content)
        key = f"probe {secrets.token_hex(8)}"
        task = self.cluster.submit(board, self.resource, key, worker_side.look, self._names, ours.name)
        try:
            told = self.cluster.result(board, task)
        finally:
            self.cluster.drop(task, ends=False)
        runs = {name: Availability.from_json(each) for name, each in told.items()}
        kind = f"{found['machine']} {found['cpu']} with Python {found['python']} and {found['libc']}"
        facts = {
            "host": board.name, "kind": kind, "clock_error_s": round(clock, 3), "shipped_byte": shipped,
            "free_byte": found["free_byte"],
        }  # fmt: skip
        held = found["held_byte"] + (ours.unpacked_byte if shipped else 0)
        return Ready(kind, runs, facts, found["home"], max(0, granted - held))


def _resources(board: Board) -> str:
    return " ".join(f"{name}={count:g}" for name, count in board.resources.items())
