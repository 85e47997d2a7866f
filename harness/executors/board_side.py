"""What a board runs before our packages are there: facts, a lock, what is received, what is left behind.

Sent as text to the board's own Python (``python -c``): the standard library alone, and nothing of ours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import select
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

#: Environment variable of every program that a host starts on the board: by it what is left behind is found.
TOKEN = "HARNESS_BOARD"  # noqa: S105 - a name, no password
#: Kinds of what is received; each thing is a folder that is there whole or not at all.
KINDS = ("bundles", "venvs")
#: In each such folder: its size; its time stamp is that of the last use.
NOTE = ".harness.json"
#: A process that was killed is gone within this time.
GONE_S = 10.0
LOOK_AGAIN_S = 0.5
LOCKED = 73


def facts(folder: Path) -> dict[str, Any]:
    """What the host has to know to make the board ready."""
    machine = platform.machine()
    if struct.calcsize("P") == 4:  # a 32-bit system on a 64-bit kernel
        machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        libc = ""
    return {
        "machine": machine,
        "cpu": _cpu(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "libc": libc,
        "home": str(folder),
        "free_byte": shutil.disk_usage(there).free,
        "time_s": time.time(),
        "has": [f"{kind}/{path.name}" for kind, path in _things(folder)],
    }


def _cpu() -> str:
    """Name of the processor, and its part number where it has one (ARM)."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return " ".join(filter(None, (named.get("model name"), named.get("CPU part"))))
    return ""


def _things(folder: Path) -> Iterator[tuple[str, Path]]:
    for kind in KINDS:
        for note in sorted(folder.glob(f"{kind}/*/{NOTE}")):
            yield kind, note.parent


def _size(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found += path.lstat().st_size
    return found


def say(**message: Any) -> None:  # noqa: ANN401 - JSON
    """Answer the host with one line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Host:
    """Lines from the host; it counts as gone when its stream ends, or when it was silent too long."""

    def __init__(self, silence_s: float) -> None:
        self.silence_s, self._held, self._heard = silence_s, b"", time.monotonic()

    def line(self, timeout_s: float) -> str | None:
        """Return the next line, nothing after the timeout; raises ``EOFError`` when the host is gone."""
        end = time.monotonic() + timeout_s
        while b"\n" not in self._held:
            now = time.monotonic()
            if now - self._heard >= self.silence_s:
                raise EOFError
            if now >= end:
                return None
            ready, _, _ = select.select([0], [], [], min(end, self._heard + self.silence_s) - now)
            if ready:
                data = os.read(0, 1 << 16)
                if not data:
                    raise EOFError
                self._held, self._heard = self._held + data, time.monotonic()
        line, _, self._held = self._held.partition(b"\n")
        return line.decode()


def hold(folder: Path, by: str, since: str, wait_s: float, silence_s: float) -> int:
    """Say what board this is, lock it, and hold it until the host is gone; then end all that it started."""
    host = Host(silence_s)
    say(type="board", **facts(folder))
    end_leftovers()  # of this very host, whose link died
    try:
        lock = _lock(host, by, since, wait_s)
        if lock is None:
            return LOCKED
        for left in [*folder.glob("bundles/.tmp-*"), *folder.glob("venvs/.tmp-*")]:
            shutil.rmtree(left, ignore_errors=True)
        say(type="held")
        while True:
            line = host.line(silence_s)
            if line:
                _obey(folder, **json.loads(line))
    except (EOFError, BrokenPipeError):
        return 0
    finally:
        end_leftovers()


def _obey(folder: Path, keep: list[str], room_byte: int) -> None:
    """Be ready for a worker: nothing of the last one runs, and what was used longest ago gave way."""
    end_leftovers()
    say(type="ready", **make_room(folder, keep, room_byte))


def make_room(folder: Path, keep: Sequence[str], room_byte: int) -> dict[str, int]:
    """Let what was used longest ago give way; what is kept is used now."""
    for name in keep:
        with contextlib.suppress(OSError):
            os.utime(folder / name / NOTE)
    notes = {path: path / NOTE for _, path in _things(folder)}
    sizes = {path: json.loads(note.read_text())["byte"] for path, note in notes.items()}
    others = sorted((path for path in notes if f"{path.parent.name}/{path.name}" not in keep),
                    key=lambda path: notes[path].stat().st_mtime)  # fmt: skip
    files = sum(_size(folder / kind) for kind in ("data", "artifacts"))
    while others and sum(sizes.values()) + files > room_byte:
        shutil.rmtree(others[0], ignore_errors=True)
        del sizes[others.pop(0)]
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
    return {"held_byte": sum(sizes.values()), "free_byte": free}


def _lock(host: Host, by: str, since: str, wait_s: float) -> int | None:
    """Lock the board for all of its users; None where somebody else keeps it."""
    path = Path(tempfile.gettempdir(), "deployment-validation-harness.lock")
    try:
        # Without O_CREAT first: the kernel refuses that for another user's file in a sticky folder.
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 0o666)
        os.fchmod(lock, 0o666)
    end, told = time.monotonic() + wait_s, ""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 1 << 12, 0).decode(errors="replace")
            last = time.monotonic() >= end
            if owner != told or last:
                with contextlib.suppress(ValueError):
                    say(type="busy", last=last, **json.loads(owner))
                    told = owner
            if last and told:
                return None
            host.line(LOOK_AGAIN_S)
            continue
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"by": by, "since": since}).encode(), 0)
        return lock


def end_leftovers() -> None:
    """End what bears this host's token, except this process, and wait until it is gone."""
    mark = f"{TOKEN}={os.environ[TOKEN]}".encode()
    left = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                left.add(folder)
    end = time.monotonic() + GONE_S
    while any(_runs(folder) for folder in left) and time.monotonic() < end:
        time.sleep(0.02)


def _runs(folder: Path) -> bool:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


class _Hashing:
    """A stream, hashed as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.sha256, self._stream = hashlib.sha256(), stream

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        return data


def receive(folder: Path, name: str, sha256: str, source: BinaryIO) -> dict[str, Any]:
    """Unpack a tar.gz as ``KIND/NAME``: whole, or not at all; returns what to answer the host."""
    made = folder / name
    temporary = made.with_name(f".tmp-{made.name}")
    stream = _Hashing(source)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        inside = temporary
        if made.parent.name == "venvs":
            import venv

            venv.EnvBuilder(symlinks=True, with_pip=False).create(temporary)
            (inside,) = temporary.glob("lib/python*/site-packages")
        safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(fileobj=stream, mode="r|gz") as tar:  # type: ignore[call-overload]
            tar.extractall(inside, **safe)  # noqa: S202 - our own host's, and hashed
        while stream.read(1 << 16):
            pass
        if stream.sha256.hexdigest() != sha256:
            return {"type": "failed", "error": "it arrived damaged", "full": False}
        (temporary / NOTE).write_text(json.dumps({"byte": _size(temporary)}))
        shutil.rmtree(made, ignore_errors=True)
        temporary.rename(made)
    except (OSError, EOFError, tarfile.TarError, ImportError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return {"type": "failed", "error": str(error), "full": full}
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {"type": "received"}


def main(verb: str, folder: str, *arguments: str) -> int:
    """Do what the host asked on the command line."""
    path = Path(folder).expanduser()
    if verb == "receive":
        name, sha256 = arguments
        answer = receive(path, name, sha256, sys.stdin.buffer)
        say(**answer)
        return int(answer["type"] != "received")
    by, since, wait_s, silence_s = arguments
    return hold(path, by, since, float(wait_s), float(silence_s))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
