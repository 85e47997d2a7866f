"""Many boards in parallel on a Dask cluster: Dask lists the boards and their tasks, and carries the bytes.

A batch is one task that takes the resource of its board, so that no other batch runs there. The streams of
the batch go through calls that Dask runs during that task: texts, numbers and bytes.
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
from harness.core.errors import TargetUnavailable
from harness.core.executor import Abilities
from harness.core.job import Batch, Event, JobResult
from harness.core.target import Target
from harness.executors import settings
from harness.executors.dask import status, worker_side
from harness.executors.dask.boards import BoardPool
from harness.executors.dask.cluster import Board, Cluster, address_problems
from harness.executors.device import RETRIES, DeviceExecutor
from harness.executors.shared import SharedExecutor
from harness.executors.ssh.lock import lock_owner

if TYPE_CHECKING:
    from distributed import Future

#: A board ends its batch if the host has not called for so long.
SILENCE_S = 20.0
#: Keys of ``[executor]``.
SETTINGS = {
    "scheduler": address_problems,
    "resource": settings.text("the name of a resource that workers were started with"),
    **dict.fromkeys(("ca", "cert", "key"), settings.readable_file("the path of a PEM file")),
    "retries": settings.integer,
}


class DaskExecutor(SharedExecutor):
    """Run batches on all equal boards of a cluster.

    Parameters
    ----------
    target : Target
        ``executor`` has ``scheduler`` (its address), and may have ``resource`` (that its workers were started
        with; by default the target's name), ``ca``, ``cert``, ``key`` (PEM files), and ``retries`` (how often
        a job is started again whose board was lost).
    store : Path
        Folder with ``data/<sha256>.npy``.

    Raises
    ------
    ConfigurationError
    """

    def __init__(self, target: Target, store: Path) -> None:
        settings.check(target, SETTINGS, required=("scheduler",))
        self._pool, self._store = BoardPool(target, store), store
        table = target.executor
        self.scheduler = tuple(str(table.get(key, "")) for key in ("scheduler", "ca", "cert", "key"))
        self._retries: int = table.get("retries", RETRIES)
        self._connections: list[DaskConnection] = []
        super().__init__([self._lane()])

    def _lane(self) -> DeviceExecutor:
        self._connections.append(DaskConnection(self._pool))
        return DeviceExecutor(self._connections[-1], self._store, retries=self._retries)

    @staticmethod
    def abilities(table: Mapping[str, Any]) -> Abilities:
        """Dask chooses the board of a batch, so two versions cannot take turns on one."""
        return Abilities(label="fleet", where=str(table.get("scheduler", "")))

    def fleet(self) -> Mapping[str, Any]:
        """Ask the scheduler which workers are connected and what they run."""
        return status.fleet(self._pool.cluster)

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Prepare every board and ask which backends run; the boards must be alike."""
        boards = self._pool.probe(names)
        self._devices = [*self._devices, *(self._lane() for _ in boards[len(self._devices) :])]
        return boards[0].runs

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches, each on a board that is free; every case gets exactly one result."""
        for event in super().run(batches):
            if isinstance(event, JobResult):
                for connection in self._connections:
                    connection.count(event)
            yield event

    def close(self) -> None:
        """Release the boards and close the connection to the scheduler."""
        super().close()
        self._pool.cluster.close()


class DaskConnection:
    """A connection to a board that is free when a batch starts.

    Parameters
    ----------
    pool : BoardPool
    """

    ships = True
    silence_s = None  # the Dask worker ends a batch whose host is gone
    slowdown = 1.0

    def __init__(self, pool: BoardPool) -> None:
        self.store = ""
        self.room_byte: int | None = None
        self.facts: Mapping[str, Any] = {}
        self.done = 0
        self._pool = pool
        self._batch: Batch | None = None
        self._program: DaskProgram | None = None

    def connect(self) -> None:
        """Reach the scheduler; raises ``TargetUnavailable`` if no board with the resource is connected."""
        self._pool.connect()

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask all boards."""
        return dict(self._pool.probe(names)[0].runs)

    def start(self, batch: Batch, stopped: threading.Event) -> DaskProgram:
        """Take a board as soon as one is free, and start a worker on it."""
        cluster = self._pool.cluster
        with ExitStack() as stack:
            board, prepared = stack.enter_context(self._pool.taken(stopped))
            self.facts, self.store, self.room_byte = prepared.facts, prepared.home, prepared.room_byte
            self._batch, self.done = batch, 0
            token = secrets.token_hex(8)
            what = f"{batch.target} {batch.backend} {batch.variant} {batch.suite}"
            about = {"what": what, "by": lock_owner(), "done": 0, "of": len(batch.cases)}
            task = cluster.submit(
                board, self._pool.resource, f"{what} {token}",
                worker_side.run_batch, token, self._pool.bundle_name, about, SILENCE_S,
            )  # fmt: skip
            self._program = program = DaskProgram(self, cluster, board, token, task)
            stack.callback(program.drop)
            while not cluster.call(board, worker_side.has_begun, token):
                cluster.check_running(board, task)
                if stopped.is_set():
                    raise TargetUnavailable("the run was stopped")
            program.resources = stack.pop_all()
        return program

    def count(self, result: JobResult) -> None:
        """Count a result of the batch that runs, for ``harness fleet``."""
        key, batch = result.key, self._batch
        if batch is not None and (key.backend, key.variant, key.suite) == (
            batch.backend, batch.variant, batch.suite,
        ):  # fmt: skip
            self.done += 1

    def why_lost(self, status: int) -> str:
        """Why the board was lost; the exit status does not show it."""
        return self._program.lost if self._program is not None else ""

    def close(self) -> None:
        """There is nothing to release: the pool has the connection."""


class DaskProgram:
    """A worker process on a board, reached by calls to the Dask worker that started it."""

    def __init__(
        self, connection: DaskConnection, cluster: Cluster, board: Board, token: str, task: Future
    ) -> None:
        self.lost = ""
        self.resources = ExitStack()
        self._ending = False
        self._connection, self._cluster, self._board, self._token, self._task = (
            connection,
            cluster,
            board,
            token,
            task,
        )
        self._ended: Mapping[str, Any] = {"status": 0, "stderr": ""}
        self.stdin = cast(BinaryIO, io.BufferedWriter(_Stdin(self), worker_side.CHUNK_BYTE))
        self.stdout = cast(BinaryIO, io.BufferedReader(_Stdout(self), worker_side.CHUNK_BYTE))

    def write(self, data: bytes) -> None:
        """Write to the process; raises ``BrokenPipeError`` if it does not read any more."""
        # No limit: a process that is still starting does not read yet.
        if not self._call(worker_side.write_stdin, data, within_s=None):
            raise BrokenPipeError

    def read(self) -> bytes:
        """Return output of the process; nothing after its end."""
        while True:
            answer = self._call(worker_side.read_stdout, self._connection.done)
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
                if not self._ending:  # else it is gone because it was ended
                    self.lost = f"the board {self._board.name} was lost: {error.what}; {error.cause}"
        return None

    def status(self) -> int:
        """Exit status of the process, whose output ended."""
        return int(self._ended["status"])

    def stderr_tail(self) -> str:
        """Return the last lines of its standard error."""
        return str(self._ended["stderr"])

    def end(self) -> None:
        """End the process and its task."""
        self._ending = True
        self._call(worker_side.end)

    def drop(self) -> None:
        """Cancel the task; unless its board is lost, wait until it counts as free."""
        self._cluster.drop(self._task, ends=not self.lost)

    def close(self) -> None:
        """Return the board to the pool."""
        with contextlib.suppress(BrokenPipeError):  # the buffer may hold what the program never read
            self.stdin.close()
        self.resources.close()


class _Stdin(io.RawIOBase):
    def __init__(self, program: DaskProgram) -> None:
        self._program = program

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - Buffer, from Python 3.12 on
        piece = bytes(memoryview(data)[: worker_side.CHUNK_BYTE])
        self._program.write(piece)
        return len(piece)


class _Stdout(io.RawIOBase):
    def __init__(self, program: DaskProgram) -> None:
        self._program, self._buffer = program, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - Buffer
        into = memoryview(buffer)
        data = self._buffer or self._program.read()
        count = min(len(into), len(data))
        into[:count], self._buffer = data[:count], data[count:]
        return count
