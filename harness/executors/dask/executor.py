"""Many boards at once on a Dask cluster: Dask says who is there and who is busy, and carries the bytes.

A batch is one task that takes the resource of its board, so that nothing else of ours runs beside it. What
the batch and the host say to each other are calls beside that task: texts, numbers and bytes.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from harness.core.contracts import Availability
from harness.core.errors import ConfigurationError, Problem, TargetUnavailable
from harness.core.job import Batch, Event, JobResult
from harness.core.settings import unlisted_keys
from harness.core.target import Target
from harness.executors.dask import worker_side
from harness.executors.dask.boards import BoardPool
from harness.executors.dask.cluster import Board, Cluster, address_problems, file_problems
from harness.executors.device import RETRIES, DeviceExecutor
from harness.executors.shared import SharedExecutor
from harness.executors.ssh.lock import lock_owner

if TYPE_CHECKING:
    from distributed import Future

#: A board ends its batch when the host has not asked for so long.
SILENCE_S = 20.0
#: Keys of ``[executor]``.
KEYS = ("kind", "scheduler", "resource", "ca", "cert", "key", "retries")


class DaskExecutor(SharedExecutor):
    """Run batches on all equal boards of a cluster.

    Parameters
    ----------
    target : Target
        ``executor`` has ``scheduler`` (its address), and may have ``resource`` (that its workers were started
        with; else the target's name), ``ca``, ``cert``, ``key`` (PEM files), and ``retries`` (how often a job
        is begun again whose board was lost).
    store : Path
        Folder with ``data/<sha256>.npy``.

    Raises
    ------
    ConfigurationError
    """

    def __init__(self, target: Target, store: Path) -> None:
        check(target)
        self._pool, self._store = BoardPool(target, store), store
        self._retries: int = target.executor.get("retries", RETRIES)
        self._links: list[DaskConnection] = []
        super().__init__([self._lane()])

    def _lane(self) -> DeviceExecutor:
        self._links.append(DaskConnection(self._pool))
        return DeviceExecutor(self._links[-1], self._store, retries=self._retries)

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Make every board ready and ask which backends run; the boards must be alike."""
        ready = self._pool.probe(names)
        self._devices = [*self._devices, *(self._lane() for _ in ready[len(self._devices) :])]
        return ready[0].runs

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches, each on the board that is free; every case gets exactly one result."""
        for event in super().run(batches):
            if isinstance(event, JobResult):
                for connection in self._links:
                    connection.note(event)
            yield event

    def close(self) -> None:
        """Let the cluster go."""
        super().close()
        self._pool.cluster.close()


class DaskConnection:
    """The way to whichever board is free.

    Parameters
    ----------
    fleet : Fleet
    """

    ships = True
    silence_s = None  # the board itself ends a batch whose host has gone
    slowdown = 1.0

    def __init__(self, fleet: BoardPool) -> None:
        self.store = ""
        self.room_byte: int | None = None
        self.facts: Mapping[str, Any] = {}
        self.done = 0
        self._pool = fleet
        self._batch: Batch | None = None
        self._program: DaskProgram | None = None

    def connect(self) -> None:
        """Reach the scheduler; raises ``TargetUnavailable`` while it knows no board with the resource."""
        self._pool.connect()

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask all boards."""
        return dict(self._pool.probe(names)[0].runs)

    def start(self, batch: Batch, stopped: threading.Event) -> DaskProgram:
        """Take a board as soon as one is free, and start a worker on it."""
        cluster = self._pool.cluster
        with ExitStack() as stack:
            board, ready = stack.enter_context(self._pool.taken(stopped))
            self.facts, self.store, self.room_byte = ready.facts, ready.home, ready.room_byte
            self._batch, self.done = batch, 0
            token = secrets.token_hex(8)
            what = f"{batch.target} {batch.backend} {batch.variant} {batch.suite}"
            about = {"what": what, "by": lock_owner(), "done": 0, "of": len(batch.cases)}
            task = cluster.submit(
                board, self._pool.resource, f"{what} {token}",
                worker_side.hold, token, self._pool.ours, about, SILENCE_S,
            )  # fmt: skip
            self._program = program = DaskProgram(self, cluster, board, token, task)
            stack.callback(program.forget)
            while not cluster.call(board, worker_side.begun, token):
                cluster.failed(board, task)
                if stopped.is_set():
                    raise TargetUnavailable("nothing is measured any more")
            program.held = stack.pop_all()
        return program

    def note(self, result: JobResult) -> None:
        """Count a result of the batch that runs, for ``harness fleet``."""
        key, batch = result.key, self._batch
        if batch is not None and (key.backend, key.variant, key.suite) == (
            batch.backend, batch.variant, batch.suite,
        ):  # fmt: skip
            self.done += 1

    def lost(self, status: int) -> str:
        """Why the way to the board died; the status says nothing of it."""
        return self._program.lost if self._program is not None else ""

    def close(self) -> None:
        """There is nothing to let go: the fleet holds the cluster."""


class DaskProgram:
    """A worker process on a board, at the other end of calls to the Dask worker that holds it."""

    def __init__(
        self, connection: DaskConnection, cluster: Cluster, board: Board, token: str, task: Future
    ) -> None:
        self.lost = ""
        self.held = ExitStack()
        self._over = False
        self._connection, self._cluster, self._board, self._token, self._task = (
            connection,
            cluster,
            board,
            token,
            task,
        )
        self._ended: Mapping[str, Any] = {"status": 0, "said": ""}
        self.stdin = cast(BinaryIO, io.BufferedWriter(_Say(self), worker_side.CHUNK_BYTE))
        self.stdout = cast(BinaryIO, io.BufferedReader(_Hear(self), worker_side.CHUNK_BYTE))

    def say(self, data: bytes) -> None:
        """Let the process hear; raises ``BrokenPipeError`` where it does not."""
        # No limit: a process that is still starting does not read yet.
        if not self._call(worker_side.say, data, within_s=None):
            raise BrokenPipeError

    def hear(self) -> bytes:
        """Return what the process said; nothing at its end."""
        while True:
            answer = self._call(worker_side.hear, self._connection.done)
            if answer is None:
                return b""
            if "status" in answer:
                self._ended = answer
                return b""
            if answer["data"]:
                return bytes(answer["data"])

    def _call(self, function: Any, *arguments: Any, **limit: float | None) -> Any:  # noqa: ANN401
        if not self.lost:
            try:
                return self._cluster.call(self._board, function, self._token, *arguments, **limit)
            except TargetUnavailable as error:
                if not self._over:  # else it is gone because it was to end
                    self.lost = f"the board {self._board.name} was lost: {error.what}; {error.cause}"
        return None

    def status(self) -> int:
        """Exit status of the process, whose output ended."""
        return int(self._ended["status"])

    def said(self) -> str:
        """Return the last lines of its standard error."""
        return str(self._ended["said"])

    def end(self) -> None:
        """End the process and its task."""
        self._over = True
        self._call(worker_side.end)

    def forget(self) -> None:
        """Drop the task; unless its board is lost, wait until it counts as free."""
        self._cluster.drop(self._task, ends=not self.lost)

    def close(self) -> None:
        """Give the board back."""
        with contextlib.suppress(BrokenPipeError):  # what it never read is still in the buffer
            self.stdin.close()
        self.held.close()


class _Say(io.RawIOBase):
    def __init__(self, program: DaskProgram) -> None:
        self._program = program

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - Buffer, from Python 3.12 on
        piece = bytes(memoryview(data)[: worker_side.CHUNK_BYTE])
        self._program.say(piece)
        return len(piece)


class _Hear(io.RawIOBase):
    def __init__(self, program: DaskProgram) -> None:
        self._program, self._left = program, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - Buffer
        into = memoryview(buffer)
        data = self._left or self._program.hear()
        taken = min(len(into), len(data))
        into[:taken], self._left = data[:taken], data[taken:]
        return taken


def check(target: Target) -> None:
    """Check the table ``[executor]``.

    Raises
    ------
    ConfigurationError
        With every problem.
    """
    table = target.executor
    problems = [Problem(f"executor.{key}", text) for key, text in unlisted_keys(table, KEYS)]
    problems += address_problems(table.get("scheduler"), "executor.scheduler")
    problems += file_problems(table)
    resource = table.get("resource", target.name)
    if not isinstance(resource, str) or not resource:
        problems.append(Problem("executor.resource", "is the name that workers were started with"))
    if not isinstance(table.get("retries", 0), int):
        problems.append(Problem("executor.retries", "is no int"))
    if problems:
        raise ConfigurationError(f"target {target.name}", tuple(problems))
