"""What a board runs before the harness is installed there: facts, the lock, uploads, leftover processes.

Sent as text to the board's own Python (``python -c``): it imports the standard library alone.
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

#: Environment variable of every program that a host starts on the board: it identifies leftover processes.
TOKEN = "HARNESS_BOARD"  # noqa: S105 - a name, not a password
#: Kinds of uploads; each upload is a folder that is complete or missing.
KINDS = ("bundles", "venvs")
#: A file in each such folder: its size; its modification time is the time of the last use.
SIZE_FILE = ".harness.json"
#: A process that was killed is gone within this time.
KILLED_WITHIN_S = 10.0
RETRY_LOCK_S = 0.5
EXIT_LOCKED = 73


def facts(folder: Path) -> dict[str, Any]:
    """Return what the host has to know to prepare the board."""
    machine = platform.machine()
    if struct.calcsize("P") == 4:  # a 32-bit system on a 64-bit kernel
        machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
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
        "free_byte": shutil.disk_usage(existing).free,
        "time_s": time.time(),
        "has": [f"{kind}/{path.name}" for kind, path in _uploads(folder)],
    }


def _cpu() -> str:
    """Return the name of the processor, and its part number if it has one (ARM)."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return " ".join(filter(None, (fields.get("model name"), fields.get("CPU part"))))
    return ""


def _uploads(folder: Path) -> Iterator[tuple[str, Path]]:
    for kind in KINDS:
        for file in sorted(folder.glob(f"{kind}/*/{SIZE_FILE}")):
            yield kind, file.parent


def _size(folder: Path) -> int:
    size_byte = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size_byte += path.lstat().st_size
    return size_byte


def send(**message: Any) -> None:  # noqa: ANN401 - JSON
    """Send the host one line of JSON."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Host:
    """Lines from the host, which counts as gone when its stream ends or when it sent nothing for too long."""

    def __init__(self, silence_s: float) -> None:
        self.silence_s, self._buffer, self._received_s = silence_s, b"", time.monotonic()

    def line(self, timeout_s: float) -> str | None:
        """Return the next line, or None after the timeout; raises ``EOFError`` when the host is gone."""
        end = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            now = time.monotonic()
            if now - self._received_s >= self.silence_s:
                raise EOFError
            if now >= end:
                return None
            ready, _, _ = select.select([0], [], [], min(end, self._received_s + self.silence_s) - now)
            if ready:
                data = os.read(0, 1 << 16)
                if not data:
                    raise EOFError
                self._buffer, self._received_s = self._buffer + data, time.monotonic()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


def keep_locked(folder: Path, by: str, since: str, wait_s: float, silence_s: float) -> int:
    """Send the facts, lock the board until the host is gone, and then end all that the host started."""
    host = Host(silence_s)
    send(type="board", **facts(folder))
    end_leftovers()  # of this host, if its connection was lost
    try:
        lock = _lock(host, by, since, wait_s)
        if lock is None:
            return EXIT_LOCKED
        for leftover in [*folder.glob("bundles/.tmp-*"), *folder.glob("venvs/.tmp-*")]:
            shutil.rmtree(leftover, ignore_errors=True)
        send(type="locked")
        while True:
            line = host.line(silence_s)
            if line:
                _prepare(folder, **json.loads(line))
    except (EOFError, BrokenPipeError):
        return 0
    finally:
        end_leftovers()


def _prepare(folder: Path, keep: list[str], room_byte: int) -> None:
    """Prepare for a worker: end the processes of the last one, and make room."""
    end_leftovers()
    send(type="ready", **make_room(folder, keep, room_byte))


def make_room(folder: Path, keep: Sequence[str], room_byte: int) -> dict[str, int]:
    """Delete the uploads that were used longest ago until the rest fits; those in `keep` are used now."""
    for name in keep:
        with contextlib.suppress(OSError):
            os.utime(folder / name / SIZE_FILE)
    size_files = {path: path / SIZE_FILE for _, path in _uploads(folder)}
    sizes = {path: json.loads(file.read_text())["byte"] for path, file in size_files.items()}
    others = sorted((path for path in size_files if f"{path.parent.name}/{path.name}" not in keep),
                    key=lambda path: size_files[path].stat().st_mtime)  # fmt: skip
    files = sum(_size(folder / kind) for kind in ("data", "artifacts"))
    while others and sum(sizes.values()) + files > room_byte:
        shutil.rmtree(others[0], ignore_errors=True)
        del sizes[others.pop(0)]
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
    return {"kept_byte": sum(sizes.values()), "free_byte": free}


def _lock(host: Host, by: str, since: str, wait_s: float) -> int | None:
    """Lock the board against all of its users; None if another process has the lock."""
    path = Path(tempfile.gettempdir(), "deployment-validation-harness.lock")
    try:
        # Without O_CREAT first: the kernel refuses that for another user's file in a sticky folder.
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 0o666)
        os.fchmod(lock, 0o666)
    end, reported = time.monotonic() + wait_s, ""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 1 << 12, 0).decode(errors="replace")
            last = time.monotonic() >= end
            if owner != reported or last:
                with contextlib.suppress(ValueError):
                    send(type="busy", last=last, **json.loads(owner))
                    reported = owner
            if last and reported:
                return None
            host.line(RETRY_LOCK_S)
            continue
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"by": by, "since": since}).encode(), 0)
        return lock


def end_leftovers() -> None:
    """Kill the processes with this host's token, except this one, and wait until they are gone."""
    end_processes(f"{TOKEN}={os.environ[TOKEN]}")


def end_processes(variable: str) -> None:
    """Kill the processes with this variable (``NAME=value``), except this one, and wait until they are gone.

    A system without ``/proc`` does not tell; nothing is killed there.
    """
    mark = variable.encode()
    killed = set()
    if not Path("/proc").is_dir():
        return
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                killed.add(folder)
    end = time.monotonic() + KILLED_WITHIN_S
    while any(_runs(folder) for folder in killed) and time.monotonic() < end:
        time.sleep(0.02)


def _runs(folder: Path) -> bool:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


class _Hashing:
    """A stream that is hashed while it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.sha256, self._stream = hashlib.sha256(), stream

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        return data


def receive(folder: Path, name: str, sha256: str, source: BinaryIO) -> dict[str, Any]:
    """Unpack a tar.gz as ``KIND/NAME``, completely or not at all; returns the answer to the host."""
    path = folder / name
    temporary = path.with_name(f".tmp-{path.name}")
    stream = _Hashing(source)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        into = temporary
        if path.parent.name == "venvs":
            import venv

            venv.EnvBuilder(symlinks=True, with_pip=False).create(temporary)
            (into,) = temporary.glob("lib/python*/site-packages")
        safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(fileobj=stream, mode="r|gz") as tar:  # type: ignore[call-overload]
            tar.extractall(into, **safe)  # noqa: S202 - sent by our host, and hashed
        while stream.read(1 << 16):
            pass
        if stream.sha256.hexdigest() != sha256:
            return {"type": "failed", "error": "it arrived damaged", "full": False}
        (temporary / SIZE_FILE).write_text(json.dumps({"byte": _size(temporary)}))
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    except (OSError, EOFError, tarfile.TarError, ImportError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return {"type": "failed", "error": str(error), "full": full}
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {"type": "received"}


def main(verb: str, folder: str, *arguments: str) -> int:
    """Run the command that the host gave as arguments."""
    path = Path(folder).expanduser()
    if verb == "receive":
        name, sha256 = arguments
        answer = receive(path, name, sha256, sys.stdin.buffer)
        send(**answer)
        return int(answer["type"] != "received")
    by, since, wait_s, silence_s = arguments
    return keep_locked(path, by, since, float(wait_s), float(silence_s))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
