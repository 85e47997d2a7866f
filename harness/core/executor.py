"""Contracts of what starts workers on a device. On the host alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from harness.core.contracts import Availability
from harness.core.job import Batch, Event


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an executor can do with a target, known before the device is reached.

    Parameters
    ----------
    uses_this_machine : bool
        It uses this machine's processors: two such targets run one after the other.
    shares_python : bool
        Workers run in the Python that the harness runs in.
    emulated : bool
        The clock there means nothing: times and memory are NOT_APPLICABLE.
    takes_hosts : bool
        ``--host`` replaces ``hosts`` in its table. Without any, the target's ``without_host`` stands in.
    locks : bool
        It locks the device. ``--wait`` gives ``wait_s`` to its table: how long to wait for the lock. Targets
        with the same ``lock_name`` in their tables share one lock.
    alternates : bool
        ``requirements`` in its table pin what workers import, and two targets with different ones can take
        turns on one device: ``harness upgrade``.
    lists_wheels : bool
        ``requirements`` has to list every wheel, because what these require is not installed.
    label : str
        A word for ``harness targets``; the executor's name if empty.
    where : str
        The address of a device that has no host, for ``harness targets``.
    """

    uses_this_machine: bool = False
    shares_python: bool = False
    emulated: bool = False
    takes_hosts: bool = False
    locks: bool = False
    alternates: bool = False
    lists_wheels: bool = False
    label: str = ""
    where: str = ""


class Executor(Protocol):
    """Starts workers on the device of a target, sends bytes there, and returns results.

    The entry point of the group ``harness.executors`` names a callable that makes one from a ``Target`` and
    the host's folder of files by hash; that does no I/O. The callable may have a function ``abilities``: it
    gets the target's table ``[executor]``, returns ``Abilities``, and does no I/O either. Without it, the
    executor has none of them.
    """

    @property
    def parallel_batches(self) -> int:
        """How many batches it runs at the same time."""
        ...

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Prepare the device and ask which backends run on it; raises ``TargetUnavailable``."""
        ...

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches in order; every case gets exactly one result. Closing it ends what runs."""
        ...

    def stop(self) -> None:
        """End ``run`` soon; called from another thread."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


@runtime_checkable
class SupportsFleet(Protocol):
    """Reaches many devices through a scheduler, which knows them and what they run: ``harness fleet``."""

    @property
    def scheduler(self) -> tuple[str, ...]:
        """Identifies the scheduler: targets with equal ones are shown once."""
        ...

    def fleet(self) -> Mapping[str, Any]:
        """Ask the scheduler; raises ``TargetUnavailable`` if it cannot be reached.

        Returns
        -------
        mapping
            ``scheduler``, its address, and ``workers``: each with ``name``, ``address``, ``resources``
            (mapping of str to float), ``runs`` (each with ``what``, ``done``, ``of``, ``by``,
            ``since_utc``), ``trouble`` (why it does not answer), ``waiting`` and ``others`` (number of tasks
            of the harness that have not begun, and of somebody else).
        """
        ...
