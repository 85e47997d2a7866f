"""A board that this host holds: locked once, for one environment there or for several that take turns."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from harness.executors.archive import Archive
from harness.executors.ssh.client import SshClient
from harness.executors.ssh.lock import BoardLock, lock_owner
from harness.executors.ssh.upload import Upload, ship


class LockedBoard:
    """One connection to a board, and the lock there; whoever enters last lets it go.

    Parameters
    ----------
    client : SshClient
    folder : str
        Of ours on the board.
    silence_s : float
    """

    def __init__(self, client: SshClient, folder: str, silence_s: float) -> None:
        self.client, self.token = client, secrets.token_hex(8)
        self._folder, self._silence_s = folder, silence_s
        self._lock: BoardLock | None = None
        self._facts: dict[str, Any] = {}
        #: What each environment that is held here needs on the board.
        self._needed: dict[int, tuple[str, ...]] = {}

    def enter(self, who: object, pythons: Sequence[str], wait_s: float) -> Mapping[str, Any]:
        """Reach the board and lock it, unless another environment of this host did; anew for one that did.

        Returns
        -------
        mapping
            See ``board_side.facts``.

        Raises
        ------
        TargetUnavailable
        """
        if id(who) in self._needed or self._lock is None:
            self._end()
            self._lock = BoardLock(self.client, pythons, self.token, self._folder, self._silence_s)
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            try:
                self._facts = dict(self._lock.begin(lock_owner(), now, wait_s, self._say_busy))
            except BaseException:
                self._end()  # nobody may take it for held
                raise
        self._needed.setdefault(id(who), ())
        return self._facts

    def bring(self, who: object, wanted: Sequence[Archive], room_byte: int) -> tuple[int, int]:
        """Ship what the board lacks, and keep there what any environment needs; see ``cargo.ship``."""
        self._needed[id(who)] = tuple(each.name for each in wanted)
        upload = Upload(self.client, self._held, self.token, self._facts, room_byte, self._kept)
        found = ship(upload, wanted)
        self._facts["has"] = list({*self._facts["has"], *self._needed[id(who)]})
        return found

    def ready(self, room_byte: int) -> None:
        """Have nothing of ours run there; raises ``TargetUnavailable`` where the link is dead."""
        self._held.ready(self._kept, room_byte)

    def leave(self, who: object) -> None:
        """Let the board go, unless another environment holds it; what runs there ends."""
        self._needed.pop(id(who), None)
        if not self._needed:
            self._end()

    @property
    def _held(self) -> BoardLock:
        assert self._lock is not None, "enter() comes first"
        return self._lock

    @property
    def _kept(self) -> list[str]:
        return list(dict.fromkeys(name for names in self._needed.values() for name in names))

    def _end(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.client.close()

    def _say_busy(self, by: str, since: str) -> None:
        print(f"waiting for {self.client.host}: {by} has held it since {since}", file=sys.stderr)


_shared: WeakValueDictionary[tuple[str, ...], LockedBoard] = WeakValueDictionary()


def shared_board(name: str, host: str, config: str, folder: str, silence_s: float) -> LockedBoard:
    """Give the hold of a board that all of one `name` share; an empty name shares with nobody."""
    found = _shared.get((name, host, config)) if name else None
    if found is None:
        found = LockedBoard(SshClient(host, config), folder, silence_s)
        if name:
            _shared[name, host, config] = found
    return found
