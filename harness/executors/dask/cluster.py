"""A Dask cluster as the host sees it: the connected workers, and calls to them with clear errors."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import threading
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from harness.core.commands import install, install_elsewhere
from harness.core.errors import TargetUnavailable
from harness.core.target import Target

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")

#: How long a scheduler may take to answer.
CONNECT_S = 10.0
#: How long a call may take that is answered at once, or when a worker process has ended.
ANSWER_S = 15.0
#: How long a task of the harness may take to end.
END_S = 10.0
#: Begins the name of every task of the harness.
TASK_PREFIX = "harness "


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
        ``tls://HOST:PORT``; ``tcp://`` is allowed on the loopback address.
    ca, cert, key : str
        PEM files; empty ones are taken from Dask's own configuration.
    """

    def __init__(self, address: str, ca: str = "", cert: str = "", key: str = "") -> None:
        self.address = address
        self._files = {"tls_ca_file": ca, "tls_client_cert": cert, "tls_client_key": key}
        self._client: Client | None = None
        self._connecting = threading.Lock()

    def connect(self) -> None:
        """Reach the scheduler, unless it is connected.

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
                f"Dask is required for a fleet, and {error.name} is not installed here",
                next_step=install("dask"),
            ) from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # our messages report the errors
        files = {key: str(Path(file).expanduser()) for key, file in self._files.items() if file}
        security = Security(**files)
        if self.address.startswith("tls://") and not security.tls_ca_file:
            raise TargetUnavailable(
                f"{self.address} needs TLS, and no certificates are named",
                next_step="name ca, cert and key in [executor] of the target: docs/fleet.md",
            )
        try:
            with warnings.catch_warnings():
                # A board has no pandas; the harness compares the versions that matter.
                warnings.simplefilter("ignore", VersionMismatchWarning)
                return Client(self.address, security=security, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, TypeError, ValueError) as error:  # TypeError: TLS without a key
            raise TargetUnavailable(
                f"no scheduler can be reached at {self.address}",
                cause=f"{error or type(error).__name__}".splitlines()[0],
                next_step="dask scheduler, as docs/fleet.md starts it",
            ) from error

    def boards(self) -> list[Board]:
        """All workers that are connected now, sorted by name.

        Raises
        ------
        TargetUnavailable
            The scheduler is gone, or a worker is reached without TLS.
        """
        workers = self._ask(lambda client: client.scheduler_info(n_workers=-1))["workers"]
        tasks = self._ask(lambda client: client.processing())
        boards = [
            Board(address, str(info["id"]), info["resources"], tuple(map(str, tasks.get(address, ()))))
            for address, info in workers.items()
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
        """Call one of the functions of ``worker_side``, whatever task the worker runs.

        A board without power or network is noticed after `within_s`; any other loss at once.

        Raises
        ------
        TargetUnavailable
            The board cannot be reached, or cannot run that function.
        """
        try:
            answer: T = self._ask(
                lambda client: client.run(
                    function, *arguments, workers=[board.address], callback_timeout=within_s
                )[board.address]
            )
            return answer
        except TargetUnavailable:
            raise
        except KeyError as error:  # no batch with that token
            raise TargetUnavailable(
                f"{board.name} has ended the batch",
                cause="this machine sent nothing for too long",
            ) from error
        except Exception as error:  # Dask raises a bare Exception for a failed import
            raise _cannot_run(board.name, error) from error

    def submit(self, board: Board, resource: str, key: str, function: Callable[..., Any],
               *arguments: object) -> Future:  # fmt: skip
        """Submit a task that takes the resource of one worker."""
        return self._ask(
            lambda client: client.submit(
                function, *arguments, key=TASK_PREFIX + key, workers=[board.address],
                allow_other_workers=False, resources={resource: 1}, retries=0, pure=False,
            )
        )  # fmt: skip

    def check_running(self, board: Board, future: Future) -> None:
        """Raise ``TargetUnavailable`` if a task ended without a result."""
        if future.status in ("error", "cancelled", "lost"):
            error = future.exception() if future.status == "error" else None
            if error is None:
                raise TargetUnavailable(f"{board.name} lost its task", cause=f"it is {future.status}")
            raise _cannot_run(f"{board.name}, or its scheduler,", error)

    def result(self, board: Board, future: Future) -> Any:  # noqa: ANN401
        """Wait for a task's result; raises ``TargetUnavailable`` if there is none."""
        self._ask(lambda client: future.exception())  # waits for the end
        self.check_running(board, future)
        return future.result()

    def drop(self, future: Future, *, ends: bool) -> None:
        """Cancel a task; with `ends`, wait for its end first, so that its board counts as free."""
        with contextlib.suppress(TargetUnavailable):
            if ends:
                self._ask(lambda client: future.exception(timeout=END_S))
            self._ask(lambda client: client.cancel([future], force=True))

    def close(self) -> None:
        """Close the connection to the scheduler."""
        client, self._client = self._client, None
        if client is not None:
            # ValueError: from Tornado, if a client that lost its scheduler was connecting again over TLS.
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                client.close(timeout=CONNECT_S)

    def _ask(self, call: Callable[[Client], Any]) -> Any:  # noqa: ANN401
        from concurrent.futures import CancelledError

        client = self._client
        if client is None:
            raise TargetUnavailable(f"the connection to {self.address} is closed")
        try:
            return call(client)
        except (OSError, TimeoutError, CancelledError, RuntimeError) as error:
            raise TargetUnavailable(
                f"a call through {self.address} failed", cause=f"{type(error).__name__}: {error}"
            ) from error


def cluster_of(target: Target) -> Cluster:
    """Return the cluster that ``[executor]`` of a target names."""
    table = target.executor
    return Cluster(table["scheduler"], *(table.get(name, "") for name in ("ca", "cert", "key")))


def address_problems(address: object) -> list[str]:
    """Check a scheduler's address; see ``settings.Rule``."""
    try:
        parts = urlsplit(str(address))
        if parts.scheme in ("tls", "tcp") and parts.hostname and parts.port:
            return []
    except ValueError:
        pass
    return [f"is an address like tls://scheduler.local:8786, not {address!r}"]


def _refuse_open(address: str) -> None:
    """Refuse other machines without TLS: any client of a Dask worker can run code on it."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme != "tls" and not _is_loopback(host):
        raise TargetUnavailable(
            f"{address} is on another machine and not reached over TLS",
            cause="any client that reaches a Dask worker can run any code on it",
            next_step="make certificates and start scheduler and workers with tls://: docs/fleet.md",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cannot_run(who: str, error: BaseException) -> TargetUnavailable:
    from importlib.metadata import version

    while error.__cause__ is not None:
        error = error.__cause__
    installed = version("deployment-validation-harness")
    return TargetUnavailable(
        f"{who} cannot run the harness's functions",
        cause=" ".join(f"{type(error).__name__}: {error}".split()),
        next_step=f"install version {installed} in that worker's Python: {install_elsewhere('dask')}",
    )
