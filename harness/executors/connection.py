"""The connection to a device: how a program is started there, and whether it sees the host's files."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.core.contracts import Availability
from harness.core.job import Batch
from harness.device import worker
from harness.device.probe import probe
from harness.executors.program import Child, Program


class Connection(Protocol):
    """What executors differ in. Its constructor does no I/O.

    Attributes
    ----------
    store : str
        Folder of the device's file store, as the device sees it.
    ships : bool
        The device does not see the host's files and asks for those that it does not have.
    silence_s : float, optional
        The worker ends if the host has sent nothing for this long; None if a lost connection is always
        noticed.
    slowdown : float
        How much longer everything may take there than on real hardware.
    room_byte : int, optional
        Size of the file store on a device that files are sent to; known once it is connected.
    facts : mapping
        What the host knows of the device, for the environment of every batch.
    """

    @property
    def store(self) -> str: ...  # noqa: D102
    @property
    def ships(self) -> bool: ...  # noqa: D102
    @property
    def silence_s(self) -> float | None: ...  # noqa: D102
    @property
    def slowdown(self) -> float: ...  # noqa: D102
    @property
    def room_byte(self) -> int | None: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102

    def connect(self) -> None:
        """Prepare the device; raises ``TargetUnavailable`` if it cannot be prepared."""
        ...

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device, once it is prepared, which backends can run on it."""
        ...

    def start(self, batch: Batch, stopped: threading.Event) -> Program:
        """Start a worker for a batch. Waits until the device is free or `stopped` is set.

        Raises
        ------
        TargetUnavailable
            The connection is lost.
        """
        ...

    def why_lost(self, status: int) -> str:
        """Why the exit status of a program means that the connection was lost; empty if it does not."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


class CommandConnection(ABC):
    """A device on which programs are started by a command on this machine."""

    slowdown: float = 1.0

    @abstractmethod
    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Return the command on this machine that starts `module` in the device's Python.

        Raises
        ------
        TargetUnavailable
            The connection is lost.
        """

    def environment(self) -> Mapping[str, str]:
        """Return the variables that are added to the environment of the started program."""
        return {}

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device which backends can run on it."""
        return probe(names, self.command, self.environment(), self.slowdown)

    def start(self, batch: Batch, stopped: threading.Event) -> Program:
        """Start a worker."""
        return Child(self.command(worker.MODULE), self.environment())


@dataclass(frozen=True)
class LocalConnection(CommandConnection):
    """Programs as children of this process, in its own Python or another.

    Parameters
    ----------
    store : str
    python : sequence of str
        The command that starts the Python of the workers.
    variables : mapping
        Added to the environment of the programs.
    slowdown : float
    """

    store: str
    python: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    slowdown: float = 1.0
    ships: bool = False
    silence_s: float | None = None
    room_byte: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def connect(self) -> None:
        """Do nothing: this machine is always connected."""

    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Start `module` as a child of this process."""
        return worker.command(self.python, module, *arguments)

    def environment(self) -> Mapping[str, str]:
        """Return the variables."""
        return self.variables

    def why_lost(self, status: int) -> str:
        """A child of this process cannot be lost."""
        return ""

    def close(self) -> None:
        """There is nothing to release."""


class PreparedConnection(CommandConnection):
    """A Python on this machine that is made before programs start in it."""

    ships = False
    silence_s = None
    room_byte = None
    facts: Mapping[str, str] = {}

    def __init__(self, store: Path) -> None:
        self.store = str(store)
        self._prepared: LocalConnection | None = None

    @abstractmethod
    def prepare(self) -> LocalConnection:
        """Make the Python, unless it is in the cache; raises ``TargetUnavailable`` if it cannot be made."""

    def connect(self) -> None:
        """Make the Python."""
        self._prepared = self.prepare()

    @property
    def _connection(self) -> LocalConnection:
        assert self._prepared is not None, "connect() comes first"
        return self._prepared

    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Start `module` in that Python."""
        return self._connection.command(module, *arguments)

    def environment(self) -> Mapping[str, str]:
        """Return the variables that lead to its packages."""
        return self._connection.environment()

    def why_lost(self, status: int) -> str:
        """A child of this process cannot be lost."""
        return ""

    def close(self) -> None:
        """There is nothing to release."""
