"""Commands that a message prints, in a form that can be pasted into the shell it is read in."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "deployment-validation-harness"


def short(path: Path) -> str:
    """Return `path` relative to the working folder if it lies in it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):  # it lies elsewhere, or the working folder was deleted
        return str(path)


def quoted(path: Path) -> str:
    """Return a path quoted for a shell command, relative to the working folder if it lies in it."""
    return shlex.quote(short(path))


def _script(name: str) -> str | None:
    """Return how a script of this Python is called; None if it is not installed beside the interpreter."""
    beside = Path(sys.executable).parent / name
    if not beside.is_file():
        return None
    on_path = shutil.which(name)
    same = on_path is not None and Path(on_path).resolve() == beside.resolve()
    return name if same else quoted(beside)


def harness() -> str:
    """Return the command ``harness`` of this Python; with its folder if the shell would not find it."""
    return _script("harness") or "harness"


def pip() -> str:
    """Return the ``pip`` that installs for this Python."""
    return "pip" if _script("pip") == "pip" else f"{quoted(Path(sys.executable))} -m pip"


def install(extra: str, *, find: Callable[[str], Distribution] = distribution) -> str:
    """Return the command that installs an extra of this distribution for this Python.

    Parameters
    ----------
    extra : str
        One or more extras, separated by commas.
    find : callable
        Finds the distribution by name.
    """
    return f"{pip()} install {_what_to_install(extra, find)}"


def install_elsewhere(extra: str, *, find: Callable[[str], Distribution] = distribution) -> str:
    """Return the command that installs an extra of this distribution in another environment."""
    return f"pip install {_what_to_install(extra, find)}"


def _what_to_install(extra: str, find: Callable[[str], Distribution]) -> str:
    """Return the arguments of ``pip install``: from where this distribution was installed itself.

    ``direct_url.json`` tells an install from a folder, an archive or a repository from one out of an index:
    https://packaging.python.org/specifications/direct-url/. A copy that was uploaded to a board has metadata
    and no ``RECORD``; what the board needs there is what the extra requires.
    """
    try:
        installed = find(DISTRIBUTION)
    except PackageNotFoundError:
        return shlex.quote(f"{DISTRIBUTION}[{extra}]")
    text = installed.read_text("direct_url.json")
    if text is None and installed.read_text("RECORD") is None:
        return " ".join(map(shlex.quote, _requirements(installed, extra.split(","))))
    direct = json.loads(text or "{}")
    url = str(direct.get("url", ""))
    if "dir_info" in direct:
        folder = Path(unquote(urlsplit(url).path))
        place = "." if folder == Path.cwd() else short(folder)
        if not place.startswith((".", "/")):
            place = f"./{place}"  # without a dot or a slash, pip takes it for the name of a project
        option = "-e " if direct["dir_info"].get("editable") else ""
        return option + shlex.quote(f"{place}[{extra}]")
    if vcs := direct.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return shlex.quote(f"{DISTRIBUTION}[{extra}] @ {url}" if url else f"{DISTRIBUTION}[{extra}]")


def _requirements(installed: Distribution, extras: list[str]) -> list[str]:
    """Return what some extras require, with their markers except the one that names the extra."""
    requirements = []
    for line in installed.requires or ():
        requirement, _, marker = line.partition(";")
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", marker)
        if extra and extra[1] in extras:
            rest = re.sub(r"""(\s*and\s*)?extra\s*==\s*["'][^"']+["']""", "", marker).strip()
            requirements.append(f"{requirement.strip()}; {rest}" if rest else requirement.strip())
    return requirements
