"""A part in a child: what it returns and raises comes back; its death is an error, and it never stays."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path

import pytest

from harness.core.errors import ModelError, WorkerError
from harness.run import forked
from harness.run.forked import Tell
from tests.processes import wait_until_gone


def quiet(text: str) -> None:
    pass


def test_the_result_and_the_progress_come_back() -> None:
    told: list[str] = []

    def part(tell: Tell) -> bytes:
        tell("one")
        tell("two")
        return str(os.getpid()).encode() * 10**5

    content = forked.run(part, told.append)
    assert told == ["one", "two"]
    assert len(content) >= 10**5
    assert not content.startswith(str(os.getpid()).encode())


class Awkward(Exception):
    """Cannot be pickled."""

    def __init__(self, first: str, second: object) -> None:
        super().__init__(first)
        self.second = second


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ModelError("no such operator", where="node 5"), ModelError, "node 5"),
        (ValueError("planted"), ValueError, "planted"),
        (Awkward("awkward", lambda: 5), RuntimeError, "Awkward: awkward"),
    ],
)
def test_what_it_raises_is_raised(error: Exception, kind: type[Exception], text: str) -> None:
    def part(tell: Tell) -> bytes:
        raise error

    with pytest.raises(kind) as caught:
        forked.run(part, quiet)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("number", "text"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "out of memory"), (0, "exit status 5")]
)
def test_a_death_is_told_with_its_last_words(number: int, text: str) -> None:
    def part(tell: Tell) -> bytes:
        os.write(2, b"terminate called\n")
        if number:
            os.kill(os.getpid(), number)
        os._exit(5)

    with pytest.raises(WorkerError, match=text) as caught:
        forked.run(part, quiet)
    assert caught.value.cause.startswith("terminate called")


def test_an_interruption_ends_the_child(tmp_path: Path) -> None:
    def part(tell: Tell) -> bytes:
        tell(str(os.getpid()))
        threading.Event().wait()
        return b""

    pids = []

    def interrupted(text: str) -> None:
        pids.append(int(text))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forked.run(part, interrupted)
    wait_until_gone(pids)


def test_what_the_parent_dropped_is_not_finalized_in_the_child() -> None:
    """A runtime's session would wait for threads that only the parent has."""

    class Dropped:
        def __init__(self) -> None:
            self.me, self.pid = self, os.getpid()

        def __del__(self) -> None:
            if os.getpid() != self.pid:
                finalized.append(1)

    finalized: list[int] = []

    def part(tell: forked.Tell) -> bytes:
        gc.collect()
        return bytes(finalized)

    gc.disable()
    try:
        Dropped()
        assert forked.run(part, print) == b""
    finally:
        gc.enable()


def test_where_a_fork_is_not_safe_the_part_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "CAN_FORK", False)
    assert forked.run(lambda tell: str(os.getpid()).encode(), quiet) == str(os.getpid()).encode()
