"""The bundle, a folder by hash: the harness and distributions with backends, measures, tasks or faults."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from harness.core.errors import HarnessError
from harness.device import plugins
from harness.executors.archive import Archive, make_archive
from harness.store.cache import writing

#: Not in the bundle: a device has no use for them.
LEFT_OUT = ("_shipped", "__pycache__")


def bundle(store: Path) -> Path:
    """Return the folder, which is put on ``PYTHONPATH``; made once for each content.

    Parameters
    ----------
    store : Path
        The host's cache; the folder is ``bundles/<sha256>`` in it.
    """
    files = dict(sorted(_files()))
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    folder = store / "bundles" / digest.hexdigest()
    if not folder.is_dir():
        temporary = folder.with_name(f".tmp-{folder.name}")
        with writing(folder):
            shutil.rmtree(temporary, ignore_errors=True)
            for name, path in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, temporary / name)
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def bundle_archive(store: Path) -> Archive:
    """Return the bundle as an archive for a board."""
    folder = bundle(store)
    return make_archive(f"bundles/{folder.name}", store, lambda into: _copy(folder, into))


def _copy(folder: Path, into: Path) -> None:
    shutil.copytree(folder, into, dirs_exist_ok=True)


def _files() -> Iterator[tuple[str, Path]]:
    """Yield names in the folder and paths on this machine."""
    distributions: dict[str, set[str]] = {}
    for group in (plugins.BACKENDS, plugins.MEASURES, plugins.TASKS, plugins.FAULTS):
        for plugin in plugins.catalogue(group).values():
            packages = distributions.setdefault(plugin.distribution, set())
            packages.add(plugin.entry.module.partition(".")[0])
    distributions.setdefault("deployment-validation-harness", set()).add("harness")
    for name, packages in distributions.items():
        installed = distribution(name)
        yield from _metadata(installed, name)
        yield from (_sources(packages) if _is_editable(installed) else _recorded(installed))


def _is_editable(installed: Distribution) -> bool:
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def _metadata(installed: Distribution, name: str) -> Iterator[tuple[str, Path]]:
    folder = f"{name.replace('-', '_')}-{installed.version}.dist-info"
    for file in installed.files or ():
        if file.name in ("METADATA", "entry_points.txt") and file.parent.name.endswith(".dist-info"):
            yield f"{folder}/{file.name}", Path(str(installed.locate_file(file)))


def _recorded(installed: Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the files of an installed wheel, without scripts."""
    for file in installed.files or ():
        wanted = not file.parent.name.endswith(".dist-info") and ".." not in file.parts
        if wanted and not set(file.parts) & set(LEFT_OUT):
            yield file.as_posix(), Path(str(installed.locate_file(file)))


def _sources(packages: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of the plug-in packages in the source tree of an editable installation."""
    for package in sorted(packages):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise HarnessError(f"the package {package} of a plug-in cannot be found")
        root = Path(spec.origin)
        if root.name != "__init__.py":
            yield root.name, root
            continue
        for path in root.parent.rglob("*.py"):
            name = PurePosixPath(package, *path.relative_to(root.parent).parts)
            if not set(name.parts) & set(LEFT_OUT):
                yield str(name), path
