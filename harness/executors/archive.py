"""What is shipped to a board: a folder as one tar.gz by name, made once and kept in the host's cache."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.artifact import sha256_file
from harness.store.cache import writing

#: Wheels are mostly machine code: more effort saves little.
EFFORT = 3


@dataclass(frozen=True, slots=True)
class Archive:
    """One tar.gz.

    Parameters
    ----------
    name : str
        ``KIND/NAME``, as on the board.
    path : Path
    sha256 : str
        Of the file.
    unpacked_byte : int
    """

    name: str
    path: Path
    sha256: str
    unpacked_byte: int


def make_archive(name: str, store: Path, fill: Callable[[Path], None]) -> Archive:
    """Return the parcel of that name; where there is none yet, `fill` puts into a folder what it holds.

    Parameters
    ----------
    name : str
        ``KIND/NAME``; the same name always stands for the same content.
    store : Path
    fill : callable
    """
    path = store / "archives" / f"{name.replace('/', '-')}.tar.gz"
    note = path.with_suffix(".json")
    known = _read(note)
    if not path.is_file() or sha256_file(path) != known.get("sha256"):
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
            try:
                inside, packed = folder / "inside", folder / "packed"
                inside.mkdir()
                fill(inside)
                with tarfile.open(packed, "w:gz", compresslevel=EFFORT) as tar:
                    tar.add(inside, ".")
                unpacked = sum(file.stat().st_size for file in inside.rglob("*") if file.is_file())
                known = {"sha256": sha256_file(packed), "unpacked_byte": unpacked}
                (folder / "note").write_text(json.dumps(known))
                packed.replace(path)
                (folder / "note").replace(note)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return Archive(name, path, known["sha256"], known["unpacked_byte"])


def _read(note: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
