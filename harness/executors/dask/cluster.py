"""A Dask cluster as the host sees it: who is connected, and calls whose failures are told in words."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import threading
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from harness.core.commands import install, install_elsewhere
from harness.core.errors import Problem, TargetUnavailable
from harness.core.target import Target

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")

#: A scheduler that does not answer by then is not there.
CONNECT_S = 10.0
#: A call that is answered at once; a few seconds more where a worker process is just ending.
ANSWER_S = 15.0
#: A task of ours that was asked to end has so long.
END_S = 10.0
#: Begins the name of every task of ours; what follows says what it does.
OURS = "harness"


@dataclass(frozen=True, slots=True)
class Board:
    """One Dask worker.

    Parameters
    ----------
    address, name : str
    resources : mapping of str to float
    tasks : tuple of str
        That it runs or has been given.
    """

    address: str
    name: str
    resources: Mapping[str, float]
    tasks: tuple[str, ...]


class Cluster:
    """A scheduler; the constructor does no I/O.

    Parameters
    ----------
    address : str
        ``tls://HOST:PORT``; on the loopback address ``tcp://`` will do.
    ca, cert, key : str
        PEM files; empty ones are those of Dask's own configuration.
    """

    def __init__(self, address: str, ca: str = "", cert: str = "", key: str = "") -> None:
        self.address = address
        self._files = {"tls_ca_file": ca, "tls_client_cert": cert, "tls_client_key": key}
        self._client: Client | None = None
        self._connecting = threading.Lock()

    def connect(self) -> None:
        """Reach the scheduler, unless that was done and it is still there.

        Raises
        ------
        TargetUnavailable
            It cannot be reached, or not over TLS.
        """
        with self._connecting:
            if self._client is None or self._client.status != "running":
                self.close()
                self._client = self._connected()

    def _connected(self) -> Client:
        _refuse_open(self.address)
        try:
            from distributed import Client
            from distributed.security import Security
            from distributed.versions import VersionMismatchWarning
        except ModuleNotFoundError as error:
            raise TargetUnavailable(
                f"a fleet is reached with Dask, and {error.name} is not installed here",
                next_step=install("dask"),
            ) from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong, our messages say
        files = {key: str(Path(file).expanduser()) for key, file in self._files.items() if file}
        security = Security(**files)
        if self.address.startswith("tls://") and not security.tls_ca_file:
            raise TargetUnavailable(
                f"{self.address} is reached over TLS, and no certificates are named",
                next_step="name ca, cert and key in [executor] of the target: docs/fleet.md",
            )
        try:
            with warnings.catch_warnings():
                # A board has no pandas; what matters of its versions is compared by us.
                warnings.simplefilter("ignore", VersionMismatchWarning)
                return Client(self.address, security=security, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, TypeError, ValueError) as error:  # TypeError: TLS without a key
            raise TargetUnavailable(
                f"no scheduler can be reached at {self.address}",
                cause=f"{error or type(error).__name__}".splitlines()[0],
                next_step="dask scheduler, as docs/fleet.md starts it",
            ) from error

    def boards(self) -> list[Board]:
        """All workers that are connected now, by their names.

        Raises
        ------
        TargetUnavailable
            The scheduler is gone, or a worker is reached without TLS.
        """
        found = self._asked(lambda client: client.scheduler_info(n_workers=-1))["workers"]
        tasks = self._asked(lambda client: client.processing())
        boards = [
            Board(address, str(told["id"]), told["resources"], tuple(map(str, tasks.get(address, ()))))
            for address, told in found.items()
        ]
        for board in boards:
            _refuse_open(board.address)
        return sorted(boards, key=lambda board: (board.name, board.address))

    def call(
        self,
        board: Board,
        function: Callable[..., Awaitable[T]],
        *arguments: object,
        within_s: float | None = ANSWER_S,
    ) -> T:
        """Call one of the functions of ``dask_side`` beside whatever the worker runs.

        A board that was switched off in just that moment, or whose cable was pulled, is noticed after
        `within_s`; any other loss at once.

        Raises
        ------
        TargetUnavailable
            It cannot be reached, or not run that function.
        """
        try:
            answer: T = self._asked(
                lambda client: client.run(
                    function, *arguments, workers=[board.address], callback_timeout=within_s
                )[board.address]
            )
            return answer
        except TargetUnavailable:
            raise
        except KeyError as error:  # of our own table, by token
            raise TargetUnavailable(
                f"{board.name} has ended the batch", cause="it did not hear from this machine for too long"
            ) from error
        except Exception as error:  # what cannot be imported there, Dask says as a bare Exception
            raise _another_version(board.name, error) from error

    def submit(self, board: Board, resource: str, key: str, function: Callable[..., Any],
               *arguments: object) -> Future:  # fmt: skip
        """Give one worker a task that takes its resource."""
        return self._asked(
            lambda client: client.submit(
                function, *arguments, key=f"{OURS} {key}", workers=[board.address],
                allow_other_workers=False, resources={resource: 1}, retries=0, pure=False,
            )
        )  # fmt: skip

    def failed(self, board: Board, future: Future) -> None:
        """Raise ``TargetUnavailable`` where a task has ended without a result."""
        if future.status in ("error", "cancelled", "lost"):
            error = future.exception() if future.status == "error" else None
            if error is None:
                raise TargetUnavailable(f"{board.name} lost its task", cause=f"it is {future.status}")
            raise _another_version(f"{board.name}, or its scheduler,", error)

    def result(self, board: Board, future: Future) -> Any:  # noqa: ANN401
        """Wait for a task's result; raises ``TargetUnavailable`` where there is none."""
        self._asked(lambda client: future.exception())  # waits for the end
        self.failed(board, future)
        return future.result()

    def drop(self, future: Future, *, ends: bool) -> None:
        """Forget a task; one that ends is waited for, so that its board counts as free."""
        with contextlib.suppress(TargetUnavailable):
            if ends:
                self._asked(lambda client: future.exception(timeout=END_S))
            self._asked(lambda client: client.cancel([future], force=True))

    def close(self) -> None:
        """Let the scheduler go."""
        client, self._client = self._client, None
        if client is not None:
            # ValueError: Tornado's, where a client that lost its scheduler was just connecting anew over TLS.
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                client.close(timeout=CONNECT_S)

    def _asked(self, ask: Callable[[Client], Any]) -> Any:  # noqa: ANN401
        from concurrent.futures import CancelledError

        client = self._client
        if client is None:
            raise TargetUnavailable(f"{self.address} was let go")
        try:
            return ask(client)
        except (OSError, TimeoutError, CancelledError, RuntimeError) as error:
            raise TargetUnavailable(
                f"a call through {self.address} failed", cause=f"{type(error).__name__}: {error}"
            ) from error


def cluster_of(target: Target) -> Cluster:
    """Return the cluster that ``[executor]`` of a target names."""
    table = target.executor
    return Cluster(table["scheduler"], *(table.get(name, "") for name in ("ca", "cert", "key")))


def address_problems(address: object, path: str) -> list[Problem]:
    """What is wrong with a scheduler's address."""
    try:
        parts = urlsplit(str(address))
        if parts.scheme in ("tls", "tcp") and parts.hostname and parts.port:
            return []
    except ValueError:
        pass
    return [Problem(path, f"is an address like tls://scheduler.local:8786, not {address!r}")]


def file_problems(table: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the names of the TLS files."""
    found = []
    for name in ("ca", "cert", "key"):
        file = table.get(name, "")
        if not isinstance(file, str):
            found.append(Problem(f"executor.{name}", "is the path of a PEM file"))
        elif file and not os.access(Path(file).expanduser(), os.R_OK):
            found.append(Problem(f"executor.{name}", f"{file} cannot be read"))
    return found


def _refuse_open(address: str) -> None:
    """Whoever speaks to a worker runs code on it: other machines are spoken to over TLS alone."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme != "tls" and not _is_loopback(host):
        raise TargetUnavailable(
            f"{address} is not on this machine and not reached over TLS",
            cause="whoever can speak to a Dask worker can run anything on it",
            next_step="make certificates and start scheduler and workers with tls://: docs/fleet.md",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _another_version(who: str, error: BaseException) -> TargetUnavailable:
    from importlib.metadata import version

    while error.__cause__ is not None:
        error = error.__cause__
    ours = version("deployment-validation-harness")
    return TargetUnavailable(
        f"{who} cannot run the harness's functions",
        cause=" ".join(f"{type(error).__name__}: {error}".split()),
        next_step=f"install version {ours} in that worker's Python: {install_elsewhere('dask')}",
    )
