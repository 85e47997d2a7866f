"""A foreign userland on this machine without root: Debian's packages, ARM wheels, and QEMU to run them.

Nothing on the machine is changed: the host's apt fetches packages with a separate state folder, and they are
unpacked, never installed. Everything is in the cache and can be deleted at any time.

QEMU must be 10 or newer: 7.2 crashes onnxruntime's import and computes garbage where a CPU has SME.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import TargetUnavailable
from harness.executors.wheels import error_lines, install_wheels
from harness.store.cache import key_of, writing

#: Debian suites: of the userland, and of a newer QEMU.
SUITE, QEMU_SUITE = "bookworm", "bookworm-backports"
#: Packages that Python and the runtimes' wheels need.
PACKAGES = (
    "python3.11-minimal",
    "libpython3.11-stdlib",
    "libc6",
    "libstdc++6",
    "libgcc-s1",
    "zlib1g",
    "libexpat1",
)
PYTHON = "3.11"
GLIBC_MINOR = 36
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Environment variable: a Debian mirror, for hosts whose own apt has none.
MIRROR = "HARNESS_DEBIAN_MIRROR"
#: An apt or pip that runs longer is ended.
TIMEOUT_S = 600.0
ALTERNATIVES = "name a real board instead: --host USER@BOARD; or set up emulation on a Debian machine"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Names of one architecture.

    Parameters
    ----------
    machine : str
        As ``uname -m`` prints it.
    debian : str
        The name in apt.
    libraries : str
        Folder beneath ``/usr/lib``.
    """

    machine: str
    debian: str
    libraries: str


ARCHITECTURES = {
    architecture.machine: architecture
    for architecture in (
        Architecture("aarch64", "arm64", "aarch64-linux-gnu"),
        Architecture("armv7l", "armhf", "arm-linux-gnueabihf"),
    )
}
#: QEMU's name of a machine, if it differs.
QEMU_NAMES = {"armv7l": "arm"}


def emulator(machine: str, store: Path) -> Path:
    """Return the emulator of a machine: a static program, fetched once.

    Raises
    ------
    TargetUnavailable
        It cannot be fetched here.
    """
    program = f"qemu-{QEMU_NAMES.get(machine, machine)}"
    path = store / "emulators" / program
    if not path.is_file():
        with _building(path) as folder:
            _apt(folder, QEMU_SUITE, _host_architecture(), "update")
            _apt(folder, QEMU_SUITE, _host_architecture(), "download", "qemu-user")
            (package,) = folder.glob("qemu-user_*.deb")
            _unpack(package, folder / "unpacked")
            (folder / "unpacked" / "usr" / "bin" / program).rename(folder / program)
            (folder / program).replace(path)
    return path


def userland(machine: str, packages: Sequence[str], requirements: Sequence[str], store: Path) -> Path:
    """Return a root folder with Python and wheels for a machine, made once for each content.

    Parameters
    ----------
    machine : str
        A key of ``ARCHITECTURES``.
    packages : sequence of str
        Debian packages besides those that Python needs.
    requirements : sequence of str
        Wheels, as pip takes them; what these require is not installed.
    store : Path

    Raises
    ------
    TargetUnavailable
        it cannot be made here; names what is missing.
    """
    architecture = ARCHITECTURES[machine]
    all_packages = (*PACKAGES, *packages)
    key = key_of({"what": "userland", "of": [machine, SUITE, all_packages, list(requirements)]})
    path = store / "userlands" / f"{machine}-{key[:16]}"
    if not path.is_dir():
        with _building(path) as folder:
            _apt(folder, SUITE, architecture.debian, "update")
            _apt(folder, SUITE, architecture.debian, "-d", "install", *all_packages)
            root = folder / "root"
            for package in sorted((folder / "archives").glob("*.deb")):
                _unpack(package, root)
            for name in ("doc", "man", "locale"):
                shutil.rmtree(root / "usr" / "share" / name, ignore_errors=True)
            install_wheels(machine, PYTHON, GLIBC_MINOR, requirements, root / "wheels", ALTERNATIVES)
            root.rename(path)
    return path


def _host_architecture() -> str:
    return _run(["dpkg", "--print-architecture"], "this machine has no dpkg").strip()


def _apt(folder: Path, suite: str, architecture: str, *arguments: str) -> None:
    """Run apt-get for one suite and architecture, with all its state in `folder`."""
    if not KEYRING.is_file():
        raise TargetUnavailable(
            "Debian's packages cannot be verified on this machine", where=str(KEYRING),
            cause="its archive keyring is not installed", next_step="apt install debian-archive-keyring",
        )  # fmt: skip
    for name in ("parts", "lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    sources = folder / f"{suite}-{architecture}.list"
    if not sources.exists():
        sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "APT::Architecture": architecture, "APT::Architectures": architecture,
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": folder / "parts", "Dir::State": folder,
        "Dir::State::status": folder / "status", "Dir::State::lists": folder / "lists", "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives", "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "", "Debug::NoLocking": "1", "APT::Update::Post-Invoke": "",
        "APT::Update::Post-Invoke-Success": "",
    }  # fmt: skip
    options = [argument for key, value in settings.items() for argument in ("-o", f"{key}={value}")]
    _run(["apt-get", "-qq", "-y", *options, *arguments], "Debian's packages cannot be fetched", cwd=folder)


def _mirror() -> str:
    """Return the Debian mirror that the host uses."""
    if mirror := os.environ.get(MIRROR):
        return mirror
    listed = _run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}"],
        "this machine has no apt",
    )
    if not listed.strip():
        raise TargetUnavailable(
            f"this machine's apt has no mirror of Debian {SUITE}", cause="it is another distribution",
            next_step=f"set {MIRROR} to the address of a mirror; or {ALTERNATIVES}",
        )  # fmt: skip
    return listed.split()[0]


def _unpack(package: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    _run(["dpkg-deb", "-x", str(package), str(into)], f"{package.name} cannot be unpacked")


@contextmanager
def _building(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], what: str, cwd: Path | None = None) -> str:
    """Run a program of the host and return its output.

    Raises
    ------
    TargetUnavailable
        It is missing, failed, or did not end.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, timeout=TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise TargetUnavailable(
            what, cause=f"there is no {command[0]} on this machine", next_step=ALTERNATIVES
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TargetUnavailable(what, cause=f"{command[0]} did not end within {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise TargetUnavailable(what, cause=error_lines(done.stderr), next_step=ALTERNATIVES)
    return done.stdout
