"""A board that this host holds: locked once, for one environment there or for several that take turns."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from harness.executors.archive import Parcel
from harness.executors.ssh.client import SecureShell
from harness.executors.ssh.lock import Guardian, holder
from harness.executors.ssh.upload import Cargo, ship


class Hold:
    """One connection to a board, and the lock there; whoever enters last lets it go.

    Parameters
    ----------
    shell : SecureShell
    folder : str
        Of ours on the board.
    silence_s : float
    """

    def __init__(self, shell: SecureShell, folder: str, silence_s: float) -> None:
        self.shell, self.token = shell, secrets.token_hex(8)
        self._folder, self._silence_s = folder, silence_s
        self._guardian: Guardian | None = None
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
        if id(who) in self._needed or self._guardian is None:
            self._end()
            self._guardian = Guardian(self.shell, pythons, self.token, self._folder, self._silence_s)
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            try:
                self._facts = dict(self._guardian.begin(holder(), now, wait_s, self._say_busy))
            except BaseException:
                self._end()  # nobody may take it for held
                raise
        self._needed.setdefault(id(who), ())
        return self._facts

    def bring(self, who: object, wanted: Sequence[Parcel], room_byte: int) -> tuple[int, int]:
        """Ship what the board lacks, and keep there what any environment needs; see ``cargo.ship``."""
        self._needed[id(who)] = tuple(each.name for each in wanted)
        cargo = Cargo(self.shell, self._held, self.token, self._facts, room_byte, self._kept)
        found = ship(cargo, wanted)
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
    def _held(self) -> Guardian:
        assert self._guardian is not None, "enter() comes first"
        return self._guardian

    @property
    def _kept(self) -> list[str]:
        return list(dict.fromkeys(name for names in self._needed.values() for name in names))

    def _end(self) -> None:
        if self._guardian is not None:
            self._guardian.close()
            self._guardian = None
        self.shell.close()

    def _say_busy(self, by: str, since: str) -> None:
        print(f"waiting for {self.shell.host}: {by} has held it since {since}", file=sys.stderr)


_in_turns: WeakValueDictionary[tuple[str, ...], Hold] = WeakValueDictionary()


def in_turns(name: str, host: str, config: str, folder: str, silence_s: float) -> Hold:
    """Give the hold of a board that all of one `name` share; an empty name shares with nobody."""
    found = _in_turns.get((name, host, config)) if name else None
    if found is None:
        found = Hold(SecureShell(host, config), folder, silence_s)
        if name:
            _in_turns[name, host, config] = found
    return found
