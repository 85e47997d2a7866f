"""A board that this host has locked, for one environment there or for several that take turns."""

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
from harness.executors.ssh.upload import Upload, upload_missing


class LockedBoard:
    """One connection to a board, and the lock there; the last user that leaves releases it.

    Parameters
    ----------
    client : SshClient
    folder : str
        The harness's folder on the board.
    silence_s : float
        The board releases the lock if it has heard nothing for this long.
    """

    def __init__(self, client: SshClient, folder: str, silence_s: float) -> None:
        self.client, self.token = client, secrets.token_hex(8)
        self._folder, self._silence_s = folder, silence_s
        self._lock: BoardLock | None = None
        self._facts: dict[str, Any] = {}
        #: Names of the archives that each user needs on the board.
        self._needed: dict[int, tuple[str, ...]] = {}

    def enter(self, user: object, pythons: Sequence[str], wait_s: float) -> Mapping[str, Any]:
        """Reach the board and lock it, unless another user did; a user that enters again locks it again.

        Returns
        -------
        mapping
            See ``board_side.facts``.

        Raises
        ------
        TargetUnavailable
        """
        if id(user) in self._needed or self._lock is None:
            self._end()
            self._lock = BoardLock(self.client, pythons, self.token, self._folder, self._silence_s)
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            try:
                self._facts = dict(self._lock.acquire(lock_owner(), now, wait_s, self._report_busy))
            except BaseException:
                self._end()  # it is not locked
                raise
        self._needed.setdefault(id(user), ())
        return self._facts

    def upload(self, user: object, archives: Sequence[Archive], room_byte: int) -> tuple[int, int]:
        """Send what the board does not have, and keep what any user needs; see ``upload_missing``."""
        self._needed[id(user)] = tuple(archive.name for archive in archives)
        upload = Upload(self.client, self.lock, self.token, self._facts, room_byte, self._all_needed)
        sent_byte, left_byte = upload_missing(upload, archives)
        self._facts["has"] = list({*self._facts["has"], *self._needed[id(user)]})
        return sent_byte, left_byte

    def ready(self, room_byte: int) -> None:
        """End all processes of the harness there; raises ``TargetUnavailable`` if the connection is lost."""
        self.lock.ready(self._all_needed, room_byte)

    def leave(self, user: object) -> None:
        """Release the board, unless another user needs it; what runs there ends."""
        self._needed.pop(id(user), None)
        if not self._needed:
            self._end()

    @property
    def lock(self) -> BoardLock:
        """The lock, after ``enter``."""
        assert self._lock is not None, "enter() comes first"
        return self._lock

    @property
    def _all_needed(self) -> list[str]:
        return list(dict.fromkeys(name for names in self._needed.values() for name in names))

    def _end(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.client.close()

    def _report_busy(self, by: str, since: str) -> None:
        print(f"waiting for {self.client.host}: {by} has locked it since {since}", file=sys.stderr)


_shared: WeakValueDictionary[tuple[str, ...], LockedBoard] = WeakValueDictionary()


def shared_board(lock_name: str, host: str, config: str, folder: str, silence_s: float) -> LockedBoard:
    """Return the board that all users of one `lock_name` share; an empty name shares with nobody."""
    board = _shared.get((lock_name, host, config)) if lock_name else None
    if board is None:
        board = LockedBoard(SshClient(host, config), folder, silence_s)
        if lock_name:
            _shared[lock_name, host, config] = board
    return board
