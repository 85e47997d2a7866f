"""Archives for boards: a folder as one tar.gz, made once and kept in the host's cache."""

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

#: Wheels are mostly machine code: a higher level saves little.
COMPRESSION_LEVEL = 3


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
    """Return the archive of that name from the cache, or make it.

    Parameters
    ----------
    name : str
        ``KIND/NAME``; the same name always stands for the same content.
    store : Path
        The host's cache.
    fill : callable
        Writes the content into a folder.
    """
    path = store / "archives" / f"{name.replace('/', '-')}.tar.gz"
    facts_file = path.with_suffix(".json")
    facts = _read(facts_file)
    if not path.is_file() or sha256_file(path) != facts.get("sha256"):
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
            try:
                content, packed = folder / "content", folder / "packed"
                content.mkdir()
                fill(content)
                with tarfile.open(packed, "w:gz", compresslevel=COMPRESSION_LEVEL) as tar:
                    tar.add(content, ".")
                unpacked = sum(file.stat().st_size for file in content.rglob("*") if file.is_file())
                facts = {"sha256": sha256_file(packed), "unpacked_byte": unpacked}
                (folder / "facts").write_text(json.dumps(facts))
                packed.replace(path)
                (folder / "facts").replace(facts_file)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return Archive(name, path, facts["sha256"], facts["unpacked_byte"])


def _read(file: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
