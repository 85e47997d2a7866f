"""The way to a device: how a program is started there, and whether it sees the host's files."""

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
        The depot's folder as the device sees it.
    ships : bool
        The device does not see the host's files and asks for those that it lacks.
    silence_s : float, optional
        The worker ends when the host has said nothing for so long; None where a link cannot die in silence.
    slowdown : float
        How much longer everything may take there than on real hardware.
    room_byte : int, optional
        Of the depot on a device that files are shipped to; known once it is connected.
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
        """Make the device ready, once; raises ``TargetUnavailable`` where it cannot be."""
        ...

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device, once it is ready, which backends can run on it."""
        ...

    def start(self, batch: Batch, stopped: threading.Event) -> Program:
        """Start a worker for a batch; where the device is not free, wait until it is or `stopped` is set.

        Raises
        ------
        TargetUnavailable
            The link is dead.
        """
        ...

    def lost(self, status: int) -> str:
        """Why the exit status of a program means that the link, not the program, died; else empty."""
        ...

    def close(self) -> None:
        """Let the device go."""
        ...


class CommandConnection(ABC):
    """A device on which programs are started by a command on this machine."""

    slowdown: float = 1.0

    @abstractmethod
    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Return what starts `module` in the device's Python, as arguments for this machine.

        Raises
        ------
        TargetUnavailable
            The link is dead.
        """

    def environment(self) -> Mapping[str, str]:
        """Return what the started program finds in its environment besides this one's."""
        return {}

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device which backends can run on it."""
        return probe(names, self.command, self.environment(), self.slowdown)

    def start(self, batch: Batch, stopped: threading.Event) -> Program:
        """Start a worker."""
        return Child(self.command(worker.MODULE), self.environment())


@dataclass(frozen=True)
class LocalConnection(CommandConnection):
    """Programs as children of this process, with its own Python or another.

    Parameters
    ----------
    store : str
    python : sequence of str
        What starts the Python that workers run in.
    variables : mapping
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
        """It is here."""

    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Start `module` as a child of this process."""
        return worker.command(self.python, module, *arguments)

    def environment(self) -> Mapping[str, str]:
        """Return the variables."""
        return self.variables

    def lost(self, status: int) -> str:
        """A child of this process cannot be lost."""
        return ""

    def close(self) -> None:
        """There is nothing to let go."""


class PreparedConnection(CommandConnection):
    """A Python on this machine that has to be made before programs start in it."""

    ships = False
    silence_s = None
    room_byte = None
    facts: Mapping[str, str] = {}

    def __init__(self, store: Path) -> None:
        self.store = str(store)
        self._made: LocalConnection | None = None

    @abstractmethod
    def make(self) -> LocalConnection:
        """Make it, where it is not in the cache; raises ``TargetUnavailable`` where it cannot be."""

    def connect(self) -> None:
        """Make it."""
        self._made = self.make()

    @property
    def _connection(self) -> LocalConnection:
        assert self._made is not None, "connect() comes first"
        return self._made

    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Start `module` in that Python."""
        return self._connection.command(module, *arguments)

    def environment(self) -> Mapping[str, str]:
        """Return the variables that lead to its packages."""
        return self._connection.environment()

    def lost(self, status: int) -> str:
        """A child of this process cannot be lost."""
        return ""

    def close(self) -> None:
        """There is nothing to let go."""
