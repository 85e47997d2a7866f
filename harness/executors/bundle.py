"""What a device needs of us, as one folder by hash: the harness, and who brings backends and measures."""

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

#: Left at home: a device has its own, or no use for them.
LEFT_OUT = ("_shipped", "__pycache__")


def bundle(store: Path) -> Path:
    """Make the folder, which goes on ``PYTHONPATH`` as it is; recalled by its content's hash.

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
                if not folder.is_dir():  # another process was faster
                    raise
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def bundle_archive(store: Path) -> Archive:
    """Return the bundle as it is shipped."""
    ours = bundle(store)
    return make_archive(f"bundles/{ours.name}", store, lambda into: _copy(ours, into))


def _copy(folder: Path, into: Path) -> None:
    shutil.copytree(folder, into, dirs_exist_ok=True)


def _files() -> Iterator[tuple[str, Path]]:
    """Name in the folder and place on this machine."""
    found: dict[str, set[str]] = {}
    for group in (plugins.BACKENDS, plugins.MEASURES):
        for plugin in plugins.catalogue(group).values():
            packages = found.setdefault(plugin.distribution, set())
            packages.add(plugin.entry.module.partition(".")[0])
    found.setdefault("deployment-validation-harness", set()).add("harness")
    for name, packages in found.items():
        of = distribution(name)
        yield from _metadata(of, name)
        yield from (_sources(packages) if _is_editable(of) else _recorded(of))


def _is_editable(of: Distribution) -> bool:
    origin = json.loads(of.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def _metadata(of: Distribution, name: str) -> Iterator[tuple[str, Path]]:
    folder = f"{name.replace('-', '_')}-{of.version}.dist-info"
    for file in of.files or ():
        if file.name in ("METADATA", "entry_points.txt") and file.parent.name.endswith(".dist-info"):
            yield f"{folder}/{file.name}", Path(str(of.locate_file(file)))


def _recorded(of: Distribution) -> Iterator[tuple[str, Path]]:
    """What the wheel brought, without scripts."""
    for file in of.files or ():
        wanted = not file.parent.name.endswith(".dist-info") and ".." not in file.parts
        if wanted and not set(file.parts) & set(LEFT_OUT):
            yield file.as_posix(), Path(str(of.locate_file(file)))


def _sources(packages: set[str]) -> Iterator[tuple[str, Path]]:
    """What stands in the source tree of an editable installation: the packages that bring plug-ins."""
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
